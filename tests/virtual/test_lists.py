"""Merged lists as clients see them: whose things, in which order, page by page, and for how long."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.catalog.catalog import SLOW
from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.routes.virtual import Member
from gatewayd.upstreams.channel import UpstreamUnreachable
from gatewayd.virtual.cursors import MOST_ENTRIES
from gatewayd.virtual.roster import MOST_VIEWS
from tests.catalog.scene import QUIET, Fake, Json, fake, tool
from tests.virtual.scene import ALICE, BOB, INVALID, PATIENCE, Scene, open_scene, virtual_of

HOUR = 3_600_000


def many(name: str, count: int) -> Fake:
    service = fake(name, *(f"t{number}" for number in range(count)))
    service.capabilities = QUIET
    return service


async def every(scene: Scene) -> list[str]:
    """All pages of the list of tools."""
    names: list[str] = []
    more: Json = {}
    while True:
        result = await scene.ask("tools/list", **more)
        names += [one["name"] for one in result["tools"]]
        if "nextCursor" not in result:
            return names
        more = {"cursor": result["nextCursor"]}


async def test_things_come_in_the_order_of_the_configuration(autojump_clock: MockClock) -> None:
    a, b = fake("a", "y", "x"), fake("b", "x")
    a.delay = SLOW / 2
    async with open_scene(a, b) as scene:
        assert await scene.tools() == ["a__y", "a__x", "b__x"]
        scene.use(attrs.evolve(virtual_of(b, a)))
        assert await scene.tools() == ["b__x", "a__y", "a__x"]
        scene.assert_at_rest()


async def test_each_kind_has_its_list(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    b.lists["prompts"] = [{"name": "p"}]
    a.lists["resources"] = b.lists["resources"] = [{"uri": "x:1", "name": "one"}]
    a.lists["templates"] = [{"uriTemplate": "x:{id}", "name": "any"}]
    async with open_scene(a, b) as scene:
        assert (await scene.ask("prompts/list"))["prompts"] == [{"name": "b__p"}]
        assert await scene.uris() == ["x:1", "gatewayd://b/x:1"]
        templates = (await scene.ask("resources/templates/list"))["resourceTemplates"]
        assert templates == [{"uriTemplate": "x:{id}", "name": "any"}]


async def test_two_principals_may_be_told_different_things(autojump_clock: MockClock) -> None:
    a = fake("a")
    a.scripts["tools/list"] = lambda heard: heard.result(tools=[tool(f"of_{heard.caller.key}")])
    async with open_scene(a) as scene:
        assert await scene.tools() == ["a__of_alice"]
        assert await scene.tools(BOB) == ["a__of_bob"]
        assert (await scene.refused("tools/call", BOB, name="a__of_alice")).code == INVALID


async def test_a_long_list_comes_in_pages(autojump_clock: MockClock) -> None:
    async with open_scene(many("a", 1500), many("b", 1500)) as scene:
        names = await every(scene)
        assert len(names) == len(set(names)) == 3000
        assert (names[0], names[-1]) == ("a__t0", "b__t1499")
        assert len(await scene.tools()) == MOST_ENTRIES


async def test_cursors_are_good_for_their_client_and_their_list_alone(autojump_clock: MockClock) -> None:
    async with open_scene(many("a", 1500)) as scene:
        cursor = (await scene.ask("tools/list"))["nextCursor"]
        assert len((await scene.ask("tools/list", cursor=cursor))["tools"]) == 500
        await scene.tools(BOB)
        said = set()
        for method, caller, token in (
            ("tools/list", BOB, cursor),
            ("prompts/list", ALICE, cursor),
            ("tools/list", ALICE, cursor[:-2] + "xx"),
            ("tools/list", ALICE, "made up"),
            ("tools/list", ALICE, 7),
        ):
            error = await scene.refused(method, caller, cursor=token)
            said.add((error.code, error.message))
        assert len(said) == 1
        assert said.pop()[0] == INVALID
        scene.assert_at_rest()


async def test_a_list_that_changes_while_it_is_read_is_read_as_it_was(autojump_clock: MockClock) -> None:
    a = many("a", 1500)
    async with open_scene(a) as scene:
        first = await scene.ask("tools/list")
        a.lists["tools"] = [tool("new"), *a.lists["tools"]]
        await trio.sleep(100)
        assert (await scene.tools())[0] == "a__new"
        rest = await scene.ask("tools/list", cursor=first["nextCursor"])
        assert [one["name"] for one in rest["tools"]] == [f"a__t{number}" for number in range(1000, 1500)]


async def test_a_cursor_of_other_members_is_not_valid_any_more(autojump_clock: MockClock) -> None:
    a, b = many("a", 1500), fake("b", "x")
    async with open_scene(a, b) as scene:
        cursor = (await scene.ask("tools/list"))["nextCursor"]
        scene.use(virtual_of(a))
        assert (await scene.refused("tools/list", cursor=cursor)).code == INVALID
        await scene.tools()
        assert (await scene.refused("tools/list", cursor=cursor)).code == INVALID


async def test_a_cursor_of_a_list_that_is_long_gone_is_not_valid_any_more(autojump_clock: MockClock) -> None:
    a = many("a", 1500)
    async with open_scene(a) as scene:
        cursor = (await scene.ask("tools/list"))["nextCursor"]
        for number in range(MOST_VIEWS + 1):
            a.lists["tools"][0] = tool(f"new{number}")
            await trio.sleep(20)
            await scene.tools()
        assert (await scene.refused("tools/list", cursor=cursor)).code == INVALID


async def hints(scene: Scene) -> tuple[int, str]:
    result = await scene.ask("tools/list")
    return result["ttlMs"], result["cacheScope"]


async def test_a_merged_list_is_true_as_long_as_each_of_its_parts(autojump_clock: MockClock) -> None:
    a, b = many("a", 1), many("b", 1)
    a.hints, b.hints = {"ttlMs": HOUR, "cacheScope": "public"}, {"ttlMs": 60_000, "cacheScope": "public"}
    async with open_scene(a, b) as scene:
        assert await hints(scene) == (60_000, "public")
        await trio.sleep(10)
        assert await hints(scene) == (50_000, "public")
    b.hints = {"ttlMs": HOUR, "cacheScope": "private"}
    async with open_scene(a, b) as scene:
        assert await hints(scene) == (HOUR, "private")
    b.hints = {}
    async with open_scene(a, b) as scene:
        assert await hints(scene) == (0, "private")


async def test_a_list_with_a_part_missing_is_not_to_be_kept(autojump_clock: MockClock) -> None:
    a, b = many("a", 1), many("b", 1)
    a.hints = b.hints = {"ttlMs": HOUR, "cacheScope": "public"}
    async with open_scene(a, b) as scene:
        b.dead = UpstreamUnreachable("down")
        assert await hints(scene) == (0, "private")


async def test_a_list_without_a_service_that_has_died_is_not_to_be_kept(autojump_clock: MockClock) -> None:
    a, b = many("a", 1), many("b", 1)
    a.hints = b.hints = {"ttlMs": HOUR, "cacheScope": "public"}
    async with open_scene(a, b) as scene:
        assert await hints(scene) == (HOUR, "public")
        b.die()
        for _ in range(3):
            await scene.ask("prompts/list")
            await trio.sleep(10)
        assert await scene.tools() == ["a__t0"]
        assert (await hints(scene))[0] == 0


@pytest.mark.parametrize("kind", ["tools", "prompts", "resources"])
async def test_a_service_that_is_dead_does_not_take_the_others_away(kind: Any, autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    a.lists["prompts"], a.lists["resources"] = [{"name": "p"}], [{"uri": "x:1", "name": "one"}]
    b.die()
    async with open_scene(a, b) as scene:
        began = trio.current_time()
        assert len((await scene.ask(f"{kind}/list"))[kind]) == 1
        assert trio.current_time() - began < 1


async def test_the_first_list_waits_for_a_slow_service_and_later_ones_do_not(autojump_clock: MockClock) -> None:
    a, b = many("a", 1), many("b", 1)
    b.delay = 4.0
    async with open_scene(a, b) as scene:
        began = trio.current_time()
        assert await scene.tools() == ["a__t0"]
        assert trio.current_time() - began == pytest.approx(PATIENCE)
        began = trio.current_time()
        assert await scene.tools() == ["a__t0"]
        assert trio.current_time() == began
        await trio.sleep(6)
        assert await scene.tools() == ["a__t0", "b__t0"]


async def test_nobody_waits_again_for_a_list_that_takes_long_to_read(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "y")
    a.delay = 2 * SLOW
    async with open_scene(a, b) as scene:
        assert await scene.tools() == ["a__x", "b__y"]
        a.lists["tools"] = [tool("z")]
        a.announce("tools")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        assert await scene.tools() == ["a__x", "b__y"]
        assert trio.current_time() == began
        await trio.sleep(5)
        assert await scene.tools() == ["a__z", "b__y"]


async def test_a_service_that_was_late_once_is_asked_again(autojump_clock: MockClock) -> None:
    a, b = many("a", 1), many("b", 1)
    async with open_scene(a, b) as scene:
        b.delay = 15.0
        assert await scene.tools() == ["a__t0"]
        b.delay, a.delay = 0.0, 5.0
        with suppress(UpstreamUnreachable):
            await scene.tools(BOB)
        a.delay = 0.0
        for _ in range(20):
            await trio.sleep(20)
            await scene.tools(BOB)
        assert await scene.tools(BOB) == ["a__t0", "b__t0"]


async def test_a_service_that_failed_for_somebody_else_is_asked_again(autojump_clock: MockClock) -> None:
    a = many("a", 1)
    async with open_scene(a) as scene:
        assert await scene.tools() == ["a__t0"]
        a.die()
        with pytest.raises(UpstreamUnreachable):
            await scene.tools(BOB)
        for _ in range(10):
            await trio.sleep(20)
            with suppress(UpstreamUnreachable):
                await scene.tools()
        a.live()
        a.lists["tools"] = [tool("new")]
        for _ in range(10):
            await trio.sleep(20)
            with suppress(UpstreamUnreachable):
                await scene.tools()
        assert await scene.tools() == ["a__new"]


async def test_where_nobody_answers_there_is_no_list_but_still_a_server(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    a.die()
    b.die()
    async with open_scene(a, b) as scene:
        with pytest.raises(UpstreamUnreachable):
            await scene.tools()
        told = await scene.ask("server/discover")
        assert set(told["capabilities"]) == {"tools", "prompts", "resources"}
        assert (told["ttlMs"], told["cacheScope"]) == (0, "private")
        scene.assert_at_rest()


async def test_what_is_hidden_or_of_another_name_is_shown_so(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x", "y"), fake("b", "x")
    members = (Member("a", "a", Shapes(tools=Shape(hide=("y",)))), Member("b", "b"))
    shapes = Shapes(tools=Shape(rename={"b__x": "best"}))
    async with open_scene(a, b, virtual=virtual_of(a, b, shapes=shapes, members=members)) as scene:
        assert await scene.tools() == ["a__x", "best"]
        assert await scene.call("best") == "b: x"


async def test_introductions_do_not_wait_for_lists(autojump_clock: MockClock) -> None:
    a = fake("a", "x")
    a.scripts["tools/list"] = lambda heard: None
    async with open_scene(a) as scene, trio.open_nursery() as nursery:

        async def lists() -> None:
            with pytest.raises(UpstreamUnreachable):
                await scene.tools()

        nursery.start_soon(lists)
        began = trio.current_time()
        await scene.ask("server/discover")
        assert trio.current_time() - began < 1


async def test_a_service_that_has_no_such_list_says_nothing_of_how_long_it_is_true(autojump_clock: MockClock) -> None:
    a, b = many("a", 1), fake("b")
    a.hints = {"ttlMs": HOUR, "cacheScope": "public"}
    b.capabilities = {"prompts": {}}
    async with open_scene(a, b) as scene:
        assert await hints(scene) == (HOUR, "public")
        assert not b.asked["tools/list"]


async def test_who_has_said_what_it_is_is_not_asked_again_by_the_next_client(autojump_clock: MockClock) -> None:
    a, b = many("a", 1), many("b", 1)
    async with open_scene(a, b) as scene:
        for _ in range(3):
            await scene.ask("server/discover")
        assert a.asked["server/discover"] == b.asked["server/discover"] == 1
