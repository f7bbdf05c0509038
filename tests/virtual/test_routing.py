"""Calls find their member, say what it understands, and come back in the words of the client."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gatewayd.protocol.jsonrpc import Failure, Request, Result, RpcError
from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.routes.virtual import Virtual
from gatewayd.upstreams.channel import UpstreamBroke, UpstreamDied, UpstreamError, UpstreamTimedOut, UpstreamUnreachable
from gatewayd.upstreams.service import Caller
from tests.catalog.scene import Fake, Heard, Json, fake, tool
from tests.support.checkpoints import at_every_step, cut
from tests.virtual.scene import ALICE, BOB, INVALID, open_scene, sent, told, virtual_of

LINK: Json = {"type": "resource_link", "uri": "x:unlisted", "name": "n"}


def linking(heard: Heard) -> None:
    heard.result(content=[LINK], structuredContent=LINK)


def two() -> tuple[Fake, Fake]:
    a, b = fake("a", "x"), fake("b", "x")
    for service in (a, b):
        service.lists["prompts"] = [{"name": "p"}]
        service.lists["resources"] = [{"uri": "x:1", "name": "one"}]
        service.lists["templates"] = [{"uriTemplate": "x:t/{id}", "name": "any"}]
    return a, b


async def test_a_call_reaches_its_member_under_the_name_that_it_knows(autojump_clock: MockClock) -> None:
    a, b = two()
    async with open_scene(a, b) as scene:
        caller = Caller("alice", ((b"traceparent", b"1"), (b"mcp-param-region", b"eu")))
        assert await scene.call("b__x", caller, region="eu") == "b: x"
        (heard,) = b.of("tools/call")
        assert (heard.name, heard.params["name"], heard.params["arguments"]) == ("x", "x", {"region": "eu"})
        assert heard.caller == caller
        assert not a.of("tools/call")
        assert (await scene.ask("prompts/get", name="a__p"))["content"][0]["text"] == "a: p"
        assert a.of("prompts/get")[0].params["name"] == "p"
        scene.assert_at_rest()


@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
async def test_what_is_hidden_and_what_never_was_are_the_same(method: str, autojump_clock: MockClock) -> None:
    a, b = two()
    shapes = Shapes(tools=Shape(hide=("a__*",)), prompts=Shape(hide=("a__*",)))
    async with open_scene(a, b, virtual=virtual_of(a, b, shapes=shapes)) as scene:
        errors = []
        for name in ("a__x", "a__p", "c__x", "x", "p", ""):
            error = await scene.refused(method, name=name)
            errors.append((error.code, error.message.removesuffix(name), error.data))
        assert len(set(errors)) == 1
        assert errors[0][0] == INVALID
        assert not a.of(method)
        assert not b.of(method)


async def test_a_prefix_of_another_service_leads_nowhere_else(autojump_clock: MockClock) -> None:
    a, b = fake("a", "b__x"), fake("b", "y")
    async with open_scene(a, b) as scene:
        assert (await scene.refused("tools/call", name="b__x")).code == INVALID
        assert await scene.call("a__b__x") == "a: b__x"


async def test_nobody_waits_for_a_service_that_it_cannot_be(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    b.delay = 15.0
    async with open_scene(a, b) as scene:
        began = trio.current_time()
        assert await scene.call("a__x") == "a: x"
        assert trio.current_time() - began < 1


async def test_a_tool_of_a_service_that_is_silent_is_not_said_to_be_unknown(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    b.die(UpstreamUnreachable("b is down"))
    async with open_scene(a, b) as scene:
        with pytest.raises(UpstreamUnreachable) as caught:
            await scene.call("b__x")
        assert caught.value.service == "b"
        assert (await scene.refused("tools/call", name="a__y")).code == INVALID
        scene.assert_at_rest()


@pytest.mark.parametrize("error", [UpstreamDied("gone"), UpstreamUnreachable("no")])
async def test_an_error_names_the_member(error: UpstreamError, autojump_clock: MockClock) -> None:
    a, b = two()
    async with open_scene(a, b) as scene:
        await scene.tools()
        b.scripts["tools/call"] = lambda heard: heard.say(error)
        with pytest.raises(type(error)) as caught:
            await scene.call("b__x")
        assert caught.value.service == "b"
        b.dead = error
        error.service = None
        with pytest.raises(type(error)) as caught:
            await scene.call("b__x")
        assert caught.value.service == "b"
        scene.assert_at_rest()


async def test_each_member_keeps_its_own_deadline(autojump_clock: MockClock) -> None:
    a, b = two()
    async with open_scene(a, b) as scene:
        await scene.tools()
        a.scripts["tools/call"] = lambda heard: None
        began = trio.current_time()
        with pytest.raises(UpstreamTimedOut) as caught:
            await scene.call("a__x")
        assert trio.current_time() - began == pytest.approx(20)
        assert caught.value.service == "a"
        scene.assert_at_rest()


async def test_uris_in_a_result_lead_back_to_who_sent_them(autojump_clock: MockClock) -> None:
    a, b = two()
    b.scripts["tools/call"] = linking
    async with open_scene(a, b) as scene:
        result = await scene.ask("tools/call", name="b__x")
        assert result["structuredContent"] == LINK
        uri = result["content"][0]["uri"]
        b.scripts["resources/read"] = lambda heard: heard.result(contents=[{"uri": heard.params["uri"], "text": "t"}])
        assert (await scene.ask("resources/read", uri=uri))["contents"][0]["uri"] == uri
        (heard,) = b.of("resources/read")
        assert (heard.name, heard.params["uri"]) == ("x:unlisted", "x:unlisted")


@pytest.mark.parametrize(
    ("uri", "service", "own"),
    [
        ("x:1", "a", "x:1"),
        ("gatewayd://b/x:1", "b", "x:1"),
        ("x:t/7", "a", "x:t/7"),
        ("gatewayd://b/x:t/7", "b", "x:t/7"),
        ("y:any", "b", "y:any"),
    ],
)
async def test_resources_are_read_where_they_are(uri: str, service: str, own: str, autojump_clock: MockClock) -> None:
    a, b = two()
    b.lists["resources"].append({"uri": "y:1", "name": "one"})
    async with open_scene(a, b) as scene:
        scene.fakes[service].scripts["resources/read"] = lambda heard: heard.fail(INVALID, "no", {"uri": own})
        error = await scene.refused("resources/read", uri=uri)
        assert isinstance(error, Failure)
        assert json.loads(error.data or b"") == {"uri": uri}
        assert scene.fakes[service].of("resources/read")[0].params["uri"] == own


@pytest.mark.parametrize("uri", ["z:1", "gatewayd://c/x:1", "x:secret", "gatewayd://a/x:secret", "", "x:hidden/1"])
async def test_resources_that_are_hidden_and_that_never_were_are_the_same(uri: str, autojump_clock: MockClock) -> None:
    a, b = two()
    a.lists["resources"].append({"uri": "x:secret", "name": "s"})
    shapes = Shapes(resources=Shape(hide=("x:secret", "x:hidden/*")))
    async with open_scene(a, b, virtual=virtual_of(a, b, shapes=shapes)) as scene:
        error = await scene.refused("resources/read", uri=uri)
        assert (error.code, error.message) == (INVALID, "Resource not found")
        assert json.loads(error.data or b"") == {"uri": uri}
        assert not a.of("resources/read")


async def test_an_answer_that_nobody_can_read_is_the_fault_of_its_member(autojump_clock: MockClock) -> None:
    a, b = two()
    twice = b'{"content":[{"type":"resource_link","uri":"x:1","uri":"x:2"}]}'
    a.scripts["tools/call"] = lambda heard: heard.say(Result(heard.request.id, twice))
    async with open_scene(a, b) as scene:
        answer = await scene.request("tools/call", name="a__x")
        with pytest.raises(UpstreamBroke) as caught:
            await answer.receive()
        assert caught.value.service == "a"
        await answer.aclose()
        await answer.aclose()
        scene.assert_at_rest()


async def test_completion_goes_to_who_has_what_it_is_about(autojump_clock: MockClock) -> None:
    a, b = two()
    del a.capabilities["completions"]
    b.scripts["completion/complete"] = lambda heard: heard.result(completion={"values": ["v"]})
    async with open_scene(a, b) as scene:
        for ref, own in (
            ({"type": "ref/prompt", "name": "b__p", "title": "T"}, {"type": "ref/prompt", "name": "p", "title": "T"}),
            (
                {"type": "ref/resource", "uri": "gatewayd://b/x:t/{id}"},
                {"type": "ref/resource", "uri": "x:t/{id}"},
            ),
            ({"type": "ref/resource", "uri": "gatewayd://b/x:1"}, {"type": "ref/resource", "uri": "x:1"}),
        ):
            argument = {"name": "id", "value": "v"}
            result = await scene.ask("completion/complete", ref=ref, argument=argument)
            assert result["completion"]["values"] == ["v"]
            assert b.of("completion/complete")[-1].params["ref"] == own
        result = await scene.ask("completion/complete", ref={"type": "ref/prompt", "name": "a__p"}, argument=argument)
        assert result["completion"]["values"] == []
        for bad in (
            {"type": "ref/prompt", "name": "c__p"},
            {"type": "ref/prompt"},
            {"type": "ref/resource", "uri": "z:1"},
            7,
        ):
            assert (await scene.refused("completion/complete", ref=bad, argument=argument)).code == INVALID
        scene.assert_at_rest()


async def test_tasks_are_their_holders_alone(autojump_clock: MockClock) -> None:
    a, b = two()
    b.scripts["tools/call"] = lambda heard: heard.result(taskId="t1", status="working")
    b.scripts["tasks/get"] = lambda heard: heard.result(taskId="t1", status="done", result={"content": [LINK]})
    async with open_scene(a, b) as scene:
        task = (await scene.ask("tools/call", name="b__x"))["taskId"]
        assert "t1" not in task
        done = await scene.ask("tasks/get", taskId=task)
        assert done["result"]["content"][0]["uri"] == "gatewayd://b/x:unlisted"
        assert b.of("tasks/get")[0].params["taskId"] == b.of("tasks/get")[0].name == "t1"
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            for caller, token in ((BOB, task), (ALICE, "t1"), (ALICE, "")):
                assert (await scene.refused(method, caller, taskId=token)).message == "Unknown task"
        scene.use(virtual_of(a))
        assert (await scene.refused("tasks/get", taskId=task)).message == "Unknown task"
        scene.assert_at_rest()


async def test_what_nobody_knows_is_no_method(autojump_clock: MockClock) -> None:
    async with open_scene(fake("a")) as scene:
        assert (await scene.refused("vendor/thing")).code == -32601


def searching(*fakes: Fake) -> Virtual:
    return virtual_of(*fakes, discovery="search", shapes=Shapes(tools=Shape(hide=("*__hidden",))))


async def test_tools_that_are_searched_for() -> None:  # by a thread, for which no clock waits that jumps
    a, b = fake("a", "hidden"), fake("b")
    region = {"type": "string", "x-mcp-header": "Region"}
    b.lists["tools"] = [tool("go", inputSchema={"type": "object", "properties": {"region": region}})]
    async with open_scene(a, b, virtual=searching(a, b)) as scene:
        assert await scene.tools() == ["search_tools", "call_tool"]
        found = await scene.ask("tools/call", name="search_tools", arguments={"query": "go hidden region"})
        assert [one["name"] for one in found["structuredContent"]["tools"]] == ["b__go"]
        caller = Caller("alice", ((b"traceparent", b"1"), (b"mcp-param-region", b"forged")))
        arguments = {"name": "b__go", "arguments": {"region": "eu"}}
        await scene.ask("tools/call", caller, name="call_tool", arguments=arguments)
        (heard,) = b.of("tools/call")
        assert (heard.name, heard.params["arguments"]) == ("go", {"region": "eu"})
        assert heard.caller.fields == ((b"traceparent", b"1"), (b"mcp-param-region", b"eu"))
        for name in ("a__hidden", "search_tools", "call_tool", "", None):
            error = await scene.refused("tools/call", name="call_tool", arguments={"name": name})
            assert error.code == INVALID
        assert (await scene.refused("tools/call", name="call_tool", arguments=[])).code == INVALID
        assert await scene.call("b__go") == "b: go"
        scene.assert_at_rest()


async def test_arguments_that_say_something_twice_are_refused(autojump_clock: MockClock) -> None:
    region = {"type": "string", "x-mcp-header": "Region"}
    a = fake("a")
    a.lists["tools"] = [tool("go", inputSchema={"type": "object", "properties": {"region": region}})]
    async with open_scene(a, virtual=searching(a)) as scene:
        params = sent(99, "tools/call", {"name": "call_tool", "arguments": "HERE"}).params or b""
        twice = b'{"name":"a__go","arguments":{"region":"eu","region":"us"}}'
        request = Request(99, "tools/call", params.replace(b'"HERE"', twice))
        with pytest.raises(RpcError) as caught:
            await scene.server.request(request, "2026-07-28", "call_tool", ALICE)
        assert caught.value.code == INVALID


async def test_a_call_goes_on_when_another_member_is_gone(autojump_clock: MockClock) -> None:
    a, b = two()
    async with open_scene(a, b) as scene:
        await scene.tools()
        a.scripts["tools/call"] = lambda heard: None
        answer = await scene.request("tools/call", name="a__x")
        scene.use(virtual_of(a))
        await scene.retire("b")
        linking(a.of("tools/call")[0])
        assert told(await answer.receive())["structuredContent"] == LINK
        await answer.aclose()
        scene.assert_at_rest()


async def test_an_answer_is_not_lost_when_its_reader_is_cancelled(autojump_clock: MockClock) -> None:
    a, b = two()
    a.scripts["tools/call"] = linking
    async with open_scene(a, b) as scene:
        await scene.tools()
        a.scripts["resources/list"] = lambda heard: None
        answer = await scene.request("tools/call", name="a__x")
        with trio.move_on_after(0.5) as cut_off:
            await answer.receive()
        assert cut_off.cancelled_caught
        with trio.fail_after(10):
            assert told(await answer.receive())["structuredContent"] == LINK
        await answer.aclose()


REQUESTS: list[tuple[str, Json]] = [
    ("tools/call", {"name": "b__x"}),
    ("resources/read", {"uri": "gatewayd://b/x:1"}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "b__p"}, "argument": {"name": "a", "value": ""}}),
    ("tools/list", {}),
    ("server/discover", {}),
    ("subscriptions/listen", {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["x:1", "x:t/1"]}}),
]


@pytest.mark.parametrize(("method", "params"), REQUESTS, ids=[method for method, _ in REQUESTS])
async def test_who_leaves_at_any_point_leaves_nothing_behind(method: str, params: Json) -> None:
    a, b = two()
    b.scripts["tools/call"] = linking

    async def trial(steps: int) -> bool:
        async with open_scene(a, b) as scene:

            async def work(begin: Callable[[], None]) -> None:
                begin()
                answer = await scene.request(method, **params)
                try:
                    await answer.receive()
                finally:
                    await answer.aclose()

            ended = await cut(work, steps)
            await trio.testing.wait_all_tasks_blocked()
            scene.assert_at_rest()
        return ended

    async def at_rest() -> None:
        assert not a.open
        assert not b.open

    assert await at_every_step(trial, at_rest) > 1
