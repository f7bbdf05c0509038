"""Connections kept and given up: what is reused, what has gone stale, and that every one is accounted for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from gatewayd.upstreams import pool as module
from gatewayd.upstreams.pool import KEEP_IDLE, Pool
from tests.upstreams.origin import (
    LAST_CHUNK,
    SSE_HEAD,
    Origin,
    Script,
    Visit,
    echo,
    event,
    open_origin,
    open_upstream,
    reply,
    result,
    target,
    use,
)
from tests.upstreams.origin import ask as call


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
