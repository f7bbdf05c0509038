"""Which member is asked: what is known counts first, and others are asked where it says nothing."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.routes.virtual import Member
from gatewayd.upstreams.channel import UpstreamUnreachable
from tests.catalog.scene import QUIET, Fake, Heard, fake, tool
from tests.virtual.scene import INVALID, PATIENCE, Scene, open_scene, virtual_of

LISTS = ("resources/list", "resources/templates/list")


def echo(heard: Heard) -> None:
    heard.result(contents=[{"uri": heard.params["uri"], "text": "t"}])


def with_resources(name: str, *uris: str) -> Fake:
    """A service that announces nothing, and of which lists are true for ten seconds."""
    service = fake(name, "x", fresh=10.0)
    service.capabilities = QUIET
    service.lists["resources"] = [{"uri": uri, "name": "n"} for uri in uris]
    service.scripts["resources/read"] = echo
    return service


def lists_asked(*services: Fake) -> int:
    return sum(service.asked[method] for service in services for method in LISTS)


async def test_a_resource_that_is_known_is_read_without_asking_who_has_it(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "y:1")
    async with open_scene(a, b) as scene:
        await scene.ask("resources/read", uri="x:1")
        asked = lists_asked(a, b)
        await trio.sleep(20)
        for service in (a, b):
            for method in LISTS:
                service.scripts[method] = lambda heard: None
        began = trio.current_time()
        for uri in ("x:1", "x:other", "gatewayd://b/y:1"):
            await scene.ask("resources/read", uri=uri)
        assert trio.current_time() == began
        assert lists_asked(a, b) - asked <= 4  # behind the caller's back


async def test_where_nobody_is_known_to_have_it_all_are_asked_again(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "y:1")
    async with open_scene(a, b) as scene:
        assert (await scene.refused("resources/read", uri="z:1")).code == INVALID
        b.lists["resources"].append({"uri": "z:1", "name": "n"})
        await trio.sleep(20)
        assert (await scene.ask("resources/read", uri="z:1"))["contents"][0]["uri"] == "z:1"
        assert [heard.params["uri"] for heard in b.of("resources/read")] == ["z:1"]


async def test_what_is_there_only_in_part_is_completed_before_anybody_is_asked(autojump_clock: MockClock) -> None:
    bank, evil = with_resources("bank", "x:1"), with_resources("evil", "x:1", "x:2")
    bank.delay = 1.0
    async with open_scene(bank, evil) as scene:
        await scene.ask("resources/read", uri="x:1")
        assert len(bank.of("resources/read")) == 1
        assert not evil.of("resources/read")


async def test_who_is_not_expected_to_answer_is_not_waited_for(autojump_clock: MockClock) -> None:
    a, b = with_resources("a", "x:1"), with_resources("b", "y:1")
    b.die(UpstreamUnreachable("b is down"))
    async with open_scene(a, b) as scene:
        await scene.ask("resources/read", uri="x:1")
        b.sending = 10.0
        began = trio.current_time()
        await scene.ask("resources/read", uri="x:1")
        assert trio.current_time() == began
        error = await scene.refused("resources/read", uri="z:1")
        assert error.message == "Resource not found; not known: what there is at b"
        assert json.loads(error.data or b"") == {"uri": "z:1"}


async def late(scene: Scene, name: str) -> float:
    """Seconds until a tool has answered."""
    began = trio.current_time()
    await scene.call(name)
    return trio.current_time() - began


async def test_a_tool_that_is_known_is_called_without_asking_who_has_it(autojump_clock: MockClock) -> None:
    a, b = with_resources("a"), with_resources("b")
    async with open_scene(a, b) as scene:
        await scene.tools()
        await trio.sleep(20)
        for service in (a, b):
            service.scripts["tools/list"] = lambda heard: None
        assert await late(scene, "a__x") == 0


async def test_a_tool_that_somebody_has_by_now_is_found(autojump_clock: MockClock) -> None:
    a, b = with_resources("a"), with_resources("b")
    async with open_scene(a, b) as scene:
        await scene.tools()
        b.lists["tools"].append(tool("new"))
        await trio.sleep(20)
        assert await scene.call("b__new") == "b: new"


async def test_a_tool_without_a_prefix_may_be_anybodys(autojump_clock: MockClock) -> None:
    a, b = with_resources("a"), with_resources("b")
    b.delay = PATIENCE / 4
    b.lists["tools"] = [tool("y")]
    async with open_scene(a, b, virtual=virtual_of(a, b, prefixed=False)) as scene:
        assert await scene.call("y") == "b: y"
        assert await scene.call("x") == "a: x"


@pytest.mark.parametrize("name", ["best", "b__x", "short__x"])
async def test_a_name_of_the_configuration_is_found_before_any_list_was_read(
    name: str, autojump_clock: MockClock
) -> None:
    a, b = with_resources("a"), with_resources("b")
    shapes = Shapes(tools=Shape(rename={"b__x": "best"})) if name == "best" else Shapes()
    members = (Member("a", "a"), Member("b", "short" if name == "short__x" else "b"))
    async with open_scene(a, b, virtual=virtual_of(a, b, members=members, shapes=shapes)) as scene:
        assert await scene.call(name) == "b: x"


async def test_the_first_list_shows_what_can_be_read_under_its_uris(autojump_clock: MockClock) -> None:
    bank, evil = with_resources("bank"), with_resources("evil", "x:accounts/7")
    bank.lists["templates"] = [{"uriTemplate": "x:accounts/{id}", "name": "n"}]
    async with open_scene(bank, evil) as scene:
        (uri,) = await scene.uris()
        await scene.ask("resources/read", uri=uri)
        assert not bank.of("resources/read")
        assert [heard.params["uri"] for heard in evil.of("resources/read")] == ["x:accounts/7"]
