"""Clients that listen hear of what has changed for them, under the names that they know, and of nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.upstreams.channel import UpstreamDied
from gatewayd.virtual.listeners import AGREEMENT
from tests.catalog.scene import QUIET, Fake, Heard, Json, fake, tool
from tests.virtual.scene import BOB, PATIENCE, listening, open_scene, virtual_of

TOOLS: tuple[str, Json] = ("tools/list_changed", {})


def with_resources(name: str, *uris: str) -> Fake:
    service = fake(name, "x")
    service.lists["resources"] = [{"uri": uri, "name": "n"} for uri in uris]
    return service


async def test_a_change_is_told_once_however_many_things_changed(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    async with open_scene(a, b) as scene:
        await scene.tools()
        async with listening(scene, "tools", "prompts") as client:
            assert await client.next() == (
                "subscriptions/acknowledged",
                {"notifications": {"toolsListChanged": True, "promptsListChanged": True}},
            )
            assert await client.next() is None
            for service in (a, b):
                service.lists["tools"].append(tool("y"))
                service.announce("tools")
                service.announce("tools")
            assert await client.next() == TOOLS
            assert await scene.tools() == ["a__x", "a__y", "b__x", "b__y"]
            assert await client.next() is None
        scene.assert_at_rest()


async def test_what_changes_for_nobody_is_told_to_nobody(autojump_clock: MockClock) -> None:
    a = fake("a", "x")
    a.lists["prompts"] = [{"name": "p"}]
    async with open_scene(a, virtual=virtual_of(a, shapes=Shapes(tools=Shape(hide=("a__y",))))) as scene:
        await scene.tools()
        async with listening(scene, "tools") as client:
            await client.next()
            await trio.sleep(1)
            a.announce("tools")
            a.lists["tools"].append(tool("y"))
            a.announce("tools")
            a.lists["prompts"] = []
            a.announce("prompts")
            assert await client.next() is None


async def test_those_alone_are_told_whose_list_it_is(autojump_clock: MockClock) -> None:
    a = fake("a")
    extra: set[str] = set()
    a.scripts["tools/list"] = lambda heard: heard.result(
        tools=[tool("x"), *([tool("y")] if heard.caller.key in extra else [])]
    )
    async with open_scene(a) as scene:
        await scene.tools()
        await scene.tools(BOB)
        async with listening(scene, "tools") as alice, listening(scene, "tools", caller=BOB) as bob:
            await alice.next()
            await bob.next()
            await trio.sleep(1)
            extra.add("bob")
            a.announce("tools")
            assert await bob.next() == TOOLS
            assert await alice.next() is None


async def test_changes_of_a_service_that_does_not_announce_them_are_seen(autojump_clock: MockClock) -> None:
    a = fake("a", "x")
    a.capabilities = QUIET
    async with open_scene(a) as scene:
        await scene.tools()
        async with listening(scene, "tools") as client:
            await client.next()
            a.lists["tools"] = [tool("y")]
            assert await client.next(60) == TOOLS


async def test_a_service_that_comes_late_is_announced(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    b.delay = PATIENCE + 1
    async with open_scene(a, b) as scene:
        assert await scene.tools() == ["a__x"]
        async with listening(scene, "tools") as client:
            await client.next()
            assert await client.next() == TOOLS
            assert await scene.tools() == ["a__x", "b__x"]


async def test_a_service_that_goes_and_comes_back_is_announced(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    async with open_scene(a, b) as scene:
        await scene.tools()
        async with listening(scene, "tools") as client:
            await client.next()
            await trio.sleep(1)
            b.die()
            assert await client.next() == TOOLS
            assert await scene.tools() == ["a__x"]
            b.live()
            assert await client.next() == TOOLS
            assert await scene.tools() == ["a__x", "b__x"]


async def test_other_members_are_announced_and_those_that_are_gone_are_not_served(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    async with open_scene(a, b, virtual=virtual_of(a)) as scene:
        await scene.tools()
        async with listening(scene, "tools") as client:
            await client.next()
            scene.use(virtual_of(b))
            assert await client.next() == TOOLS
            assert await scene.tools() == ["b__x"]
            assert (await scene.refused("tools/call", name="a__x")).code == -32602
            await trio.sleep(1)
            a.announce("tools")
            a.lists["tools"] = []
            assert await client.next() is None
        scene.assert_at_rest()


async def test_subscriptions_are_split_and_news_come_under_the_clients_uri(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "x:1", "y:1")
    async with open_scene(a, b) as scene:
        wanted = ["x:1", "gatewayd://b/x:1", "z:nowhere"]
        async with listening(scene, uris=wanted) as client:
            assert await client.next() == (
                "subscriptions/acknowledged",
                {"notifications": {"resourceSubscriptions": wanted[:2]}},
            )
            assert [heard.params["notifications"] for heard in b.of("subscriptions/listen")[-1:]] == [
                {"resourceSubscriptions": ["x:1"]}
            ]
            b.update("x:1", extra=7)
            assert await client.next() == ("resources/updated", {"uri": "gatewayd://b/x:1", "extra": 7})
            b.update("x:1/part")
            assert await client.next() == ("resources/updated", {"uri": "gatewayd://b/x:1/part"})
            b.update("y:1")
            assert await client.next() is None
            a.update("x:1")
            assert await client.next() == ("resources/updated", {"uri": "x:1"})
            assert (a.usage.count, b.usage.count) == (1, 1)
        await trio.testing.wait_all_tasks_blocked()
        scene.assert_at_rest()


async def test_news_are_told_under_the_very_uri_that_was_subscribed_to(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "x:1", "x:1/part")
    async with open_scene(a, b) as scene, listening(scene, uris=["gatewayd://b/x:1", "x:1/part"]) as client:
        await client.next()
        b.update("x:1/part")
        assert await client.next() == ("resources/updated", {"uri": "x:1/part"})


async def test_who_does_not_agree_in_time_is_left_out(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "y:1")
    async with open_scene(a, b) as scene:
        await scene.uris()
        b.scripts["subscriptions/listen"] = lambda heard: None
        began = trio.current_time()
        async with listening(scene, uris=["x:1", "y:1"]) as client:
            assert trio.current_time() - began == pytest.approx(AGREEMENT)
            assert (await client.next())[1] == {"notifications": {"resourceSubscriptions": ["x:1"]}}
        await trio.testing.wait_all_tasks_blocked()
        scene.assert_at_rest()


async def test_who_refuses_is_left_out(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "y:1")
    async with open_scene(a, b) as scene:
        await scene.uris()
        b.scripts["subscriptions/listen"] = lambda heard: heard.fail(-32601)
        async with listening(scene, uris=["x:1", "y:1"]) as client:
            assert (await client.next())[1] == {"notifications": {"resourceSubscriptions": ["x:1"]}}


async def test_a_subscription_that_is_lost_is_made_again_and_the_client_told_to_look(
    autojump_clock: MockClock,
) -> None:
    a = with_resources("a", "x:1", "x:2")
    async with open_scene(a) as scene, listening(scene, uris=["x:1", "x:2"]) as client:
        await client.next()
        for heard in a.open:
            if "resourceSubscriptions" in heard.params.get("notifications", {}):
                heard.say(UpstreamDied("lost"))
        assert await client.next() == ("resources/updated", {"uri": "x:1"})
        assert await client.next() == ("resources/updated", {"uri": "x:2"})
        a.update("x:2")
        assert await client.next() == ("resources/updated", {"uri": "x:2"})


async def test_what_is_hidden_from_now_on_is_not_told_of_any_more(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "y:1")
    async with open_scene(a, b) as scene, listening(scene, uris=["x:1"]) as client:
        await client.next()
        scene.use(virtual_of(a, b, shapes=Shapes(resources=Shape(hide=("x:*",)))))
        while await client.next(10):
            pass
        a.update("x:1")
        assert await client.next() is None


async def test_a_filter_that_nobody_can_read_is_refused(autojump_clock: MockClock) -> None:
    async with open_scene(fake("a")) as scene:
        assert (await scene.refused("subscriptions/listen", notifications=7)).code == -32602
        assert (await scene.refused("subscriptions/listen", notifications={"resourceSubscriptions": 7})).code == -32602
        scene.assert_at_rest()


@pytest.mark.parametrize("agreed", [7, {"resourceSubscriptions": 7}])
async def test_who_agrees_to_something_that_nobody_can_read_is_left_out(agreed: Any, autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "y:1")
    async with open_scene(a, b) as scene:
        await scene.uris()
        b.scripts["subscriptions/listen"] = lambda heard: heard.notify(
            "notifications/subscriptions/acknowledged", notifications=agreed
        )
        async with listening(scene, uris=["x:1", "y:1"]) as client:
            assert (await client.next())[1] == {"notifications": {"resourceSubscriptions": ["x:1"]}}
        await trio.testing.wait_all_tasks_blocked()
        scene.assert_at_rest()


async def test_what_is_told_before_it_is_agreed_to_and_what_is_no_news_is_left_out(autojump_clock: MockClock) -> None:
    a = with_resources("a", "x:1")

    def hasty(heard: Heard) -> None:
        heard.notify("notifications/resources/updated", uri="x:1")
        heard.notify("notifications/message", level="info", data="d")
        heard.notify("notifications/subscriptions/acknowledged", notifications=heard.params["notifications"])

    async with open_scene(a) as scene:
        await scene.uris()
        a.scripts["subscriptions/listen"] = hasty
        async with listening(scene, uris=["x:1"]) as client:
            assert (await client.next())[1] == {"notifications": {"resourceSubscriptions": ["x:1"]}}
            a.update("x:1")
            assert await client.next() == ("resources/updated", {"uri": "x:1"})
            assert await client.next() is None


async def test_a_member_that_goes_and_comes_back_is_subscribed_to_again(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "y:1")
    async with open_scene(a, b) as scene, listening(scene, uris=["x:1", "y:1"]) as client:
        await client.next()
        scene.use(virtual_of(a))
        while await client.next(10):
            pass
        b.update("y:1")
        assert await client.next() is None
        assert b.usage.count == 0
        scene.use(virtual_of(a, b))
        told = []
        while (news := await client.next(10)) is not None:
            told.append(news)
        assert ("resources/updated", {"uri": "y:1"}) in told
        b.update("y:1")
        assert await client.next() == ("resources/updated", {"uri": "y:1"})


async def test_two_who_listen_for_one_principal_are_both_told(autojump_clock: MockClock) -> None:
    a = fake("a", "x")
    async with open_scene(a) as scene:
        await scene.tools()
        async with listening(scene, "tools") as one, listening(scene, "tools") as other:
            await one.next()
            await other.next()
            await trio.sleep(1)
            a.lists["tools"] = [tool("y")]
            a.announce("tools")
            assert await one.next() == TOOLS
            assert await other.next() == TOOLS
