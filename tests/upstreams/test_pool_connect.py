"""How connections to a service come about, in the clear and over TLS, and what is said when they do not."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trio
import trio.testing

from gatewayd.upstreams.channel import UpstreamTimedOut, UpstreamUnreachable
from gatewayd.upstreams.pool import Pool
from tests.support.certificate import Certificate
from tests.upstreams.origin import SSE_HEAD, Visit, echo, open_origin, target, use


async def unreachable(pool: Pool) -> UpstreamUnreachable:
    with trio.fail_after(10), pytest.raises(UpstreamUnreachable) as caught:
        await pool.acquire()
    assert pool.open == 0
    return caught.value


async def test_a_port_where_nobody_listens_is_unreachable() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    error = await unreachable(Pool(target(port), connect_timeout=5.0, trust=None))
    assert error.reason == "the service cannot be reached"
    assert f"127.0.0.1:{port}" in error.detail
    assert "refused" in error.detail
    assert "127.0.0.1" not in error.reason


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a..b", "a" * 64 + ".invalid"])
async def test_a_name_without_address_is_unreachable(host: str) -> None:
    error = await unreachable(Pool(target(80, host=host), connect_timeout=5.0, trust=None))
    assert error.reason == "the service cannot be reached"


async def test_a_server_that_does_not_answer_the_handshake_is_too_slow(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_origin(Visit.gone) as origin:
        pool = Pool(target(origin.port, "https"), connect_timeout=3.0, trust=None)
        began = trio.current_time()
        with pytest.raises(UpstreamTimedOut, match="did not accept a connection in time"):
            await pool.acquire()
        assert trio.current_time() - began == pytest.approx(3.0)
        assert pool.open == 0
        await origin.wait_open(0)


async def test_a_caller_that_is_cancelled_while_connecting_leaves_nothing() -> None:
    async with open_origin(Visit.gone) as origin:
        pool = Pool(target(origin.port, "https"), connect_timeout=30.0, trust=None)
        with trio.move_on_after(0.1) as scope:
            await pool.acquire()
        assert scope.cancelled_caught
        assert pool.open == 0
        await origin.wait_open(0)


def tls(host: str) -> tuple[ssl.SSLContext, str]:
    """A server's context, and the file that makes clients trust it."""
    certificate = Certificate.shared(host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.files)
    return context, certificate.files[0]


@pytest.fixture
def _name_is_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """`origin.test` is this machine."""
    connect = trio.open_tcp_stream

    async def open_tcp_stream(host: str, port: int) -> trio.SocketStream:
        return await connect("127.0.0.1" if host == "origin.test" else host, port)

    monkeypatch.setattr(trio, "open_tcp_stream", open_tcp_stream)


@pytest.mark.usefixtures("_name_is_us")
async def test_a_trusted_server_is_spoken_to_and_its_connection_kept() -> None:
    context, trust = tls("origin.test")
    async with open_origin(echo, context) as origin:
        pool = Pool(target(origin.port, "https", "origin.test"), connect_timeout=5.0, trust=trust)
        for _ in range(3):
            await pool.release(await use(pool))
        assert origin.visits == 1
        await pool.aclose()
        assert pool.open == 0


@pytest.mark.parametrize(
    ("served", "trusted", "detail"),
    [
        ("origin.test", "other.test", "CERTIFICATE_VERIFY_FAILED"),
        ("other.test", "other.test", "Hostname mismatch"),
        ("origin.test", None, "CERTIFICATE_VERIFY_FAILED"),
    ],
)
@pytest.mark.usefixtures("_name_is_us")
async def test_a_server_that_is_not_who_it_says_is_not_spoken_to(served: str, trusted: str | None, detail: str) -> None:
    trust = None if trusted is None else tls(trusted)[1]
    async with open_origin(echo, tls(served)[0]) as origin:
        pool = Pool(target(origin.port, "https", "origin.test"), connect_timeout=5.0, trust=trust)
        error = await unreachable(pool)
        assert error.reason == "no trusted connection to the service"
        assert detail in error.detail
        assert not origin.heard
        await origin.wait_open(0)


async def test_a_server_that_does_not_speak_tls_is_not_spoken_to() -> None:
    async with open_origin(lambda visit: visit.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as origin:
        error = await unreachable(Pool(target(origin.port, "https"), connect_timeout=5.0, trust=None))
        assert error.reason == "no trusted connection to the service"


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_file_without_certificates_fails_calls_and_not_the_daemon(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "trust.pem"
    if content is not None:
        path.write_text(content)
    await unreachable(Pool(target(1, "https"), connect_timeout=5.0, trust=str(path)))


@pytest.mark.usefixtures("_name_is_us")
async def test_half_a_tls_record_on_a_kept_connection_is_not_waited_for() -> None:
    async def half(visit: Visit) -> None:
        await visit.answer(SSE_HEAD)
        if visit.number == 0:
            await trio.sleep(0.05)
            await visit.raw.send_all(b"\x17\x03\x03\x00\x20")
        await visit.gone()

    context, trust = tls("origin.test")
    async with open_origin(half, context) as origin:
        pool = Pool(target(origin.port, "https", "origin.test"), connect_timeout=5.0, trust=trust)
        first = await use(pool)
        await trio.sleep(0.1)
        await pool.release(first)
        with trio.fail_after(5):
            second = await pool.acquire()
        assert second is not first
        assert pool.open == 1
        await pool.discard(second)
