"""Requests of modern clients over a service with sessions: discovery, calls, errors, headers, who shares a session."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from gatewayd.bridge.modern_client.pooled_session import STREAM_PATIENCE
from gatewayd.protocol.codes import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result, RpcError
from gatewayd.protocol.versions import LEGACY, META_SERVER_INFO, SUPPORTED
from gatewayd.upstreams.channel import Paused, UpstreamBroke, UpstreamDied
from gatewayd.upstreams.service import Caller
from tests.bridge.modern_client.legacy_upstream import (
    ALICE,
    ALL,
    BOB,
    CAPABILITIES,
    FORM,
    INFO,
    dumped,
    elicit,
    final,
    loaded,
    open_house,
    receive,
)

SERVER = {META_SERVER_INFO: INFO}
COMPLETE = {"content": [], "resultType": "complete", "_meta": SERVER}
CALL = {"name": "x"}


def log(level: object, **more: Any) -> Notification:
    return Notification("notifications/message", dumped({"level": level, "data": "x", **more}))


async def test_discovery_is_answered_from_the_session_that_serves_the_calls(autojump_clock: object) -> None:
    async with open_house(answers={"tools/call": {"content": []}}) as house:
        told = await house.final("server/discover")
        assert told["supportedVersions"] == list(SUPPORTED)
        assert told["capabilities"] == {name: value for name, value in CAPABILITIES.items() if name != "tasks"}
        assert (told["instructions"], told["_meta"]) == ("Be kind.", SERVER)
        assert await house.final("tools/call", CALL) == COMPLETE
        (peer,) = house.upstream.peers
        assert peer.methods() == ["tools/list", "tools/call"]
        assert peer.sent == [Notification("notifications/initialized")]
        params = loaded(peer.initialize.params)
        assert (params["protocolVersion"], params["capabilities"]) == (LEGACY[0], {})
        assert params["clientInfo"]["name"] == "gatewayd"
        assert peer.caller == Caller(ALICE.key, mixed=True)


@pytest.mark.parametrize(("listening", "seconds"), [("no", 0.0), ("never", STREAM_PATIENCE), ("fails", 2.0)])
async def test_nothing_is_promised_that_will_not_be_heard(
    listening: str, seconds: float, autojump_clock: object
) -> None:
    async with open_house(listening=listening) as house:
        before = trio.current_time()
        told = await house.final("server/discover")
        assert told["capabilities"] == {"tools": {}, "prompts": {}, "resources": {}, "logging": {}}
        assert trio.current_time() - before == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel", "ping", "initialize"])
async def test_what_only_one_era_knows_is_not_there(method: str, autojump_clock: object) -> None:
    async with open_house() as house:
        with pytest.raises(RpcError) as refused:
            await house.ask(method, {"taskId": "t"})
        assert (refused.value.code, refused.value.status) == (METHOD_NOT_FOUND, 404)
        assert not house.upstream.peers


async def test_an_error_of_the_service_has_the_code_of_the_era(autojump_clock: object) -> None:
    async with open_house(answers={"resources/read": -32002, "prompts/get": METHOD_NOT_FOUND}) as house:
        gone = await house.final("resources/read", {"uri": "file:///x"})
        assert gone == {"code": INVALID_PARAMS, "data": {"uri": "file:///x"}}
        assert await house.final("prompts/get", {"name": "p"}) == {"code": METHOD_NOT_FOUND, "data": None}


async def test_an_upstream_that_fails_fails_the_call(autojump_clock: object) -> None:
    async with open_house(answers={"tools/list": UpstreamDied("it died")}) as house:
        answer = await house.ask("tools/list")
        with pytest.raises(UpstreamDied):
            await receive(answer)
        await answer.aclose()


async def test_an_ambiguous_result_is_the_upstreams_fault(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("prompts/list")
        asked = await house.upstream.next("prompts/list")
        asked.say(Result(asked.message.id, b'{"a":1,"a":2}'))
        with pytest.raises(UpstreamBroke):
            await receive(answer)
        await answer.aclose()


async def test_an_answer_that_just_ends(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("prompts/list")
        (await house.upstream.next("prompts/list")).say(None)
        assert await answer.receive() is None
        assert await answer.receive() is None
        await answer.aclose()


async def test_a_pause_of_the_service_is_nothing_to_the_client(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("prompts/list")
        asked = await house.upstream.next("prompts/list")
        asked.say(Paused(10))
        asked.finish({"prompts": []})
        assert (await final(answer))["prompts"] == []
        await answer.aclose()


async def test_progress_and_logs_that_were_asked_for(autojump_clock: object) -> None:
    async with open_house(answers={"logging/setLevel": {}}) as house:
        answer = await house.ask("tools/call", CALL, token=True, log="warning")
        asked = await house.upstream.next()
        token = loaded(asked.message.params)["_meta"]["progressToken"]
        assert token == asked.message.id
        progress = Notification("notifications/progress", dumped({"progressToken": token, "progress": 1}))
        other = Notification("notifications/progress", b'{"progressToken":99,"progress":1}')
        vendor = Notification("notifications/vendor", b"{}")
        hidden = [log("info"), log("loud"), log(3), Notification("notifications/message"), other]
        legacy = [Notification("notifications/elicitation/complete"), Notification("notifications/tasks/status")]
        asked.say(*hidden, *legacy, progress, log("warning"), vendor, log("emergency"))
        asked.finish()
        told = [await receive(answer) for _ in range(4)]
        assert [message.method for message in told if isinstance(message, Notification)] == [
            "notifications/progress",
            "notifications/message",
            "notifications/vendor",
            "notifications/message",
        ]
        assert isinstance(told[0], Notification)
        assert loaded(told[0].params) == {"progressToken": token, "progress": 1}
        assert await final(answer) == COMPLETE
        await answer.aclose()


async def test_neither_progress_nor_logs_for_who_did_not_ask(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("tools/call", CALL)
        asked = await house.upstream.next()
        asked.say(log("emergency"), Notification("notifications/progress", dumped({"progressToken": asked.message.id})))
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()
        assert "logging/setLevel" not in house.upstream.peers[0].methods()


async def test_the_log_level_is_set_to_the_lowest_that_was_needed(autojump_clock: object) -> None:
    async with open_house(answers={"logging/setLevel": {}, "prompts/list": {}}) as house:
        for level in ("error", "alert", "error", "debug", "info"):
            await house.final("prompts/list", log=level)
        (peer,) = house.upstream.peers
        levels = [asked.message.params for asked in peer.asked if asked.message.method == "logging/setLevel"]
        assert levels == [b'{"level":"error"}', b'{"level":"debug"}']


async def test_two_requests_at_once_set_the_level_once(autojump_clock: object) -> None:
    async with open_house(answers={"prompts/list": {}}) as house, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: house.final("prompts/list", log="info"))
        nursery.start_soon(lambda: house.final("prompts/list", log="info"))
        (await house.upstream.next("logging/setLevel")).finish({})
        await house.upstream.until(lambda: house.upstream.peers[0].methods().count("prompts/list") == 2)
        assert house.upstream.peers[0].methods().count("logging/setLevel") == 1


@pytest.mark.parametrize("canned", [METHOD_NOT_FOUND, UpstreamDied("x")])
async def test_a_level_that_cannot_be_set_does_not_keep_the_call_from_being_made(
    canned: object, autojump_clock: object
) -> None:
    async with open_house(answers={"logging/setLevel": canned, "prompts/list": {}}) as house:
        assert (await house.final("prompts/list", log="info"))["resultType"] == "complete"
    async with open_house(capabilities={}, answers={"prompts/list": {}}) as house:
        await house.final("prompts/list", log="info")
        assert house.upstream.peers[0].methods() == ["prompts/list"]


async def test_a_client_that_leaves_abandons_the_call(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("tools/call", CALL)
        asked = await house.upstream.next()
        await answer.aclose()
        await answer.aclose()
        assert asked.abandoned


async def test_questions_during_a_list_are_refused_and_pings_answered(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("resources/list", capabilities=ALL)
        asked = await house.upstream.next("resources/list")
        asked.say(elicit("a"), Request("b", "ping"), Request("c", "vendor/ask"))
        asked.finish({"resources": []})
        assert (await final(answer))["resources"] == []
        await answer.aclose()
        refused, pong, vendor = house.upstream.peers[0].replies()
        assert isinstance(refused, Failure)
        assert (refused.id, refused.code) == ("a", METHOD_NOT_FOUND)
        assert pong == Result("b", b"{}")
        assert isinstance(vendor, Failure)
        assert vendor.code == METHOD_NOT_FOUND


async def test_a_question_that_cannot_be_read_is_refused(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("tools/call", CALL, capabilities=FORM)
        asked = await house.upstream.next()
        asked.say(Request("a", "elicitation/create", b'{"_meta":3,"message":"x"}'))
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()
        (refused,) = house.upstream.peers[0].replies()
        assert isinstance(refused, Failure)
        assert refused.code == INVALID_PARAMS


async def test_a_call_that_fails_for_want_of_a_capability_says_which(autojump_clock: object) -> None:
    async with open_house() as house:
        for code, expected in ((-32603, MISSING_CLIENT_CAPABILITY), (None, None)):
            answer = await house.ask("tools/call", CALL, capabilities=FORM)
            asked = await house.upstream.next()
            asked.say(Request("s", "sampling/createMessage", b'{"messages":[]}'))
            asked.finish(code=code)
            told = await final(answer)
            await answer.aclose()
            assert told.get("code") == expected
            if code is not None:
                assert told["data"] == {"requiredCapabilities": {"sampling": {}}}
        refused = house.upstream.peers[0].replies()[0]
        assert isinstance(refused, Failure)
        assert (refused.id, refused.code) == ("s", METHOD_NOT_FOUND)


async def test_sessions_are_shared_by_one_principal_with_one_profile_and_nobody_else(autojump_clock: object) -> None:
    async with open_house(answers={"prompts/list": {}}) as house:
        for caller, capabilities in ((ALICE, FORM), (ALICE, FORM), (BOB, FORM), (ALICE, ALL), (ALICE, {})):
            await house.final("prompts/list", caller=caller, capabilities=capabilities)
        peers = house.upstream.peers
        assert [(peer.caller.key, len(peer.asked)) for peer in peers] == [
            (ALICE.key, 2),
            (BOB.key, 1),
            (ALICE.key, 1),
            (ALICE.key, 1),
        ]
        declared = [loaded(peer.initialize.params)["capabilities"] for peer in peers]
        assert declared == [FORM, FORM, ALL, {}]
        assert house.clients.statistics() == {"pooled": 4, "parked": 0}


TOOL: dict[str, Any] = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


async def test_headers_are_compared_with_the_arguments(autojump_clock: object) -> None:
    page: Any = {"tools": [{"name": "x", "inputSchema": TOOL}], "nextCursor": "more"}
    answers: dict[str, object] = {"tools/call": {"content": []}, "tools/list": None}
    async with open_house(answers=answers) as house, trio.open_nursery() as nursery:
        named = Caller(ALICE.key, ((b"mcp-param-region", b"eu"),))

        async def list_tools() -> None:
            first = await house.upstream.next("tools/list")
            assert loaded(first.message.params) == {}
            first.finish(page)
            second = await house.upstream.next("tools/list")
            assert loaded(second.message.params) == {"cursor": "more"}
            second.say(Notification("notifications/tools/list_changed"), elicit("q"))
            second.finish({"tools": []})

        nursery.start_soon(list_tools)
        call = {"name": "x", "arguments": {"region": "eu"}}
        assert await house.final("tools/call", call, caller=named) == COMPLETE
        for params, caller in ((call, ALICE), ({"name": "x", "arguments": {"region": "us"}}, named)):
            with pytest.raises(RpcError) as refused:
                await house.ask("tools/call", params, caller=caller)
            assert refused.value.code == HEADER_MISMATCH
        (refusal,) = house.upstream.peers[0].replies()
        assert isinstance(refusal, Failure)


async def test_a_list_that_ends_early_hinders_nobody(autojump_clock: object) -> None:
    answers: dict[str, object] = {"tools/call": {"content": []}, "tools/list": None}
    async with open_house(answers=answers) as house, trio.open_nursery() as nursery:

        async def end() -> None:
            (await house.upstream.next("tools/list")).say(None)

        nursery.start_soon(end)
        assert await house.final("tools/call", CALL) == COMPLETE
