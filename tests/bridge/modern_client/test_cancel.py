"""A modern client that leaves at any moment leaves nothing behind: cancelled at every step of the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from gatewayd.bridge.modern_client.parking import PATIENCE
from gatewayd.protocol.jsonrpc import Request
from tests.bridge.modern_client.legacy_upstream import ALL, House, elicit, final, loaded, open_house, receive
from tests.support.checkpoints import at_every_step, cut

CALL: dict[str, Any] = {"name": "x"}
ANSWERS: dict[str, object] = {"logging/setLevel": {}, "resources/subscribe": {}, "resources/unsubscribe": {}}


async def call(house: House, began: Callable[[], None]) -> None:
    """A call with two rounds of questions."""
    began()
    params = CALL
    for _ in range(2):
        answer = await house.ask("tools/call", params, capabilities=ALL, log="info", token=True)
        try:
            told = await final(answer)
        finally:
            await answer.aclose()
        responses = {key: {"action": "accept"} for key in told.get("inputRequests", {})}
        params = {**CALL, "requestState": told.get("requestState", ""), "inputResponses": responses}


async def serve(house: House) -> None:
    """The service's side of all calls: a question, another one, the end."""
    while True:
        asked = await house.upstream.next()
        asked.say(elicit("one"), Request("p", "ping"))
        await house.upstream.until(lambda: asked.closed or len(asked.peer.replies()) >= 2)  # noqa: B023
        asked.say(elicit("two"))


async def listen(house: House, began: Callable[[], None]) -> None:
    """A subscription to two resources, until the first news."""
    began()
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["file:///a", "file:///b"]}
    answer = await house.ask("subscriptions/listen", {"notifications": wanted})
    try:
        await receive(answer)
    finally:
        await answer.aclose()


async def discover(house: House, began: Callable[[], None]) -> None:
    began()
    await house.final("server/discover")


@pytest.mark.parametrize("work", [call, listen, discover])
@pytest.mark.parametrize("per", ["principal", "call"])
async def test_nothing_is_left(
    work: Callable[[House, Callable[[], None]], Any], per: Any, autojump_clock: object
) -> None:
    async def trial(steps: int) -> bool:
        async with open_house(answers=dict(ANSWERS), per=per) as house, trio.open_nursery() as nursery:
            nursery.start_soon(serve, house)
            ended = await cut(lambda began: work(house, began), steps)
            await trio.sleep(PATIENCE + 100)
            assert house.clients.statistics() == {"pooled": 0, "parked": 0}
            house.upstream.assert_rest()
            nursery.cancel_scope.cancel()
        return ended

    async def check() -> None:
        await trio.lowlevel.checkpoint()

    with trio.fail_after(10_000_000):
        assert await at_every_step(trial, check) > 5


async def test_what_a_cut_call_had_asked_is_not_left_waiting(autojump_clock: object) -> None:
    async with open_house(answers=dict(ANSWERS)) as house, trio.open_nursery() as nursery:
        nursery.start_soon(call, house, lambda: None)
        asked = await house.upstream.next()
        assert loaded(asked.message.params)["name"] == "x"
        nursery.cancel_scope.cancel()
    assert asked.closed
