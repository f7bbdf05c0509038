"""Sessions that the gateway opens for modern clients: shared openings, idle ends, bounds, one for each call."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gatewayd.bridge.modern_client import session_pool
from gatewayd.protocol.jsonrpc import Failure, Notification, RpcError
from gatewayd.routes.table import Timeouts
from gatewayd.upstreams.channel import Refused, UpstreamDied, UpstreamTimedOut, UpstreamUnreachable
from gatewayd.upstreams.service import Caller
from tests.bridge.modern_client.legacy_upstream import (
    ALICE,
    ALL,
    BOB,
    FORM,
    House,
    Peer,
    elicit,
    final,
    loaded,
    open_house,
)

LISTS: dict[str, object] = {"prompts/list": {}, "tools/call": {}}


async def use(house: House, caller: Caller = ALICE, **how: Any) -> None:
    assert (await house.final("prompts/list", caller=caller, **how))["resultType"] == "complete"


async def test_concurrent_callers_share_one_opening(autojump_clock: object) -> None:
    async with open_house(answers=LISTS, opening=1.0) as house:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(use, house)
        assert len(house.upstream.peers) == 1


async def test_a_caller_that_leaves_takes_nothing_from_the_others(autojump_clock: object) -> None:
    async with open_house(answers=LISTS, opening=1.0) as house:
        with trio.move_on_after(0.5):
            await use(house)
        await use(house)
        assert len(house.upstream.peers) == 1


async def test_what_the_opening_fails_with_goes_to_all_who_wait_and_the_next_tries_again(
    autojump_clock: object,
) -> None:
    async with open_house(answers=LISTS, opening=1.0, refusal=UpstreamUnreachable("down")) as house:
        failed = list[UpstreamUnreachable]()

        async def fail() -> None:
            with pytest.raises(UpstreamUnreachable) as error:
                await house.ask("prompts/list")
            failed.append(error.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(fail)
        assert len(failed) == 2
        assert house.clients.statistics()["pooled"] == 0
        house.upstream.refusal = None
        await use(house)


async def test_a_service_that_refuses_says_so_itself(autojump_clock: object) -> None:
    refusal = Refused(Failure(1, -32602, "not you"))
    async with open_house(refusal=refusal) as house:
        with pytest.raises(Refused):
            await house.ask("server/discover")


async def test_an_opening_that_takes_too_long(autojump_clock: object) -> None:
    async with open_house(opening=100.0, timeouts=Timeouts(call=5.0)) as house:
        with pytest.raises(UpstreamTimedOut, match="5 seconds"):
            await house.ask("server/discover")


async def test_a_bug_is_the_calls_and_not_the_gateways(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house(opening=-1.0) as house:  # trio refuses to sleep for that
        with pytest.raises(ValueError):
            await house.ask("server/discover")


async def test_a_session_that_cannot_be_told_that_it_is_open_is_closed(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(self: Peer, message: object) -> None:
        raise UpstreamDied("deaf")

    async with open_house() as house:
        monkeypatch.setattr(Peer, "send", deaf)
        with pytest.raises(UpstreamDied):
            await house.ask("server/discover")
        assert house.upstream.peers[0].closed


async def test_idle_sessions_end(autojump_clock: object) -> None:
    async with open_house(answers=LISTS, timeouts=Timeouts(idle=10.0)) as house:
        await use(house)
        await trio.sleep(9)
        await use(house)
        await trio.sleep(9)
        assert not house.upstream.peers[0].closed
        await trio.sleep(2)
        assert house.upstream.peers[0].closed
        assert house.clients.statistics()["pooled"] == 0
        await use(house)
        assert len(house.upstream.peers) == 2


async def test_a_session_with_a_parked_call_is_not_idle(autojump_clock: object) -> None:
    async with open_house(timeouts=Timeouts(idle=10.0)) as house:
        answer = await house.ask("tools/call", {"name": "x"}, capabilities=FORM)
        asked = await house.upstream.next()
        asked.say(elicit())
        told = await final(answer)
        await answer.aclose()
        await trio.sleep(100)
        assert not house.upstream.peers[0].closed
        given = {"requestState": told["requestState"], "inputResponses": {"ask-1": {"action": "decline"}}}
        answer = await house.ask("tools/call", {"name": "x", **given}, capabilities=FORM)
        asked.finish()
        await final(answer)
        await answer.aclose()
        await trio.sleep(11)
        assert house.upstream.peers[0].closed


async def test_the_session_that_was_idle_for_the_longest_time_makes_room(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pool, "MOST_SESSIONS", 2)
    async with open_house(answers=LISTS) as house:
        for number in range(2):
            await use(house, Caller(f"user:{number}"))
            await trio.sleep(1)
        await use(house, Caller("user:0"))
        await trio.sleep(1)
        await use(house, ALICE)
        await trio.sleep(1)
        assert [peer.closed > 0 for peer in house.upstream.peers] == [False, True, False]
        assert house.clients.statistics()["pooled"] == 2


async def test_busy_sessions_make_no_room(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_pool, "MOST_OF_ONE", 1)
    async with open_house(answers={**LISTS, "tools/call": None}) as house:
        answer = await house.ask("tools/call", {"name": "x"})
        with pytest.raises(UpstreamUnreachable, match="too many sessions"):
            await house.ask("prompts/list", capabilities=ALL)
        await use(house, BOB)
        await answer.aclose()
        await use(house, capabilities=ALL)
        await trio.sleep(1)
        assert house.upstream.peers[0].closed


async def test_one_session_for_each_call(autojump_clock: object) -> None:
    async with open_house(answers=LISTS, per="call") as house:
        await use(house)
        await house.final("tools/call", {"name": "x"})
        told = await house.final("server/discover")
        assert told["capabilities"]["tools"] == {"listChanged": True}
        await trio.sleep(1)
        peers = house.upstream.peers
        assert [peer.methods() for peer in peers] == [["prompts/list"], ["tools/list", "tools/call"], []]
        assert all(peer.closed for peer in peers)
        assert [len(peer.streams) for peer in peers] == [0, 0, 1]
        assert all(Notification("notifications/initialized") in peer.sent for peer in peers)


async def test_one_session_for_each_session_of_a_client(autojump_clock: object) -> None:
    async with open_house(answers=LISTS, per="session") as house:
        for session in ("one", "two", "one", ""):
            await use(house, Caller(ALICE.key, session=session))
        assert len(house.upstream.peers) == 3
    async with open_house(answers=LISTS) as house:
        for session in ("one", "two"):
            await use(house, Caller(ALICE.key, session=session))
        assert len(house.upstream.peers) == 1


async def test_a_parked_call_keeps_its_own_session(autojump_clock: object) -> None:
    async with open_house(answers={"prompts/list": {}}, per="call") as house:
        answer = await house.ask("tools/call", {"name": "x"}, capabilities=FORM)
        asked = await house.upstream.next()
        asked.say(elicit())
        told = await final(answer)
        await answer.aclose()
        await use(house)
        assert not house.upstream.peers[0].closed
        assert loaded(house.upstream.peers[0].initialize.params)["capabilities"] == FORM
        given = {"requestState": told["requestState"], "inputResponses": {"ask-1": {"action": "decline"}}}
        answer = await house.ask("tools/call", {"name": "x", **given}, capabilities=FORM)
        asked.finish()
        await final(answer)
        await answer.aclose()
        await trio.sleep(1)
        assert house.upstream.peers[0].closed


async def test_a_refused_request_gives_its_session_back(autojump_clock: object) -> None:
    async with open_house(per="call") as house:
        with pytest.raises(RpcError):
            await house.ask("prompts/list", log="loud")
        house.upstream.answers["prompts/list"] = UpstreamDied("x")
        answer = await house.ask("prompts/list")
        with pytest.raises(UpstreamDied):
            await answer.receive()
        await answer.aclose()
        await trio.sleep(1)
        assert house.clients.statistics()["pooled"] == 0
