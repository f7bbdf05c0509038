"""What is remembered of sessions beyond their ids: here, in later processes, and where there is no file for it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import structlog.testing
import trio
import trio.lowlevel

from gatewayd.auth.keychain import Keychain
from gatewayd.sessions import ledger as ledger_module
from gatewayd.sessions import ledger_file as file_module
from gatewayd.sessions.ledger import Ledger, open_ledger
from gatewayd.upstreams.told import MOST_SUBSCRIPTIONS, Told
from tests.support.storm import wait_until

A, B, C = b"a" * 12, b"b" * 12, b"c" * 12
TOLD = Told("debug", ("file:///private/1", "file:///private/2"))
WARNING = "ended sessions may come back after a restart"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/session.ledger"


def keys(*masters: str) -> Keychain:
    return Keychain([master.encode() * 32 for master in masters or ("k",)])


def known(ledger: Ledger) -> list[bool | Told]:
    """What it says of A, B and C: whether they have ended, else what they were told."""
    return [ledger.ended(nonce) or ledger.told(nonce) for nonce in (A, B, C)]


def count(path: Path) -> int:
    """How many rows the file has, in the eyes of another process."""
    other = sqlite3.connect(path)
    [(number,)] = other.execute("SELECT count(*) FROM sessions")
    other.close()
    return int(number)


async def test_a_later_process_knows(path: Path) -> None:
    async with open_ledger(path, keys()) as ledger:
        ledger.tell(A, 1.0, Told("info"))
        ledger.tell(A, 1.0, TOLD)
        ledger.tell(B, 2.0, TOLD)
        ledger.end(B, 2.0)
        assert known(ledger) == [TOLD, True, Told()]
    async with open_ledger(path, keys()) as ledger:
        assert known(ledger) == [TOLD, True, Told()]
        ledger.tell(A, 1.0, Told())
        ledger.end(C, 3.0)
    async with open_ledger(path, keys()) as ledger:
        assert known(ledger) == [Told(), True, True]


async def test_what_has_ended_is_told_nothing_more(path: Path) -> None:
    async with open_ledger(path, keys()) as ledger:
        ledger.end(A, 1.0)
        ledger.tell(A, 1.0, TOLD)
    async with open_ledger(path, keys()) as ledger:
        assert known(ledger)[0] is True
        assert ledger.told(A) == Told()


async def test_the_file_says_nothing_about_contents(path: Path) -> None:
    async with open_ledger(path, keys()) as ledger:
        ledger.tell(A, 1.0, TOLD)
        await wait_until(lambda: count(path) == 1)
        found = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert A in found
        assert b"private" not in found
        assert b"debug" not in found


async def test_a_rotated_key_opens_what_was_sealed_with_the_old_one_as_long_as_it_is_there(path: Path) -> None:
    async with open_ledger(path, keys("o")) as ledger:
        ledger.tell(A, 1.0, TOLD)
        ledger.end(B, 2.0)
    async with open_ledger(path, keys("n", "o")) as ledger:
        assert known(ledger) == [TOLD, True, Told()]
        ledger.tell(C, 3.0, TOLD)
    async with open_ledger(path, keys("n")) as ledger:
        assert known(ledger) == [Told(), True, TOLD]


async def test_keys_that_a_reload_brings_seal_from_then_on(path: Path) -> None:
    keychain = keys("o")
    async with open_ledger(path, keychain) as ledger:
        ledger.tell(A, 1.0, TOLD)
        await wait_until(lambda: count(path) == 1)
        keychain.use([b"n" * 32, b"o" * 32])
        ledger.tell(B, 2.0, TOLD)
        assert known(ledger) == [TOLD, TOLD, Told()]
    async with open_ledger(path, keys("n")) as ledger:
        assert known(ledger) == [Told(), TOLD, Told()]


async def test_what_was_sealed_for_one_session_is_nothing_to_another(path: Path) -> None:
    async with open_ledger(path, keys()) as ledger:
        ledger.tell(A, 1.0, TOLD)
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO sessions SELECT ?, created, told FROM sessions", (B,))
        other.execute("INSERT INTO sessions VALUES (?, 1.0, ?)", (C, b"\xff" * 40))
    other.close()
    async with open_ledger(path, keys()) as ledger:
        assert known(ledger) == [TOLD, Told(), Told()]


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x92\x07\x90"])
async def test_what_another_version_sealed_is_nothing(path: Path, content: bytes) -> None:
    async with open_ledger(path, keys()):
        pass
    with sqlite3.connect(path) as other:
        sealed = keys().seal("ledger", content, A.hex()).encode()
        other.execute("INSERT INTO sessions VALUES (?, 1.0, ?)", (A, sealed))
    other.close()
    async with open_ledger(path, keys()) as ledger:
        assert known(ledger)[0] == Told()


async def test_what_is_too_old_is_forgotten_in_the_file_too(path: Path) -> None:
    async with open_ledger(path, keys()) as ledger:
        ledger.end(A, 1.0)
        ledger.tell(B, 2.0, TOLD)
        ledger.end(C, 3.0)
        await wait_until(lambda: count(path) == 3)
        ledger.expire(2.5)
        assert known(ledger) == [Told(), Told(), True]
        await wait_until(lambda: count(path) == 1)


async def test_only_so_many_are_remembered_here_and_in_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MOST_ENDED", 3)
    monkeypatch.setattr(ledger_module, "MOST_TOLD", 1000)
    async with open_ledger(path, keys()) as ledger:
        for number in range(20):
            nonce = b"%012d" % number
            ledger.tell(nonce, float(number), TOLD)
            ledger.end(b"-" + nonce, float(number))
        await wait_until(lambda: count(path) == 6)
        assert [number for number in range(20) if ledger.ended(b"-%012d" % number)] == [17, 18, 19]
        assert [number for number in range(20) if ledger.told(b"%012d" % number) == TOLD] == [17, 18, 19]


async def test_of_very_many_subscriptions_the_newest_are_remembered(path: Path) -> None:
    uris = tuple(f"file:///{number}/{'ä' * 40}" for number in range(MOST_SUBSCRIPTIONS))
    async with open_ledger(path, keys()) as ledger:
        ledger.tell(A, 1.0, Told("info", uris))
        ledger.tell(B, 1.0, Told("info", ("x" * 10_000,)))
    async with open_ledger(path, keys()) as ledger:
        told = ledger.told(A)
        assert told.level == "info"
        assert 40 < len(told.uris) < 100
        assert told.uris == uris[-len(told.uris) :]
        assert ledger.told(B) == Told("info")


async def test_without_a_place_it_is_kept_in_memory(path: Path) -> None:
    path.parent.touch()
    for place in (None, path):
        with structlog.testing.capture_logs() as logs:
            async with open_ledger(place, keys()) as ledger:
                ledger.end(A, 1.0)
                ledger.tell(B, 1.0, TOLD)
                ledger.expire(0.0)
                assert known(ledger) == [True, TOLD, Told()]
        [event] = logs
        assert (event["event"], event["log_level"]) == (WARNING, "warning")
        assert event["path"] == (None if place is None else str(path))


async def test_a_file_that_cannot_be_written_for_a_while_is_written_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "PATIENCE", 0.05)
    monkeypatch.setattr(ledger_module, "RETRY", 0.01)
    async with open_ledger(path, keys()) as ledger:
        ledger.end(C, 3.0)
        await wait_until(lambda: count(path) == 1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with structlog.testing.capture_logs() as logs:
            ledger.end(A, 1.0)
            await wait_until(lambda: bool(logs))
            ledger.tell(B, 2.0, TOLD)
            assert known(ledger) == [True, TOLD, True]
        assert [(event["event"], event["path"]) for event in logs] == [(WARNING, str(path))]
        other.execute("ROLLBACK")
        other.close()
        await wait_until(lambda: count(path) == 3)


async def test_the_end_waits_only_so_long_for_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "PATIENCE", 2.0)
    monkeypatch.setattr(ledger_module, "FAREWELL", 0.1)
    async with open_ledger(path, keys()) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ledger.end(A, 1.0)
        began = trio.current_time()
    assert trio.current_time() - began < 1.5
    other.execute("ROLLBACK")
    other.close()


async def test_the_last_change_is_written_however_it_ends(path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_ledger(path, keys()) as ledger:
            scope.cancel()
            ledger.end(A, 1.0)
            await trio.sleep_forever()
    with pytest.RaisesGroup(ZeroDivisionError):
        async with open_ledger(path, keys()) as ledger:
            ledger.end(B, 1.0)
            raise ZeroDivisionError
    assert count(path) == 2


KILLED = """
import os, signal, sys
from pathlib import Path
import trio
from gatewayd.auth.keychain import Keychain
from gatewayd.sessions.ledger import open_ledger
async def main():
    async with open_ledger(Path(sys.argv[1]), Keychain([b"k" * 32])) as ledger:
        for number in range(2000):
            ledger.end(b"%012d" % number, float(number))
            await trio.sleep(0.001)
            print(number, flush=True)
