"""What the service manager hears."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trio
import trio.testing

from gatewayd.daemon.notify import Notifier, feed_watchdog, take_notifier, watchdog_interval


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(str(tmp_path / "notify"))
        opened.settimeout(5)
        yield opened


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Notifier]:
    made = Notifier(manager.getsockname())
    yield made
    made.close()


def _heard(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))


def test_ready_stopping_and_status(manager: socket.socket, notifier: Notifier) -> None:
    notifier.ready("serving 3 routes")
    assert _heard(manager) == {"READY": "1", "STATUS": "serving 3 routes"}
    notifier.stopping("draining")
    assert _heard(manager) == {"STOPPING": "1", "STATUS": "draining"}
    notifier.status("x" * 1000)
    assert _heard(manager) == {"STATUS": "x" * 512}


def test_reloading_says_when_it_began(manager: socket.socket, notifier: Notifier) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    heard = _heard(manager)
    assert heard["RELOADING"] == "1"
    assert before <= int(heard["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_cannot_forge_a_field(manager: socket.socket, notifier: Notifier) -> None:
    notifier.status("bad file\nMAINPID=1\r\nREADY=1\udc80")
    assert _heard(manager) == {"STATUS": "bad file MAINPID=1 READY=1?"}


def test_an_abstract_address_is_understood() -> None:
    name = f"gatewayd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(5)
        notifier = Notifier("@" + name)
        notifier.ready()
        assert _heard(manager) == {"READY": "1", "STATUS": ""}
        notifier.close()


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative/path"])
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    notifier = Notifier(address)
    notifier.ready()
    notifier.close()
    assert repr(notifier) == "<Notifier to None>"


def test_a_manager_that_is_gone_is_reported_once(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    with structlog.testing.capture_logs() as entries:
        notifier.ready()
        notifier.reloading()
    assert [entry["event"] for entry in entries] == ["cannot notify service manager"]
    notifier.close()


def test_a_manager_that_does_not_listen_never_blocks_us(manager: socket.socket, notifier: Notifier) -> None:
    with structlog.testing.capture_logs() as entries:
        for _ in range(2000):
            notifier.status("x" * 512)
    assert len(entries) == 1


def test_after_close_nothing_is_sent(manager: socket.socket, notifier: Notifier) -> None:
    notifier.close()
    notifier.close()
    notifier.ready()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_children_do_not_see_the_address(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "PATH": "/bin"}
    notifier = take_notifier(environ)
    assert environ == {"PATH": "/bin"}
    notifier.ready()
    assert _heard(manager)["READY"] == "1"
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_watchdog_wants_a_sign_twice_per_period(environ: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environ) == interval


async def test_signs_of_life_are_regular(
    manager: socket.socket, notifier: Notifier, autojump_clock: trio.testing.MockClock
) -> None:
    with trio.move_on_after(35):
        await feed_watchdog(notifier, 10.0)
    manager.setblocking(False)
    assert [_heard(manager) for _ in range(4)] == [{"WATCHDOG": "1"}] * 4
    with pytest.raises(BlockingIOError):
        manager.recv(100)
