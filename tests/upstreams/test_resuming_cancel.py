"""Giving up an answer that can be taken up again, at any point."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Message
from gatewayd.upstreams.channel import Paused
from gatewayd.upstreams.cursor import SHORTEST_RETRY
from gatewayd.upstreams.resuming import GOODBYE
from tests.support.checkpoints import at_every_step, cut
from tests.support.counting_http import Lost
from tests.upstreams.interrupted import (
    DONE,
    FINAL,
    cancellations,
    note,
    noted,
    one_by_one,
    peer,
)
from tests.upstreams.origin import (
    ACCEPTED,
    CALL,
    LAST_CHUNK,
    SSE_HEAD,
    Visit,
    event,
    everything,
    numbered,
    open_upstream,
)


async def test_who_gives_up_while_the_stream_is_interrupted_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with open_upstream(one_by_one(SSE_HEAD + numbered("a", retry=5000) + LAST_CHUNK)) as (upstream, origin):
        answer = await peer(upstream).request(CALL)
        assert await answer.receive() == Paused(5000)
        with trio.move_on_after(1) as scope:
            await answer.receive()
        assert scope.cancelled_caught
        await answer.aclose()
        assert cancellations(origin) == 1
        assert await answer.receive() is None
        assert upstream.pool.open == upstream.pool.idle


async def test_waiting_can_be_taken_up_again_where_it_was(autojump_clock: trio.testing.MockClock) -> None:
    script = one_by_one(SSE_HEAD + numbered("a", retry=5000) + LAST_CHUNK, SSE_HEAD + event(FINAL))
    async with open_upstream(script) as (upstream, _):
        began = trio.current_time()
        answer = await peer(upstream).request(CALL)
        received: list[Message | Paused | None] = []
        while DONE not in received:
            with trio.move_on_after(0.7):
                received.append(await answer.receive())
        assert received == [Paused(5000), DONE]
        assert trio.current_time() - began == pytest.approx(5)
        await answer.aclose()


async def test_a_goodbye_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()
        await visit.gone()

    async with open_upstream(script) as (upstream, _):
        answer = await peer(upstream).request(CALL)
        began = trio.current_time()
        with trio.CancelScope() as scope:
            scope.cancel()
            await answer.aclose()
        assert trio.current_time() - began == pytest.approx(GOODBYE)
        await answer.aclose()
        assert upstream.pool.open == 0


async def test_cancelling_at_any_point_leaves_nothing_and_loses_nothing() -> None:
    script_of: list[Callable[[Visit], Awaitable[None]]] = []

    async def script(visit: Visit) -> None:
        await script_of[-1](visit)

    async with open_upstream(script) as (upstream, origin):

        async def trial(steps: int) -> bool:
            again = SSE_HEAD + numbered("b", FINAL) + LAST_CHUNK
            script_of.append(
                one_by_one(SSE_HEAD + numbered("a", note(1), retry=0) + LAST_CHUNK, *(again for _ in range(9)))
            )
            origin.heard.clear()
            answer = await peer(upstream).request(CALL)
            received: list[Message | Paused] = []

            async def work(begin: Callable[[], None]) -> None:
                begin()
                while (message := await answer.receive()) is not None:
                    received.append(message)

            ended = await cut(work, steps)
            while (message := await answer.receive()) is not None:
                received.append(message)
            await answer.aclose()
            assert received == [noted(1), Paused(SHORTEST_RETRY), DONE]
            return ended

        async def at_rest() -> None:
            await trio.lowlevel.checkpoint()
            assert upstream.pool.open == upstream.pool.idle

        assert await at_every_step(trial, at_rest) > 5


async def test_giving_up_at_any_point_leaves_nothing() -> None:
    script_of: list[Callable[[Visit], Awaitable[None]]] = []

    async def script(visit: Visit) -> None:
        await script_of[-1](visit)

    async with open_upstream(script) as (upstream, _):

        async def trial(steps: int) -> bool:
            again = SSE_HEAD + numbered("b", FINAL) + LAST_CHUNK
            script_of.append(one_by_one(SSE_HEAD + numbered("a", note(1), retry=0), again))

            async def work(begin: Callable[[], None]) -> None:
                begin()
                await everything(await peer(upstream).request(CALL))

            return await cut(work, steps)

        async def at_rest() -> None:
            await trio.lowlevel.checkpoint()
            assert upstream.pool.open == upstream.pool.idle

        assert await at_every_step(trial, at_rest) > 5


async def test_a_cancellation_names_the_request() -> None:
    async def script(visit: Visit) -> None:
        while True:
            request = await visit.hear()
            if b"cancelled" in request.body:
                await visit.say(ACCEPTED)
                raise Lost

    async with open_upstream(script) as (upstream, origin):
        await (await peer(upstream).request(CALL)).aclose()
        assert json.loads(origin.heard[-1].body)["params"]["requestId"] == 7
