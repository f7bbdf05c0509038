"""The admin listener on real sockets."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import trio

from gatewayd.control.app import build_app
from gatewayd.control.serve import host_names, serve_admin
from gatewayd.net.sockets import CannotListen, open_socket
from gatewayd.routes.table import Listen, Tls

LOOPBACK = Listen("127.0.0.1", 0)


class Gateway:
    """A view with a tree too large for any socket buffer, and services that cannot be listed."""

    def ready(self) -> tuple[bool, str]:
        return True, "serving"

    def services(self) -> Sequence[Mapping[str, object]]:
        raise RuntimeError("internal detail")

    def routes(self) -> Sequence[Mapping[str, object]]:
        return [{"path": "/mcp"}]

    def tree(self) -> Mapping[str, object]:
        return {"kind": "x" * 20_000_000}

    def metrics(self) -> bytes:
        return b""

    def table(self) -> Mapping[str, object]:
        return {}


async def _get(listen: Listen, path: str) -> bytes:
    async with await trio.open_tcp_stream(listen.host, listen.port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        return b"".join([part async for part in stream])


@pytest.fixture
def app() -> object:
    return build_app(Gateway(), host_names(LOOPBACK))


async def test_it_serves_on_the_port_that_it_reports(app: object) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            bound: Listen = await nursery.start(serve_admin, LOOPBACK, app)
            assert bound.port != 0
            answer = await _get(bound, "/healthz")
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"hypercorn" not in answer.lower()
            assert answer.endswith(b"ok\n")
            nursery.cancel_scope.cancel()


async def test_a_failure_tells_the_client_nothing(app: object, caplog: pytest.LogCaptureFixture) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            bound: Listen = await nursery.start(serve_admin, LOOPBACK, app)
            answer = await _get(bound, "/services")
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert b"internal detail" not in answer
            assert b"x-content-type-options" in answer
            nursery.cancel_scope.cancel()
    assert "internal detail" in caplog.text


async def test_it_ends_at_once_with_silent_and_half_spoken_clients(app: object) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            bound: Listen = await nursery.start(serve_admin, LOOPBACK, app)
            silent = await trio.open_tcp_stream(bound.host, bound.port)
            half = await trio.open_tcp_stream(bound.host, bound.port)
            await half.send_all(b"GET /hea")
            assert (await _get(bound, "/healthz")).startswith(b"HTTP/1.1 200")
            started = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - started < 1.0
    await silent.aclose()
    await half.aclose()
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.mark.slow
async def test_it_ends_soon_with_a_client_that_does_not_read(app: object) -> None:
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            bound: Listen = await nursery.start(serve_admin, LOOPBACK, app)
            peer = trio.socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await peer.connect((bound.host, bound.port))
            await peer.send(b"GET /api/v1/tree HTTP/1.1\r\nhost: localhost\r\n\r\n")
            received = 0
            while received < 100_000:  # so the body is being written, and most of it is not
                received += len(await peer.recv(4096))
            started = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - started < 3.0
    peer.close()


async def test_an_address_in_use_is_explained(app: object) -> None:
    with open_socket(LOOPBACK, patience=1) as taken:
        port: int = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"http://127\.0\.0\.1:{port}: another process listens there"):
            await serve_admin(Listen("127.0.0.1", port), build_app(Gateway()))


async def test_an_unusable_certificate_is_explained_and_leaves_nothing_open(tmp_path: Path) -> None:
    pem = tmp_path / "cert.pem"
    pem.write_text("not a certificate")
    descriptors = len(os.listdir("/proc/self/fd"))
    for tls in (Tls(str(pem), str(pem)), Tls(str(tmp_path / "missing"), str(pem))):
        with pytest.raises(CannotListen, match="the certificate or its key cannot be used") as caught:
            await serve_admin(Listen("127.0.0.1", 0, tls), build_app(Gateway()))
        assert isinstance(caught.value.__cause__, ssl.SSLError | FileNotFoundError)
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_listeners_have_loopback_names_and_their_own(host: str) -> None:
    assert host_names(Listen(host, 9090)) == frozenset({"localhost", "127.0.0.1", "::1", host})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.internal"])
def test_other_listeners_take_any_name(host: str) -> None:
    assert host_names(Listen(host, 9090)) is None
