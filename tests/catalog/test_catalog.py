"""What one service offers to one audience: asked for once, true as long as it is told to be, or announced."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gatewayd.catalog.catalog import ANNOUNCED, POLL, UNREADABLE
from gatewayd.upstreams.channel import UpstreamDied, UpstreamTooLarge
from gatewayd.upstreams.paging import MOST_ITEMS
from tests.catalog.scene import ALICE, QUIET, Fake, fake, open_scene, paged, tool
from tests.support.checkpoints import at_every_step, cut

LIST = "tools/list"


def quiet(*tools: str, fresh: float = 10.0) -> Fake:
    """A service that announces nothing."""
    service = fake("web", *tools, fresh=fresh)
    service.capabilities = QUIET
    return service


async def test_a_list_that_is_true_is_served_without_asking(autojump_clock: MockClock) -> None:
    async with open_scene(quiet("x")) as scene:
        assert scene.catalogs.of(ALICE).peek("tools") is None
        assert await scene.names() == ["x"]
        await trio.sleep(9)
        assert await scene.names() == ["x"]
        assert scene.fake.asked == Counter({"server/discover": 1, LIST: 1})
        await trio.sleep(2)
        scene.fake.lists["tools"].append(tool("y"))
        assert await scene.names() == ["x", "y"]
        assert scene.fake.asked[LIST] == 2


@pytest.mark.parametrize(("milliseconds", "lasts"), [(30_000, 30), (1000, 1), (0, 10), (-5, 10)])
async def test_the_service_says_for_how_long_its_list_is_true(
    milliseconds: int, lasts: float, autojump_clock: MockClock
) -> None:
    service = quiet("x")
    service.hints = {"ttlMs": milliseconds, "cacheScope": "public"}
    async with open_scene(service) as scene:
        await scene.names()
        hints = scene.catalogs.of(ALICE).remaining("tools")
        assert hints.public
        assert hints.ttl == max(0, milliseconds / 1000)
        await trio.sleep(lasts * 0.9)
        await scene.names()
        assert scene.fake.asked[LIST] == 1
        await trio.sleep(lasts * 0.2)
        await scene.names()
        assert scene.fake.asked[LIST] == 2


async def test_a_list_of_which_changes_are_announced_stays_true_until_they_are(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        await scene.names()
        await trio.sleep(1)
        await scene.names()
        asked = scene.fake.asked[LIST]
        for _ in range(10):
            await trio.sleep(40)
            assert await scene.names() == ["x"]
        assert scene.fake.asked[LIST] == asked
        scene.fake.lists["tools"] = [tool("y")]
        scene.fake.announce("tools")
        await trio.sleep(0.1)
        assert await scene.names() == ["y"]
        for _ in range(int(ANNOUNCED / 40) + 1):
            await trio.sleep(40)
            await scene.names()
        assert scene.fake.asked[LIST] == asked + 2


async def test_an_announcement_is_about_its_own_list(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        for _ in range(2):
            await scene.names()
            await scene.names(kind="prompts")
            await trio.sleep(1)
        before = scene.fake.asked
        scene.fake.announce("prompts")
        await trio.sleep(1)
        await scene.names()
        await scene.names(kind="prompts")
        assert scene.fake.asked - before == Counter({"prompts/list": 1})


async def test_a_hundred_who_wait_are_one_request(autojump_clock: MockClock) -> None:
    service = quiet("x")
    service.delay = 1
    async with open_scene(service) as scene, trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(scene.names)
    assert service.asked == Counter({"server/discover": 1, LIST: 1})


async def test_who_comes_while_another_list_is_read_gets_its_own(autojump_clock: MockClock) -> None:
    service = quiet("x")
    service.delay = 1
    service.lists["prompts"] = [{"name": "p"}]
    async with open_scene(service) as scene, trio.open_nursery() as nursery:
        nursery.start_soon(scene.names)
        await trio.sleep(0.5)
        assert await scene.names(kind="prompts") == ["p"]


async def test_who_leaves_takes_nothing_from_others(autojump_clock: MockClock) -> None:
    service = quiet("x")
    service.delay = 1
    async with open_scene(service) as scene, trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            nursery.start_soon(scene.names)
            await scene.names()
        assert await scene.names() == ["x"]
    assert service.asked == Counter({"server/discover": 1, LIST: 1})


async def test_who_leaves_at_any_point_leaves_nothing_behind() -> None:
    async with open_scene(quiet("x", fresh=0.0)) as scene:

        async def trial(steps: int) -> bool:
            async def work(begin: object) -> None:
                assert callable(begin)
                begin()
                assert await scene.names() == ["x"]

            return await cut(work, steps)

        async def at_rest() -> None:
            await trio.testing.wait_all_tasks_blocked()
            assert not scene.fake.open
            assert await scene.names() == ["x"]

        assert await at_every_step(trial, at_rest) > 3


async def test_only_lists_that_somebody_wants_are_read(autojump_clock: MockClock) -> None:
    async with open_scene(quiet("x")) as scene:
        catalog = scene.catalogs.of(ALICE)
        catalog.watchers += 1
        catalog.want(["prompts"])
        await trio.sleep(1000)
        assert set(scene.fake.asked) == {"server/discover", "prompts/list"}
        catalog.watchers -= 1
        catalog.want(())


async def test_a_service_without_the_capability_is_not_asked(autojump_clock: MockClock) -> None:
    service = quiet("x")
    service.capabilities = {"tools": {}}
    async with open_scene(service) as scene:
        assert await scene.names(kind="prompts") == []
        assert service.asked["prompts/list"] == 0


async def test_lists_that_are_watched_are_looked_at_unasked(autojump_clock: MockClock) -> None:
    async with open_scene(quiet("x")) as scene:
        await scene.names()
        catalog = scene.catalogs.of(ALICE)
        catalog.watchers += 1
        catalog.want(["tools"])
        told = len(scene.told)
        await trio.sleep(3 * POLL + 1)
        assert scene.fake.asked[LIST] == 4
        assert len(scene.told) == told
        scene.fake.lists["tools"] = [tool("y")]
        await trio.sleep(POLL)
        assert len(scene.told) == told + 1
        catalog.watchers -= 1
        catalog.want(())


async def test_a_list_that_makes_no_sense_does_not_take_the_others_away(autojump_clock: MockClock) -> None:
    service = quiet("x")
    service.scripts["prompts/list"] = lambda heard: heard.result(prompts=7)
    service.scripts["resources/list"] = lambda heard: heard.fail(-32603)
    service.scripts["resources/templates/list"] = lambda heard: heard.say(UpstreamTooLarge("too much"))
    async with open_scene(service) as scene:
        for kind in ("prompts", "resources", "templates"):
            assert await scene.names(kind=kind) == []
        assert await scene.names() == ["x"]
        assert scene.catalogs.health.hopeful("tools")
        flaws = scene.catalogs.statistics()["quarantined"]
        assert isinstance(flaws, list)
        assert [(flaw["kind"], flaw["name"]) for flaw in flaws] == [
            ("prompts", "*"),
            ("resources", "*"),
            ("templates", "*"),
        ]
        await trio.sleep(UNREADABLE - 1)
        await scene.names(kind="prompts")
        assert service.asked["prompts/list"] == 1
        await trio.sleep(2)
        await scene.names(kind="prompts")
        assert service.asked["prompts/list"] == 2


async def test_a_list_that_never_comes_does_not_take_the_others_away(autojump_clock: MockClock) -> None:
    service = quiet("x")
    service.scripts["prompts/list"] = lambda heard: None
    async with open_scene(service) as scene:
        await scene.names(kind="prompts")
        for _ in range(6):
            assert await scene.names() == ["x"]
            await trio.sleep(15)


async def test_a_list_that_goes_in_circles_is_served_as_far_as_it_goes(autojump_clock: MockClock) -> None:
    service = quiet()
    service.scripts[LIST] = lambda heard: heard.result(tools=[tool("x")], nextCursor="again")
    async with open_scene(service) as scene:
        assert await scene.names() == ["x"]
        assert service.asked[LIST] == 2


async def test_a_list_without_end_is_cut(autojump_clock: MockClock) -> None:
    service = quiet()
    service.scripts[LIST] = paged("tools", 1000, MOST_ITEMS + 5000, lambda number: tool(f"t{number}"))
    async with open_scene(service) as scene:
        names = await scene.names()
        assert names is not None
        assert len(names) == MOST_ITEMS


async def test_what_is_listed_twice_is_served_once(autojump_clock: MockClock) -> None:
    async with open_scene(quiet("x", "y", "x")) as scene:
        assert await scene.names() == ["x", "y"]


async def test_a_service_that_will_not_be_listened_to_is_believed_when_it_says_how_long(
    autojump_clock: MockClock,
) -> None:
    service = fake("web", "x")
    service.hints = {"ttlMs": 3_600_000}
    service.scripts["subscriptions/listen"] = lambda heard: heard.fail(-32603)
    async with open_scene(service) as scene:
        for _ in range(60):
            await scene.names()
            await trio.sleep(10)
        assert service.asked[LIST] < 10


async def test_what_was_missed_while_nobody_listened_may_have_changed(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        await scene.names()
        await trio.sleep(1)
        await scene.names()
        scene.fake.lists["tools"] = [tool("y")]
        for heard in scene.fake.of("subscriptions/listen"):
            heard.say(UpstreamDied("lost"))
        await trio.sleep(1)
        assert await scene.names() == ["y"]
        assert len(scene.fake.of("subscriptions/listen")) == 2


async def test_a_service_that_has_learned_something_new_is_not_taken_for_what_it_was(
    autojump_clock: MockClock,
) -> None:
    service = quiet("x")
    service.capabilities = {"tools": {}}
    async with open_scene(service) as scene:
        assert await scene.names(kind="prompts") == []
        service.capabilities, service.lists["prompts"] = QUIET, [{"name": "p"}]
        for _ in range(50):
            await trio.sleep(30)
            await scene.names()
        assert await scene.names(kind="prompts") == ["p"]
