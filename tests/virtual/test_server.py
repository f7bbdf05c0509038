"""A virtual server as an upstream: for clients with sessions, for people, and under a lock."""

from __future__ import annotations

import json
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from gatewayd.protocol.jsonrpc import Notification
from gatewayd.routes.lock import pin
from gatewayd.routes.virtual import LockMode
from gatewayd.upstreams.channel import UpstreamUnreachable
from tests.catalog.scene import fake, tool
from tests.virtual.scene import ALICE, INVALID, ask_session, open_scene, open_session, virtual_of


async def test_a_client_with_a_session_sees_the_same(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    b.lists["resources"] = [{"uri": "x:1", "name": "one"}]
    async with open_scene(a, b) as scene:
        peer, result = await open_session(scene)
        assert result["protocolVersion"] == "2025-11-25"
        assert result["capabilities"]["tools"] == {"listChanged": True}
        assert result["capabilities"]["resources"] == {"listChanged": True, "subscribe": True}
        tools = (await ask_session(scene, peer, "tools/list"))["tools"]
        assert [one["name"] for one in tools] == ["a__x", "b__x"]
        assert (await ask_session(scene, peer, "tools/call", name="b__x"))["content"][0]["text"] == "b: x"
        stream = await peer.listen()
        assert stream is not None
        assert await ask_session(scene, peer, "resources/subscribe", uri="x:1") == {}
        with trio.move_on_after(1):
            while True:
                await stream.receive()
        a.lists["tools"] = [tool("y")]
        a.announce("tools")
        with trio.fail_after(60):
            assert await stream.receive() == Notification("notifications/tools/list_changed")
        b.update("x:1")
        with trio.fail_after(60):
            message = await stream.receive()
        assert isinstance(message, Notification)
        assert json.loads(message.params or b"") == {"uri": "x:1"}
        await stream.aclose()
        await peer.aclose()
        await trio.sleep(1)
        scene.assert_at_rest()


async def test_a_service_with_sessions_has_one_for_each_client_that_has_one(autojump_clock: MockClock) -> None:
    a = fake("a", "x", per="session")
    async with open_scene(a) as scene:
        seen: list[str] = []
        for _ in range(2):
            peer, _ = await open_session(scene)
            a.heard.clear()
            await ask_session(scene, peer, "tools/list")
            await ask_session(scene, peer, "tools/call", name="a__x")
            sessions = {heard.caller.session for heard in a.heard}
            assert len(sessions) == 1
            seen += sessions
            await peer.aclose()
        assert "" not in seen
        assert seen[0] != seen[1]


async def test_no_session_outlives_its_gateway(autojump_clock: MockClock) -> None:
    async with open_scene(fake("a")) as scene:
        assert scene.server.resume_legacy("s", "2025-11-25", ALICE) is None
        assert scene.server.processes().running == 0


async def test_people_see_who_serves_and_what_is_kept_back(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    b.dead = UpstreamUnreachable("b is down")
    async with open_scene(a, b, virtual=virtual_of(a, b, lock="warn")) as scene:
        assert scene.server.statistics()["tokens"] is None
        await scene.tools()
        shown = scene.server.statistics()
        assert shown["path"] == "/all"
        assert shown["services"] == [
            {"service": "a", "state": "ready", "reason": None},
            {"service": "b", "state": "failing", "reason": "b is down"},
        ]
        assert shown["listed"] == {"tools": 1}
        assert isinstance(shown["tokens"], int)
        [report] = cast("list[dict[str, object]]", shown["reports"])
        assert (report["service"], report["name"], report["reason"]) == ("a", "x", "lock: is new")
        assert (report["withheld"], report["routine"]) == (False, False)


@pytest.mark.parametrize(("lock", "served"), [("enforce", False), ("warn", True), ("off", True)])
async def test_a_tool_that_changes_under_the_lock(lock: LockMode, served: bool, autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "z")
    approved = {"a": {"x": pin(tool("x"))}, "b": {"z": pin(tool("z"))}}
    async with open_scene(a, b, virtual=virtual_of(a, b, lock=lock), pins=approved) as scene:
        assert await scene.tools() == ["a__x", "b__z"]
        await trio.sleep(1)
        await scene.tools()
        a.lists["tools"] = [tool("x", description="now with more"), tool("z"), tool("new")]
        a.announce("tools")
        await trio.sleep(0.1)
        if served:
            assert await scene.call("a__x") == "a: x"
            assert await scene.tools() == ["a__x", "a__z", "a__new", "b__z"]
        else:
            assert (await scene.refused("tools/call", name="a__x")).code == INVALID
            assert await scene.tools() == ["b__z"]
            scene.use(virtual_of(a, b, lock=lock), {**approved, "a": {"x": pin(a.lists["tools"][0])}})
            assert await scene.tools() == ["a__x", "b__z"]


async def test_a_stream_ends_with_its_server(autojump_clock: MockClock) -> None:
    async with open_scene(fake("a", "x")) as scene:
        answer = await scene.request("subscriptions/listen", notifications={"toolsListChanged": True})
        await answer.receive()
    with trio.fail_after(60):
        assert await answer.receive() is None
    await answer.aclose()


async def test_what_was_approved_is_looked_at_anew_though_its_server_never_announced_it(
    autojump_clock: MockClock,
) -> None:
    a, b = fake("a", "x"), fake("b")
    locked = virtual_of(a, b, lock="enforce")
    async with open_scene(a, b, virtual=locked, pins={"a": {"x": pin(tool("x"))}}) as scene:
        await scene.tools()
        await trio.sleep(1)
        assert await scene.tools() == ["a__x"]
        changed = tool("x", description="another")
        a.lists["tools"] = [changed]
        await trio.sleep(20)
        scene.use(locked, {"a": {"x": pin(changed)}})
        assert await scene.tools() == ["a__x"]
        assert await scene.call("a__x") == "a: x"
