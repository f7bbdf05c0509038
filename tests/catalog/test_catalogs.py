"""The catalogs of a service: one for each audience, as long as somebody uses it."""

from __future__ import annotations

import trio
import trio.testing
from trio.testing import MockClock

from gatewayd.catalog.catalogs import MOST_CATALOGS, Audience
from gatewayd.routes.table import Timeouts
from tests.catalog.scene import ALICE, BOB, fake, open_scene, tool


async def test_each_principal_has_a_catalog_of_its_own(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        await scene.names(ALICE)
        await scene.names(BOB)
        await scene.names(Audience("alice", b'{"roots":{}}'))
        assert scene.kept() == 3
        asked = scene.fake.of("server/discover")
        assert [heard.caller.key for heard in asked] == ["alice", "bob", "alice"]


async def test_sessions_share_a_catalog_unless_the_service_has_one_for_each(autojump_clock: MockClock) -> None:
    one, other = Audience("alice", b"{}", "1"), Audience("alice", b"{}", "2")
    async with open_scene(fake("web", "x")) as scene:
        assert scene.catalogs.of(one) is scene.catalogs.of(other)
        await scene.names(one)
        assert {heard.caller.session for heard in scene.fake.heard} == {""}
    async with open_scene(fake("web", "x", per="session")) as scene:
        assert scene.catalogs.of(one) is not scene.catalogs.of(other)
        await scene.names(one)
        await scene.names(other)
        assert {heard.caller.session for heard in scene.fake.heard} == {"1", "2"}


async def test_a_catalog_that_nobody_uses_ends(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        await scene.names()
        await trio.sleep(55)
        assert scene.kept() == 1
        await scene.names()
        await trio.sleep(55)
        assert scene.kept() == 1
        await trio.sleep(10)
        assert scene.kept() == 0
        assert not scene.fake.open
        assert scene.catalogs.statistics()["audiences"] == 0
        assert await scene.names() == ["x"]


async def test_a_catalog_that_is_watched_does_not_end(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        await scene.names()
        catalog = scene.catalogs.of(ALICE)
        catalog.watchers += 1
        catalog.want(())
        await trio.sleep(1000)
        assert scene.catalogs.of(ALICE) is catalog
        assert scene.kept() == 1
        catalog.watchers -= 1
        catalog.want(())
        await trio.sleep(100)
        assert scene.kept() == 0


async def test_a_list_that_takes_longer_than_a_catalog_is_idle_arrives(autojump_clock: MockClock) -> None:
    service = fake("web", "x", timeouts=Timeouts(call=20.0, idle=0.001))
    service.sending = 1.0
    async with open_scene(service) as scene:
        assert await scene.names() == ["x"]


async def test_there_are_never_more_than_can_be_kept(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        watched = scene.catalogs.of(ALICE)
        watched.watchers += 1
        for number in range(MOST_CATALOGS + 20):
            scene.catalogs.of(Audience(str(number), b"{}"))
        await trio.testing.wait_all_tasks_blocked()
        assert scene.kept() <= MOST_CATALOGS
        assert not watched.over
        assert not scene.catalogs.of(Audience(str(MOST_CATALOGS + 19), b"{}")).over
        watched.watchers -= 1


async def test_a_service_that_is_stopped_keeps_nothing(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        await scene.names(ALICE)
        catalog = scene.catalogs.of(BOB)
        catalog.watchers += 1
        scene.fake.scripts["prompts/list"] = lambda heard: None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(catalog.wait, "prompts")
            await trio.testing.wait_all_tasks_blocked()
            scene.catalogs.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert scene.kept() == 0
        assert not scene.fake.open


async def test_who_follows_is_told_whose_lists_have_changed(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        await scene.names(ALICE)
        await scene.names(BOB)
        await trio.sleep(1)
        assert scene.told == [ALICE, BOB]
        await scene.names(ALICE)
        assert scene.told == [ALICE, BOB]
        scene.catalogs.followers.clear()
        scene.fake.lists["tools"] = [tool("y")]
        scene.fake.announce("tools")
        assert await scene.names(BOB) == ["y"]
        assert scene.told == [ALICE, BOB]


async def test_people_see_what_is_offered_and_what_is_not(autojump_clock: MockClock) -> None:
    service = fake("web", "x", "no name", "x")
    service.lists["tools"].append(tool("y", description="a\u200bb"))
    async with open_scene(service) as scene:
        assert scene.catalogs.statistics() == {
            "state": "not asked yet",
            "reason": None,
            "audiences": 0,
            "offered": {},
            "quarantined": [],
            "cleaned": [],
        }
        await scene.names()
        assert scene.catalogs.statistics() == {
            "state": "ready",
            "reason": None,
            "audiences": 1,
            "offered": {"tools": 2},
            "quarantined": [
                {
                    "kind": "tools",
                    "name": "no name",
                    "reason": "its name is not 1 to 128 letters, digits and `_-./`",
                },
                {"kind": "tools", "name": "x", "reason": "is listed twice"},
            ],
            "cleaned": [{"kind": "tools", "name": "y", "note": "hidden characters were taken out"}],
        }


async def test_equal_lists_take_memory_once(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        await scene.names(ALICE)
        await scene.names(BOB)
        assert scene.catalogs.of(ALICE).known("tools") is scene.catalogs.of(BOB).known("tools")
