"""Connections kept and given up: what is reused, what has gone stale, and that every one is accounted for."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from gatewayd.protocol.http1 import encode_request_head
from gatewayd.upstreams import pool as module
from gatewayd.upstreams.answer import send
from gatewayd.upstreams.channel import UpstreamTimedOut, UpstreamUnreachable
from gatewayd.upstreams.pool import KEEP_IDLE, Pool, PooledConnection
from tests.support.certificate import Certificate
from tests.upstreams.origin import (
    LAST_CHUNK,
    SSE_HEAD,
    Origin,
    Script,
    Visit,
    event,
    open_origin,
    open_upstream,
    reply,
    result,
    target,
)
from tests.upstreams.origin import ask as call

GET = encode_request_head("GET", "/", [(b"host", b"x")])


@asynccontextmanager
async def open_pool(script: Script) -> AsyncIterator[tuple[Pool, Origin]]:
    """A pool whose connections are all accounted for in the end."""
    async with open_origin(script) as origin:
        pool = Pool(target(origin.port), connect_timeout=5.0, trust=None)
        yield pool, origin
        assert pool.open == pool.idle
        await pool.aclose()
        assert pool.open == 0
        await origin.wait_open(0)


async def echo(visit: Visit) -> None:
    """Answers for ever."""
    while True:
        await visit.answer(reply(b"{}"))


async def use(pool: Pool) -> PooledConnection:
    """Ask for something small, and read the answer to its end."""
    connection = await send(pool, await pool.acquire(), "GET", GET)
    while connection.reader.next_head() is None:
        connection.reader.feed(await connection.stream.receive_some())
    return connection


async def test_a_connection_is_used_again() -> None:
    async with open_pool(echo) as (pool, origin):
        first = await use(pool)
        assert not first.reused
        assert (pool.open, pool.idle) == (1, 0)
        await pool.release(first)
        assert (pool.open, pool.idle) == (1, 1)
        second = await use(pool)
        assert second is first
        assert second.reused
        await pool.release(second)
        assert origin.visits == 1


async def test_those_in_use_are_not_handed_out_and_the_last_used_one_comes_first() -> None:
    async with open_pool(echo) as (pool, origin):
        first, second = await use(pool), await use(pool)
        assert first is not second
        await pool.release(second)
        await pool.release(first)
        assert await pool.acquire() is first
        await pool.release(first)
        assert origin.visits == 2


async def test_a_fresh_one_is_fresh() -> None:
    async with open_pool(echo) as (pool, _):
        first = await use(pool)
        await pool.release(first)
        second = await pool.acquire(fresh=True)
        assert second is not first
        assert not second.reused
        await pool.discard(second)
        assert (pool.open, pool.idle) == (1, 1)


async def test_one_that_the_server_closed_meanwhile_is_not_handed_out() -> None:
    async def once(visit: Visit) -> None:
        await visit.answer(reply(b"{}"))

    async with open_pool(once) as (pool, origin):
        first = await use(pool)
        await pool.release(first)
        await origin.wait_open(0)
        second = await use(pool)
        assert second is not first
        assert pool.open == 1
        await pool.release(second)


async def test_one_that_the_server_speaks_on_unasked_is_not_handed_out() -> None:
    async def chatty(visit: Visit) -> None:
        await visit.answer(reply(b"{}"), reply(b'{"poison":1}'))
        await visit.gone()

    async with open_pool(chatty) as (pool, _):
        first = await use(pool)
        await pool.release(first)
        await trio.sleep(0.05)
        second = await pool.acquire()
        assert second is not first
        await pool.release(second)


async def test_one_that_the_server_wants_to_close_is_not_handed_out() -> None:
    async def closing(visit: Visit) -> None:
        await visit.answer(reply(b"{}", 200, "application/json", "connection: close"))
        await visit.gone()

    async with open_pool(closing) as (pool, origin):
        for _ in range(2):
            await pool.release(await use(pool))
        assert origin.visits == 2
        assert pool.open == 1


@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_the_end_of_a_stream_may_come_in_a_packet_of_its_own(pause: float) -> None:
    async def slow_end(visit: Visit) -> None:
        for ident in (1, 2):
            await visit.answer(SSE_HEAD + event(result(ident)))
            await trio.sleep(pause)
            await visit.say(LAST_CHUNK)
        await visit.gone()

    async with open_upstream(slow_end) as (upstream, origin):
        await call(upstream, 1)
        await trio.sleep(0.1)
        await call(upstream, 2)
        assert origin.visits == 1


async def test_a_stream_that_has_not_ended_is_not_waited_for_but_used_later() -> None:
    go_on = trio.Event()

    async def slow_end(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(result(visit.number)))
        await go_on.wait()
        await visit.say(LAST_CHUNK)
        await visit.answer(reply(result(visit.number)))
        await visit.gone()

    async with open_upstream(slow_end) as (upstream, origin):
        with trio.fail_after(5):
            await call(upstream, 0)
            await call(upstream, 1)
        assert (upstream.pool.open, upstream.pool.idle) == (2, 2)
        go_on.set()
        await trio.sleep(0.1)
        await call(upstream, 1)
        assert origin.visits == 2


@pytest.mark.parametrize("more", [b"", b": ping\n\n" * 1000])
async def test_a_stream_that_never_ends_is_closed_in_time(more: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async def no_end(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(result(visit.number)))
        if more:
            await trio.sleep(0.1)
            await visit.say(b"%x\r\n%b\r\n" % (len(more), more))
        await visit.gone()

    async with open_upstream(no_end) as (upstream, origin), trio.open_nursery() as nursery:
        nursery.start_soon(upstream.pool.reap)
        for number in range(3):
            await call(upstream, number)
            await trio.sleep(1)
        assert (origin.visits, upstream.pool.open) == (3, 3)
        await trio.sleep(KEEP_IDLE)
        assert upstream.pool.open == 0
        nursery.cancel_scope.cancel()


async def test_a_stream_that_ended_with_the_connection_is_not_used_again() -> None:
    async def cut(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(result(visit.number)))

    async with open_upstream(cut) as (upstream, origin):
        await call(upstream, 0)
        await origin.wait_open(0)
        await call(upstream, 1)
        assert upstream.pool.open == 1


async def test_a_cancelled_look_at_a_kept_connection_closes_it() -> None:
    async def slow_end(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(result(1)))
        await trio.sleep(0.05)
        await visit.say(LAST_CHUNK)
        await visit.gone()

    async with open_upstream(slow_end) as (upstream, origin):
        await call(upstream, 1)
        await trio.sleep(0.1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await upstream.pool.acquire()
        assert scope.cancelled_caught
        assert upstream.pool.open == 0
        await origin.wait_open(0)


async def test_more_than_enough_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDLE", 2)
    async with open_pool(echo) as (pool, origin):
        for connection in [await use(pool) for _ in range(4)]:
            await pool.release(connection)
        assert (pool.open, pool.idle) == (2, 2)
        await origin.wait_open(2)


async def test_unused_connections_are_closed_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pool(echo) as (pool, _), trio.open_nursery() as nursery:
        nursery.start_soon(pool.reap)
        first, second = await use(pool), await use(pool)
        await pool.release(first)
        await trio.sleep(1)
        await pool.release(second)
        await trio.sleep(KEEP_IDLE - 1.1)
        assert (pool.open, pool.idle) == (2, 2)
        await trio.sleep(0.2)
        assert (pool.open, pool.idle) == (1, 1)
        await trio.sleep(1)
        assert (pool.open, pool.idle) == (0, 0)
        third = await use(pool)
        await pool.release(third)
        await trio.sleep(KEEP_IDLE + 0.1)
        assert pool.open == 0
        nursery.cancel_scope.cancel()


async def test_use_renews_the_time(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pool(echo) as (pool, origin), trio.open_nursery() as nursery:
        nursery.start_soon(pool.reap)
        for _ in range(5):
            await pool.release(await use(pool))
            await trio.sleep(KEEP_IDLE - 1)
        assert origin.visits == 1
        nursery.cancel_scope.cancel()


async def test_a_closed_pool_keeps_nothing() -> None:
    async with open_pool(echo) as (pool, _):
        idle, busy = await use(pool), await use(pool)
        await pool.release(idle)
        await pool.aclose()
        assert (pool.open, pool.idle) == (1, 0)
        await pool.release(busy)
        assert pool.open == 0
        await pool.release(await use(pool))
        assert pool.open == 0


async def test_closing_a_pool_closes_everything_also_when_cancelled() -> None:
    async with open_pool(echo) as (pool, origin):
        for connection in [await use(pool) for _ in range(5)]:
            await pool.release(connection)
        with trio.CancelScope() as scope:
            scope.cancel()
            await pool.aclose()
        assert pool.open == 0
        await origin.wait_open(0)


async def test_a_reaper_that_is_cancelled_leaves_the_count_right(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pool(echo) as (pool, _):
        for connection in [await use(pool) for _ in range(3)]:
            await pool.release(connection)
        with trio.move_on_after(KEEP_IDLE):
            await pool.reap()
        assert pool.open == pool.idle


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
