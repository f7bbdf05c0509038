"""Subscriptions of modern clients to the news of a legacy server, and the stream that brings them."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gatewayd.bridge.modern_client import listen_answer
from gatewayd.protocol.codes import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result, RpcError
from gatewayd.protocol.versions import META_SUBSCRIPTION_ID
from gatewayd.routes.table import Timeouts
from gatewayd.upstreams.channel import Answer, Paused, UpstreamDied
from tests.bridge.modern_client.legacy_upstream import (
    ALICE,
    BOB,
    House,
    dumped,
    elicit,
    final,
    loaded,
    open_house,
    receive,
)

TOOLS = Notification("notifications/tools/list_changed")
PROMPTS = Notification("notifications/prompts/list_changed")
SUBSCRIBES: dict[str, object] = {"resources/subscribe": {}, "resources/unsubscribe": {}}
EVERYTHING: dict[str, Any] = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


def updated(uri: str, **more: Any) -> Notification:
    return Notification("notifications/resources/updated", dumped({"uri": uri, **more}))


async def listen(house: House, notifications: dict[str, Any], **how: Any) -> tuple[Answer, dict[str, Any]]:
    """A subscription, and what of it was honoured."""
    answer = await house.ask("subscriptions/listen", {"notifications": notifications}, **how)
    first = await receive(answer)
    assert isinstance(first, Notification)
    assert first.method == "notifications/subscriptions/acknowledged"
    told = loaded(first.params)
    assert isinstance(told["_meta"][META_SUBSCRIPTION_ID], int)
    honoured: dict[str, Any] = told["notifications"]
    return answer, honoured


async def heard(answer: Answer) -> tuple[str, dict[str, Any]]:
    message = await receive(answer)
    assert isinstance(message, Notification)
    params = loaded(message.params)
    assert META_SUBSCRIPTION_ID in params["_meta"]
    del params["_meta"][META_SUBSCRIPTION_ID]
    return message.method, {name: value for name, value in params.items() if name != "_meta" or value}


async def silent(answer: Answer) -> None:
    with trio.move_on_after(60) as waited:
        await answer.receive()
    assert waited.cancelled_caught


async def test_news_reach_who_asked_for_them(autojump_clock: object) -> None:
    async with open_house() as house:
        tools, honoured = await listen(house, {"toolsListChanged": True})
        assert honoured == {"toolsListChanged": True}
        both, _ = await listen(house, EVERYTHING)
        others, _ = await listen(house, EVERYTHING, caller=BOB)
        (await house.upstream.stream()).say(PROMPTS, TOOLS, Notification("notifications/vendor"))
        assert await heard(tools) == (TOOLS.method, {})
        assert [(await heard(both))[0] for _ in range(2)] == [PROMPTS.method, TOOLS.method]
        await silent(others)
        for answer in (tools, both, others):
            await answer.aclose()
            await answer.aclose()
        assert not house.upstream.peers[0].methods()


async def test_only_what_the_service_can_tell_is_acknowledged(autojump_clock: object) -> None:
    wanted = {**EVERYTHING, "resourceSubscriptions": ["file:///a"]}
    capabilities = {"tools": {"listChanged": True}, "resources": {}}
    async with open_house(capabilities=capabilities) as house:
        answer, honoured = await listen(house, wanted)
        assert honoured == {"toolsListChanged": True}
        await answer.aclose()
    async with open_house(listening="no") as house:
        answer, honoured = await listen(house, wanted)
        assert honoured == {}
        await silent(answer)
        await answer.aclose()


async def test_bad_filters_are_refused_before_a_session_is_opened(autojump_clock: object) -> None:
    async with open_house() as house:
        for wanted, code in ((3, INVALID_PARAMS), ({"taskIds": []}, MISSING_CLIENT_CAPABILITY)):
            with pytest.raises(RpcError) as refused:
                await house.ask("subscriptions/listen", {"notifications": wanted})
            assert refused.value.code == code
        assert not house.upstream.peers


async def test_updates_of_resources_that_were_subscribed_to(autojump_clock: object) -> None:
    async with open_house(answers=SUBSCRIBES) as house:
        answer, honoured = await listen(house, {"resourceSubscriptions": ["file:///a", "file:///b"]})
        assert honoured == {"resourceSubscriptions": ["file:///a", "file:///b"]}
        stream = await house.upstream.stream()
        stream.say(updated("file:///a"), updated("file:///c"), updated("file:///b/x", title="X"), TOOLS)
        assert await heard(answer) == ("notifications/resources/updated", {"uri": "file:///a"})
        assert await heard(answer) == ("notifications/resources/updated", {"uri": "file:///b/x", "title": "X"})
        await silent(answer)
        await answer.aclose()


async def test_a_resource_is_subscribed_to_once_and_unsubscribed_when_nobody_listens(autojump_clock: object) -> None:
    async with open_house(answers=SUBSCRIBES) as house:
        first, _ = await listen(house, {"resourceSubscriptions": ["file:///a"]})
        second, _ = await listen(house, {"resourceSubscriptions": ["file:///a"]})
        (peer,) = house.upstream.peers
        assert peer.methods() == ["resources/subscribe"]
        await first.aclose()
        await trio.sleep(1)
        assert peer.methods() == ["resources/subscribe"]
        await second.aclose()
        await trio.sleep(1)
        assert peer.methods() == ["resources/subscribe", "resources/unsubscribe"]
        third, _ = await listen(house, {"resourceSubscriptions": ["file:///a"]})
        assert peer.methods()[2:] == ["resources/subscribe"]
        await third.aclose()


@pytest.mark.parametrize("canned", [METHOD_NOT_FOUND, UpstreamDied("x")])
async def test_what_could_not_be_subscribed_to_is_not_acknowledged(canned: object, autojump_clock: object) -> None:
    async with open_house(answers={"resources/subscribe": canned}) as house:
        answer, honoured = await listen(house, {"resourceSubscriptions": ["file:///a"], "toolsListChanged": True})
        assert honoured == {"toolsListChanged": True}
        await answer.aclose()


async def test_a_subscription_that_the_service_does_not_answer_to_its_end(autojump_clock: object) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:

        async def end() -> None:
            (await house.upstream.next("resources/subscribe")).say(Paused(1), None)

        nursery.start_soon(end)
        answer, honoured = await listen(house, {"resourceSubscriptions": ["file:///a"]})
        assert honoured == {}
        await answer.aclose()


async def test_subscribing_takes_no_longer_than_a_call(autojump_clock: object) -> None:
    async with open_house(timeouts=Timeouts(call=3.0)) as house, trio.open_nursery() as nursery:

        async def first_only() -> None:
            (await house.upstream.next("resources/subscribe")).finish({})

        nursery.start_soon(first_only)
        answer, honoured = await listen(house, {"resourceSubscriptions": ["file:///a", "file:///b"]})
        assert honoured == {"resourceSubscriptions": ["file:///a"]}
        await answer.aclose()
        await trio.sleep(10)
        assert house.clients.statistics() == {"pooled": 1, "parked": 0}


async def test_the_same_news_twice_are_told_once_to_a_client_that_did_not_read_them(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen_answer, "MOST_NEWS", 3)
    async with open_house(answers=SUBSCRIBES) as house:
        answer, _ = await listen(house, {"resourceSubscriptions": ["file:///a"], "toolsListChanged": True})
        stream = await house.upstream.stream()
        stream.say(*[TOOLS, TOOLS, updated("file:///a", n=1), TOOLS, updated("file:///a", n=2)])
        await trio.sleep(1)
        assert await heard(answer) == (TOOLS.method, {})
        assert await heard(answer) == ("notifications/resources/updated", {"uri": "file:///a", "n": 2})
        stream.say(*(updated(f"file:///a/{number}") for number in range(5)))
        await trio.sleep(1)
        assert [(await heard(answer))[1]["uri"] for _ in range(3)] == [f"file:///a/{number}" for number in (2, 3, 4)]
        await silent(answer)
        await answer.aclose()


async def test_of_large_news_the_oldest_are_dropped(autojump_clock: object) -> None:
    third = listen_answer.MOST_NEWS_BYTES // 3
    async with open_house(answers=SUBSCRIBES) as house:
        answer, _ = await listen(house, {"resourceSubscriptions": ["file:///a"], "toolsListChanged": True})
        stream = await house.upstream.stream()
        for _ in range(2):
            stream.say(TOOLS, *(updated(f"file:///a/{number}", x="x" * third) for number in range(4)))
            stream.say(updated("file:///a/3", x="y" * third), updated("file:///a/huge", x="x" * 3 * third))
            await trio.sleep(1)
            got = [(await heard(answer))[1] for _ in range(2)]
            assert [(params["uri"], params["x"][0]) for params in got] == [("file:///a/2", "x"), ("file:///a/3", "y")]
            await silent(answer)
        stream.say(updated("file:///a/huge", x="x" * 3 * third), TOOLS)
        assert await heard(answer) == (TOOLS.method, {})
        await answer.aclose()


async def test_news_that_come_with_an_answer_are_for_listeners(autojump_clock: object) -> None:
    async with open_house() as house:
        listener, _ = await listen(house, {"toolsListChanged": True})
        answer = await house.ask("prompts/list")
        asked = await house.upstream.next("prompts/list")
        asked.say(TOOLS)
        asked.finish({"prompts": []})
        assert (await final(answer))["prompts"] == []
        await answer.aclose()
        assert await heard(listener) == (TOOLS.method, {})
        await listener.aclose()


@pytest.mark.parametrize("end", [None, UpstreamDied("lost")])
async def test_a_stream_that_is_lost_is_opened_again_and_lists_may_have_changed(
    end: UpstreamDied | None, autojump_clock: object
) -> None:
    async with open_house() as house:
        answer, _ = await listen(house, EVERYTHING)
        (await house.upstream.stream()).say(end)
        again = await house.upstream.stream(2)
        told = sorted([(await heard(answer))[0] for _ in range(3)])
        assert told == [f"notifications/{name}/list_changed" for name in ("prompts", "resources", "tools")]
        again.say(TOOLS)
        assert await heard(answer) == (TOOLS.method, {})
        await answer.aclose()


async def test_a_stream_that_cannot_be_opened_is_tried_again(autojump_clock: object) -> None:
    async with open_house(listening="fails") as house:
        answer, honoured = await listen(house, {"toolsListChanged": True})
        assert honoured == {}
        await answer.aclose()
        house.upstream.listening = "yes"
        await trio.sleep(10)
        answer, honoured = await listen(house, {"toolsListChanged": True})
        assert honoured == {"toolsListChanged": True}
        house.upstream.listening = "no"
        (await house.upstream.stream()).say(None)
        await trio.sleep(10)
        again, honoured = await listen(house, {"toolsListChanged": True})
        assert honoured == {}
        await again.aclose()
        await answer.aclose()


async def test_the_service_may_ask_whether_anybody_is_there_but_nothing_else(autojump_clock: object) -> None:
    async with open_house() as house:
        answer, _ = await listen(house, {})
        stream = await house.upstream.stream()
        stream.say(Request("p", "ping"), elicit("q"), Result(0, b"{}"))
        await house.upstream.until(lambda: len(house.upstream.peers[0].replies()) == 2)
        pong, refusal = house.upstream.peers[0].replies()
        assert pong == Result("p", b"{}")
        assert isinstance(refusal, Failure)
        assert refusal.code == METHOD_NOT_FOUND
        house.upstream.peers[0].fail_send = UpstreamDied("deaf")
        stream.say(Request("p", "ping"), TOOLS)
        await answer.aclose()


def log(level: str) -> Notification:
    return Notification("notifications/message", dumped({"level": level}))


async def test_logs_on_the_sessions_own_stream_are_the_only_calls(autojump_clock: object) -> None:
    async with open_house(answers={"logging/setLevel": {}}) as house:
        first = await house.ask("prompts/list", log="info")
        one = await house.upstream.next("prompts/list")
        stream = await house.upstream.stream()
        stream.say(log("debug"), log("error"), Notification("notifications/progress", b"{}"))
        assert await receive(first) == log("error")
        second = await house.ask("prompts/list", log="info")
        two = await house.upstream.next("prompts/list")
        stream.say(log("error"))
        await trio.sleep(1)
        for answer, asked in ((first, one), (second, two)):
            asked.finish({"prompts": []})
            assert (await final(answer))["prompts"] == []
            await answer.aclose()
        stream.say(log("error"))
        await trio.sleep(1)


async def test_progress_on_the_sessions_own_stream(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("prompts/list", token=True)
        asked = await house.upstream.next("prompts/list")
        params = dumped({"progressToken": asked.message.id, "progress": 1})
        (await house.upstream.stream()).say(Notification("notifications/progress", params))
        told = await receive(answer)
        assert isinstance(told, Notification)
        assert told.method == "notifications/progress"
        asked.finish({})
        await final(answer)
        await answer.aclose()


async def test_a_listener_that_outlives_the_clients_tells_nobody(autojump_clock: object) -> None:
    listeners = list[Answer]()
    async with open_house(answers=SUBSCRIBES) as house:
        answer, _ = await listen(house, {"resourceSubscriptions": ["file:///a"]}, caller=ALICE)
        listeners.append(answer)
    await listeners[0].aclose()
    assert house.upstream.peers[0].methods() == ["resources/subscribe"]
