"""Requests that are sent a second time: on a connection that had gone stale, where it does no harm, and just once."""

from __future__ import annotations

import pytest
import trio

from gatewayd.protocol.jsonrpc import Request, Result
from gatewayd.upstreams.answer import send
from gatewayd.upstreams.channel import UpstreamDied, UpstreamUnreachable
from gatewayd.upstreams.http import HttpUpstream
from tests.upstreams.origin import CALL, Visit, ask, open_upstream, refusal, reply, result

READ = Request(7, "tools/list")
CUT_OFF = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"


async def keep_one(upstream: HttpUpstream) -> None:
    """Leave a connection that was used."""
    assert await ask(upstream) == Result(7, b"{}")
    assert upstream.pool.idle == 1


@pytest.mark.parametrize("how", ["close", "reset", "half a head"])
async def test_a_kept_connection_that_dies_is_replaced_where_repeating_does_no_harm(how: str) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(result(7)))
        if visit.number == 0:
            await visit.hear()
            if how == "half a head":
                await visit.say(b"HTTP/1.1 2")
            if how == "reset":
                visit.reset()

    async with open_upstream(script) as (upstream, origin):
        await keep_one(upstream)
        assert await ask(upstream, method="tools/list") == Result(7, b"{}")
        assert origin.visits == 2
        assert [request.body for request in origin.heard[1:]] == [origin.heard[1].body] * 2


async def test_a_kept_connection_that_dies_is_an_unknown_outcome_where_repeating_might_do_harm() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(result(7)))
        await visit.hear()

    async with open_upstream(script) as (upstream, origin):
        await keep_one(upstream)
        told = await refusal(upstream, CALL)
        assert isinstance(told, UpstreamDied)
        assert "the outcome is unknown" in told.reason
        assert origin.visits == 1
        assert len(origin.heard) == 2


async def test_nothing_is_repeated_on_a_new_connection() -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()

    async with open_upstream(script) as (upstream, origin):
        assert isinstance(await refusal(upstream, READ), UpstreamDied)
        assert len(origin.heard) == 1


async def test_nothing_is_repeated_twice_or_after_the_answer_began() -> None:
    async def script(visit: Visit) -> None:
        if visit.number == 0:
            await visit.answer(reply(result(7)))
            await visit.hear()
        elif visit.number == 1:
            await visit.hear()
        else:
            await visit.answer(reply(result(7)))
            await visit.answer(CUT_OFF)

    async with open_upstream(script) as (upstream, origin):
        await keep_one(upstream)
        assert isinstance(await refusal(upstream, READ), UpstreamDied)
        assert len(origin.heard) == 3
        await keep_one(upstream)
        assert isinstance(await refusal(upstream, READ), UpstreamDied)
        assert len(origin.heard) == 5


async def test_a_second_try_that_is_cancelled_counts_its_connection_once() -> None:
    over = trio.Event()

    async def script(visit: Visit) -> None:
        if visit.number == 0:
            await visit.answer(reply(result(7)))
            await visit.hear()
        else:
            await over.wait()
            await visit.gone()

    async with open_upstream(script) as (upstream, origin):
        await keep_one(upstream)
        large = Request(7, "tools/list", b'{"x":"%b"}' % (b"y" * 16_000_000))
        answer = await upstream.origin.post(large, ())
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer.receive)
                while origin.visits < 2:
                    await trio.sleep(0.01)
                await trio.sleep(0.1)
                nursery.cancel_scope.cancel()
        await answer.aclose()
        assert upstream.pool.open == 0
        over.set()


async def test_a_second_try_that_cannot_connect_counts_nothing() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(result(7)))
        await visit.hear()

    async with open_upstream(script) as (upstream, origin):
        await keep_one(upstream)
        answer = await upstream.origin.post(READ, ())
        await origin.stop_listening()
        with pytest.raises(UpstreamUnreachable):
            await answer.receive()
        await answer.aclose()
        assert upstream.pool.open == 0
        assert len(origin.heard) == 2


@pytest.mark.parametrize("kept", [True, False])
async def test_a_request_that_cannot_be_sent_goes_out_again_only_where_the_connection_was_an_old_one(
    kept: bool,
) -> None:
    async def script(visit: Visit) -> None:
        if visit.number == 0:
            visit.reset()
        else:
            await visit.answer(reply(result(7)))

    async with open_upstream(script) as (upstream, origin):
        connection = await upstream.pool.acquire()
        await origin.wait_open(0)
        connection.reused = kept
        wire = b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
        if kept:
            fresh = await send(upstream.pool, connection, "POST", wire)
            assert fresh is not connection
            assert upstream.pool.open == 1
            await upstream.pool.discard(fresh)
        else:
            with pytest.raises(UpstreamUnreachable, match="closed the connection"):
                await send(upstream.pool, connection, "POST", wire)
        assert upstream.pool.open == 0


async def test_a_cancelled_request_to_a_server_that_does_not_read_leaves_nothing() -> None:
    over = trio.Event()

    async def script(visit: Visit) -> None:
        await over.wait()
        await visit.gone()

    async with open_upstream(script) as (upstream, _):
        with trio.move_on_after(0.2) as scope:
            await upstream.origin.post(Request(7, "x", b'{"x":"%b"}' % (b"y" * 16_000_000)), ())
        assert scope.cancelled_caught
        assert upstream.pool.open == 0
        over.set()