trio.run(main)
"""


@pytest.mark.slow
async def test_a_process_that_is_killed_loses_the_last_moments_at_most(path: Path) -> None:
    last = await trio.to_thread.run_sync(_killed, path)
    async with open_ledger(path, keys()) as ledger:
        ended = [number for number in range(2000) if ledger.ended(b"%012d" % number)]
    assert ended == list(range(len(ended)))
    assert len(ended) > last - 200


def _killed(path: Path) -> int:
    """Have a process end many sessions and kill it meanwhile: the last one that it says it ended."""
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        last = next(int(line) for line in killed.stdout if int(line) >= 300)
        killed.kill()
        return last


async def test_two_at_once_on_one_file(path: Path) -> None:
    async with open_ledger(path, keys()) as one, open_ledger(path, keys()) as other:
        for number in range(200):
            one.end(b"1%011d" % number, 1.0)
            other.tell(b"2%011d" % number, 1.0, TOLD)
            await trio.lowlevel.checkpoint()
        one.end(A, 1.0)
        await wait_until(lambda: count(path) == 401)
        other.tell(A, 1.0, TOLD)
    async with open_ledger(path, keys()) as ledger:
        assert ledger.ended(A)
        assert all(ledger.ended(b"1%011d" % number) for number in range(200))
        assert all(ledger.told(b"2%011d" % number) == TOLD for number in range(200))
    assert os.listdir(path.parent) == [path.name]
