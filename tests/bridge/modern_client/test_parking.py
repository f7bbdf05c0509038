"""Parked calls: where the tree shows them, how long they keep their service, and what a reload leaves of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio

from gatewayd.bridge.modern_client.clients import open_modern_clients
from gatewayd.bridge.modern_client.parking import PATIENCE
from gatewayd.protocol.jsonrpc import RpcError
from gatewayd.routes.table import Timeouts
from tests.bridge.modern_client.legacy_upstream import ALICE, ALL, House, elicit, final, new_tickets, open_house

CALL: dict[str, Any] = {"name": "x", "arguments": {}}
VISIT = {"elicitations": [{"mode": "url", "url": "https://x", "message": "Go"}]}


async def park(house: House) -> dict[str, Any]:
    """What the client is told when its call waits for it."""
    answer = await house.ask("tools/call", CALL, capabilities=ALL)
    (await house.upstream.next()).say(elicit())
    told = await final(answer)
    await answer.aclose()
    return told


async def park_failed(house: House) -> dict[str, Any]:
    """The same for a call that is to be made again."""
    answer = await house.ask("tools/call", CALL, capabilities=ALL)
    (await house.upstream.next()).finish(code=-32042, data=VISIT)
    told = await final(answer)
    await answer.aclose()
    return told


def retry(told: dict[str, Any], key: str = "ask-1") -> dict[str, Any]:
    return {**CALL, "requestState": told["requestState"], "inputResponses": {key: {"action": "accept"}}}


async def test_the_tree_shows_parked_calls_under_the_session_that_keeps_them(autojump_clock: object) -> None:
    async with open_house(timeouts=Timeouts(idle=60.0)) as house:
        told = await park(house)
        (pooled,) = house.node.children
        (parked,) = pooled.children
        assert [(node.kind, node.label) for node in (pooled, parked)] == [("pooled", ALICE.key), ("parked", ALICE.key)]
        answer = await house.ask("tools/call", retry(told), capabilities=ALL)
        assert house.node.count() == Counter(service=1, pooled=1)
        await answer.aclose()
        await trio.sleep(61)
        assert house.node.count() == Counter(service=1)


async def test_a_call_that_is_to_be_made_again_is_shown_under_the_service(autojump_clock: object) -> None:
    async with open_house(timeouts=Timeouts(idle=60.0)) as house:
        await park_failed(house)
        assert {node.kind for node in house.node.children} == {"pooled", "parked"}
        await trio.sleep(61)
        assert house.node.count() == Counter(service=1, parked=1)
        await trio.sleep(PATIENCE)
        assert house.node.count() == Counter(service=1)


@pytest.mark.parametrize("how", [park, park_failed])
async def test_a_service_is_in_use_until_its_parked_calls_are_answered_or_given_up(
    how: Any, autojump_clock: object
) -> None:
    async with open_house() as house:
        told = await how(house)
        assert house.upstream.usage.count
        answer = await house.ask("tools/call", retry(told), capabilities=ALL)
        assert house.upstream.usage.count
        await answer.aclose()
        assert not house.upstream.usage.count
        house.upstream.waiting.clear()
        await how(house)
        await trio.sleep(PATIENCE - 1)
        assert house.upstream.usage.count
        await trio.sleep(2)
        assert not house.upstream.usage.count


async def test_a_client_finds_its_call_where_the_service_was_replaced_meanwhile(autojump_clock: object) -> None:
    tickets = new_tickets()
    async with open_house(tickets=tickets) as new:
        async with open_house(tickets=tickets) as old:
            told = await park(old)
            answer = await new.ask("tools/call", retry(told), capabilities=ALL)
            (asked,) = [asked for asked in old.upstream.peers[0].asked if asked.message.method == "tools/call"]
            assert [reply.id for reply in old.upstream.peers[0].replies()] == ["q"]
            assert old.upstream.usage.count
            asked.say(elicit("again"))
            told = await final(answer)
            await answer.aclose()
            assert (old.clients.statistics()["parked"], new.clients.statistics()["parked"]) == (1, 0)
            answer = await new.ask("tools/call", retry(told, "ask-2"), capabilities=ALL)
            asked.finish({"content": []})
            assert (await final(answer))["resultType"] == "complete"
            await answer.aclose()
            assert not old.upstream.usage.count
            failed = await park_failed(old)
            answer = await new.ask("tools/call", retry(failed), capabilities=ALL)
            (await new.upstream.next()).finish()
            assert (await final(answer))["resultType"] == "complete"
            await answer.aclose()
            told = await park(old)
        with pytest.raises(RpcError, match="start again"):
            await new.ask("tools/call", retry(told), capabilities=ALL)


async def test_a_service_that_is_closed_parks_nothing_any_more(autojump_clock: object) -> None:
    async with open_house() as house:
        async with open_modern_clients(house.upstream, new_tickets(), house.ids, house.node) as clients:
            closing = House(house.upstream, clients, house.ids, house.node)
            answer = await closing.ask("tools/call", CALL, capabilities=ALL)
            asked = await house.upstream.next()
        asked.say(elicit())
        asked.finish()
        assert "inputRequests" not in await final(answer)
        await answer.aclose()
        assert house.node.count() == Counter(service=1)
