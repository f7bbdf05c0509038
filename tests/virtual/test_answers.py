"""What members answer, in the words of the client: bounded, and without waiting for anybody else."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, RpcError
from gatewayd.routes.lock import pin
from gatewayd.upstreams.channel import Answer, Paused, UpstreamBroke
from gatewayd.upstreams.service import Caller
from gatewayd.virtual import rewriting, routing
from tests.catalog.scene import Fake, Heard, Json, fake, tool
from tests.virtual.scene import INVALID, Scene, ask_session, open_scene, open_session, sent, told, virtual_of

REGION: Json = {"type": "string", "x-mcp-header": "Region"}
SCHEMA: Json = {"type": "object", "properties": {"region": REGION}}


def link(uri: str) -> Json:
    return {"type": "resource_link", "uri": uri, "name": "n"}


def linking(service: Fake, *uris: str) -> None:
    """Its tools answer with links to these."""
    service.scripts["tools/call"] = lambda heard: heard.result(content=[link(uri) for uri in uris])


async def linked(scene: Scene, name: str) -> list[str]:
    """Where the answer of a tool links to."""
    result = await scene.ask("tools/call", name=name)
    return [block["uri"] for block in result["content"]]


def echo(heard: Heard) -> None:
    heard.result(contents=[{"uri": heard.params["uri"], "text": "t"}])


def alone(*schemes: str) -> Fake:
    """A service with a scheme of its own."""
    service = fake("a", "x")
    service.lists["resources"] = [{"uri": f"{scheme}:1", "name": "n"} for scheme in schemes]
    service.scripts["resources/read"] = echo
    return service


async def test_of_very_many_uris_the_later_ones_carry_their_service(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(routing, "MOST_LOOKED_UP", 2)
    a, b = alone("x"), fake("b", "x")
    linking(a, "x:2", "x:3", "x:4", "x:2", "ui://w")
    async with open_scene(a, b) as scene:
        uris = await linked(scene, "a__x")
        assert uris == ["x:2", "x:3", "gatewayd://a/x:4", "x:2", "ui://gatewayd/a/w"]
        for uri in uris:
            assert (await scene.ask("resources/read", uri=uri))["contents"][0]["uri"] == uri
        read = [heard.params["uri"] for heard in a.of("resources/read")]
        assert read == ["x:2", "x:3", "x:4", "x:2", "ui://w"]


async def test_of_very_many_uris_each_leads_back_where_a_service_is_alone(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(routing, "MOST_LOOKED_UP", 2)
    a = alone("x")
    linking(a, "x:2", "x:3", "x:4")
    async with open_scene(a) as scene:
        for uri in await linked(scene, "a__x"):
            await scene.ask("resources/read", uri=uri)
        assert [heard.params["uri"] for heard in a.of("resources/read")] == ["x:2", "x:3", "x:4"]


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read"])
async def test_an_answer_of_too_many_parts_is_the_fault_of_its_member(
    method: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(rewriting, "MOST_BLOCKS", 2)
    a, b = alone("x"), fake("b")
    a.lists["prompts"] = [{"name": "x"}]
    parts: dict[str, tuple[str, Json, Json]] = {
        "tools/call": ("content", link("x:1"), {"name": "a__x"}),
        "prompts/get": ("messages", {"role": "user", "content": link("x:1")}, {"name": "a__x"}),
        "resources/read": ("contents", {"uri": "x:1", "text": "t"}, {"uri": "x:1"}),
    }
    member, part, params = parts[method]
    async with open_scene(a, b) as scene:
        a.scripts[method] = lambda heard: heard.result(**{member: [part] * 2})
        assert len((await scene.ask(method, **params))[member]) == 2
        a.scripts[method] = lambda heard: heard.result(**{member: [part] * 3})
        with pytest.raises(UpstreamBroke) as caught:
            await scene.message(method, **params)
        assert caught.value.service == "a"
        await trio.testing.wait_all_tasks_blocked()
        scene.assert_at_rest()


async def test_an_answer_of_very_many_parts_that_names_nothing_passes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(rewriting, "MOST_BLOCKS", 2)
    a = fake("a", "x")
    a.scripts["tools/call"] = lambda heard: heard.result(content=[{"type": "text", "text": "t"}] * 3)
    async with open_scene(a, fake("b")) as scene:
        assert len((await scene.ask("tools/call", name="a__x"))["content"]) == 3


async def test_nobody_waits_for_another_service_to_see_what_one_has_answered(autojump_clock: MockClock) -> None:
    a, b = alone("x"), fake("b", "x")
    b.delay = 15.0
    linking(a, "x:1", "x:2")
    async with open_scene(a, b) as scene:
        began = trio.current_time()
        assert await linked(scene, "a__x") == ["x:1", "x:2"]
        assert trio.current_time() == began


async def test_the_lists_of_a_service_are_read_once_before_its_answers_are_shown(autojump_clock: MockClock) -> None:
    a, b = alone("x"), fake("b", "x")
    linking(a, "x:2")
    async with open_scene(a, b) as scene:
        await scene.tools()
        a.delay = 1.0
        assert await linked(scene, "a__x") == ["x:2"]
        assert a.asked["resources/list"] == a.asked["resources/templates/list"] == 1
        a.scripts["resources/list"] = lambda heard: None
        a.announce("resources")
        await trio.sleep(0.1)
        began = trio.current_time()
        assert await linked(scene, "a__x") == ["x:2"]
        assert trio.current_time() - began == pytest.approx(a.delay)


async def test_what_others_list_by_now_is_looked_at_behind_the_callers_back(autojump_clock: MockClock) -> None:
    a, b = alone("x"), fake("b", "x")
    linking(a, "x:2")
    async with open_scene(a, b) as scene:
        await scene.uris()
        await trio.sleep(1)
        b.lists["resources"] = [{"uri": "x:7", "name": "n"}]
        b.announce("resources")
        b.delay = 1.0
        await trio.sleep(0.1)
        assert await linked(scene, "a__x") == ["x:2"]
        await trio.sleep(2)
        assert await linked(scene, "a__x") == ["gatewayd://a/x:2"]


async def everything(answer: Answer) -> list[Message | Paused]:
    found: list[Message | Paused] = []
    while (message := await answer.receive()) is not None:
        found.append(message)
        if isinstance(message, Result | Failure):
            break
    await answer.aclose()
    return found


async def test_what_has_no_place_in_an_answer_is_left_out(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")

    def talk(heard: Heard) -> None:
        heard.notify("notifications/tools/list_changed")
        heard.notify("notifications/progress", progressToken=1, progress=1)
        heard.notify("notifications/prompts/list_changed")
        heard.notify("notifications/resources/list_changed")
        heard.notify("notifications/resources/updated", uri="x:1")
        heard.notify("notifications/subscriptions/acknowledged", notifications={})
        heard.notify("notifications/tasks", taskId="t1")
        heard.notify("notifications/cancelled", requestId=1)
        heard.notify("notifications/message", level="info", data="d")
        heard.result(content=[])

    a.scripts["tools/call"] = talk
    async with open_scene(a, b) as scene:
        with trio.fail_after(60):
            *said, final = await everything(await scene.request("tools/call", name="a__x"))
        assert [message.method for message in said if isinstance(message, Notification)] == [
            "notifications/progress",
            "notifications/message",
        ]
        assert told(final)["content"] == []
        scene.assert_at_rest()


async def test_clients_with_sessions_know_nothing_of_headers_and_services_get_them(autojump_clock: MockClock) -> None:
    a, b = fake("a"), fake("b")
    b.lists["tools"] = [tool("go", inputSchema=SCHEMA), tool("plain")]
    async with open_scene(a, b) as scene:
        peer, _ = await open_session(scene)
        for name in ("b__go", "b__plain"):
            await ask_session(scene, peer, "tools/call", name=name, arguments={"region": "eu"})
        go, plain = b.of("tools/call")
        assert go.caller.fields == ((b"mcp-param-region", b"eu"),)
        assert plain.caller.fields == ()
        assert go.params["arguments"] == {"region": "eu"}
        await peer.aclose()
        scene.assert_at_rest()


async def test_who_names_an_argument_twice_in_a_session_is_refused(autojump_clock: MockClock) -> None:
    b = fake("b")
    b.lists["tools"] = [tool("go", inputSchema=SCHEMA)]
    async with open_scene(b) as scene:
        params = sent(99, "tools/call", {"name": "b__go", "arguments": "HERE"}).params or b""
        request = Request(99, "tools/call", params.replace(b'"HERE"', b'{"region":"eu","region":"us"}'))
        with pytest.raises(RpcError) as caught:
            await scene.server.request(request, "2026-07-28", "b__go", Caller("alice", session="s"))
        assert caught.value.code == INVALID
        assert not b.of("tools/call")


async def test_the_headers_of_a_client_without_a_session_are_its_own(autojump_clock: MockClock) -> None:
    b = fake("b")
    b.lists["tools"] = [tool("go", inputSchema=SCHEMA)]
    fields = ((b"traceparent", b"1"), (b"mcp-param-region", b"of the client"))
    async with open_scene(b) as scene:
        await scene.call("b__go", Caller("alice", fields), region="eu")
        assert b.of("tools/call")[0].caller.fields == fields


async def test_a_lock_waits_for_the_service_alone_of_which_a_tool_is_called(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    pins = {name: {"x": pin(tool("x"))} for name in "ab"}
    async with open_scene(a, b, virtual=virtual_of(a, b, lock="enforce"), pins=pins) as scene:
        await scene.tools()
        await trio.sleep(1)
        await scene.tools()
        for service in (a, b):
            service.announce("tools")
        b.scripts["tools/list"] = lambda heard: None
        await trio.sleep(0.1)
        asked = a.asked["tools/list"]
        began = trio.current_time()
        assert await scene.call("a__x") == "a: x"
        assert trio.current_time() == began
        assert a.asked["tools/list"] == asked + 1


async def test_indexes_of_lists_that_nobody_sees_any_more_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MOST_INDEXES", 1)
    a = fake("a")
    a.scripts["tools/list"] = lambda heard: heard.result(tools=[tool(heard.caller.key)])
    async with open_scene(a, virtual=virtual_of(a, discovery="search")) as scene:
        for name in ("alice", "bob", "alice"):
            query: Any = {"name": "search_tools", "arguments": {"query": "alice bob"}}
            found = await scene.ask("tools/call", Caller(name), **query)
            assert [one["name"] for one in found["structuredContent"]["tools"]] == [f"a__{name}"]
