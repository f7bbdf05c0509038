"""Lists that change all the time, or take long: how often they are asked for, and who waits."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from gatewayd.catalog.catalog import AGAIN, LONGEST_AGAIN, POLL, SLOW
from gatewayd.upstreams.channel import UpstreamDied
from tests.catalog.scene import ALICE, Fake, Heard, Scene, fake, let_go, open_scene, tool

LIST = "tools/list"


class Restless:
    """A service of which the list is another one each time, which it says five times a second, as long as it does."""

    def __init__(self) -> None:
        self.fake: Fake = fake("web", "x")
        self.fake.scripts[LIST] = self._answer
        self.quiet = False
        self.read_at: list[float] = []
        self._number = itertools.count()

    async def announce(self) -> None:
        while True:
            await trio.sleep(0.2)
            if not self.quiet:
                self.fake.announce("tools")

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.read_at)]

    def _answer(self, heard: Heard) -> None:
        self.read_at.append(trio.current_time())
        heard.result(tools=[tool("x" if self.quiet else f"x{next(self._number)}")])


@asynccontextmanager
async def open_restless(restless: Restless) -> AsyncIterator[Scene]:
    """It announces as long as the block lasts, in which somebody listens."""
    async with open_scene(restless.fake) as scene, trio.open_nursery() as nursery:
        catalog = scene.watch()
        nursery.start_soon(restless.announce)
        yield scene
        let_go(catalog)
        nursery.cancel_scope.cancel()


async def test_a_list_that_never_stops_changing_is_read_ever_less_often(autojump_clock: MockClock) -> None:
    restless = Restless()
    async with open_restless(restless):
        await trio.sleep(200)
        growing = [2 * AGAIN, 4 * AGAIN, 8 * AGAIN, 16 * AGAIN, 32 * AGAIN]
        assert restless.pauses[1:9] == pytest.approx([*growing, *[LONGEST_AGAIN] * 3], abs=0.25)


async def test_a_list_that_never_stops_changing_is_not_taken_for_quiet_because_it_takes_time_to_read(
    autojump_clock: MockClock,
) -> None:
    restless = Restless()
    restless.fake.delay = 0.1
    async with open_restless(restless):
        await trio.sleep(1200)
        late = [pause for pause, at in zip(restless.pauses, restless.read_at, strict=False) if at > 100]
        assert late == pytest.approx([LONGEST_AGAIN] * len(late), abs=1)


async def test_after_a_quiet_time_a_change_is_seen_at_once(autojump_clock: MockClock) -> None:
    restless = Restless()
    async with open_restless(restless) as scene:
        await trio.sleep(150)
        restless.quiet = True
        await trio.sleep(100)
        listing = scene.catalogs.of(ALICE).known("tools")
        assert listing is not None
        assert [item.name for item in listing.items] == ["x"]
        restless.fake.scripts[LIST] = lambda heard: heard.result(tools=[tool("y")])
        told = len(scene.told)
        restless.fake.announce("tools")
        await trio.sleep(0.1)
        assert len(scene.told) == told + 1
        restless.fake.scripts[LIST] = lambda heard: heard.result(tools=[tool("z")])
        restless.fake.announce("tools")
        await trio.sleep(AGAIN + 0.1)
        assert len(scene.told) == told + 2


async def test_who_asks_gets_what_is_true_however_often_it_changes(autojump_clock: MockClock) -> None:
    restless = Restless()
    async with open_restless(restless) as scene:
        await trio.sleep(150)
        read = len(restless.read_at)
        for _ in range(3):
            await trio.sleep(1)
            await scene.names()
        assert len(restless.read_at) == read + 3


@pytest.mark.parametrize(("takes", "slow"), [(SLOW / 2, False), (SLOW * 2, True)])
async def test_a_list_that_takes_long_to_read_is_known_to(takes: float, slow: bool, autojump_clock: MockClock) -> None:
    service = fake("web", "x")
    async with open_scene(service) as scene:
        catalog = scene.catalogs.of(ALICE)
        assert not catalog.slow("tools")
        service.delay = takes
        await scene.names()
        assert catalog.slow("tools") is slow
        assert not catalog.slow(None)
        assert not catalog.slow("prompts")
        service.delay = 0.0
        service.announce("tools")
        await trio.sleep(1)
        await scene.names()
        await trio.sleep(1)
        service.announce("tools")
        await trio.sleep(1)
        await scene.names()
        assert not catalog.slow("tools")


async def test_a_list_that_fails_is_asked_for_ever_less_often_though_its_service_is_there(
    autojump_clock: MockClock,
) -> None:
    service = fake("web", "x")
    service.scripts[LIST] = lambda heard: heard.say(UpstreamDied("lost"))
    async with open_scene(service) as scene:
        catalog = scene.watch()
        await trio.sleep(2)
        assert service.asked[LIST] >= 3
        before = service.asked[LIST]
        await trio.sleep(100)
        assert 19 <= service.asked[LIST] - before <= 22
        del service.scripts[LIST]
        await trio.sleep(6)
        assert await scene.names() == ["x"]
        let_go(catalog)


async def test_an_announcement_of_everything_else_changes_nothing(autojump_clock: MockClock) -> None:
    service = fake("web", "x")
    async with open_scene(service) as scene:
        await scene.names()
        await trio.sleep(POLL)
        await scene.names()
        (stream,) = service.of("subscriptions/listen")
        asked = service.asked[LIST]
        stream.notify("notifications/message", level="info")
        stream.result()
        await trio.sleep(1)
        await scene.names()
        assert service.asked[LIST] == asked
        stream.say(None)
        await trio.sleep(1)
        assert await scene.names() == ["x"]
        assert service.asked[LIST] == asked + 1
