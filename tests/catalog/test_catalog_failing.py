"""Services that die, hang and come back: what is still served, who is told, and when they are asked again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from gatewayd.catalog.catalog import GRACE, Catalog
from gatewayd.upstreams.channel import UpstreamDied, UpstreamTimedOut, UpstreamUnreachable
from tests.catalog.scene import ALICE, Scene, fake, let_go, open_scene


@asynccontextmanager
async def open_watched() -> AsyncIterator[tuple[Scene, Catalog]]:
    """A service that has been known for a while, and to the tools of which somebody listens."""
    async with open_scene(fake("web", "x")) as scene:
        await scene.names()
        await trio.sleep(1)
        catalog = scene.watch()
        await trio.sleep(1)
        yield scene, catalog
        let_go(catalog)


async def test_what_a_service_had_is_served_for_a_while_after_its_death(autojump_clock: MockClock) -> None:
    async with open_watched() as (scene, _):
        told = len(scene.told)
        scene.fake.die()
        await trio.sleep(GRACE - 1)
        assert await scene.names() == ["x"]
        assert len(scene.told) == told
        assert scene.catalogs.statistics()["reason"] == "web is gone"
        await trio.sleep(2)
        assert await scene.names() is None
        assert scene.told[told:] == [ALICE]
        scene.fake.live()
        await trio.sleep(6)
        assert await scene.names() == ["x"]
        assert scene.told[told:] == [ALICE, ALICE]
        assert scene.catalogs.health.hopeful("tools")


@pytest.mark.parametrize("takes", [1.0, 5.0, 19.0])
async def test_who_listens_is_told_of_a_death_however_long_a_failure_takes(
    takes: float, autojump_clock: MockClock
) -> None:
    async with open_watched() as (scene, catalog):
        told = len(scene.told)
        scene.fake.sending = takes
        scene.fake.die(UpstreamUnreachable("no connection"))
        await trio.sleep(100)
        assert catalog.known("tools") is None
        assert scene.told[told:] == [ALICE]


async def test_who_listens_is_told_of_a_service_that_hangs(autojump_clock: MockClock) -> None:
    async with open_watched() as (scene, catalog):
        told = len(scene.told)
        scene.fake.scripts = {"tools/list": lambda heard: None, "server/discover": lambda heard: None}
        scene.fake.announce("tools")
        await trio.sleep(100)
        assert catalog.known("tools") is None
        assert scene.told[told:] == [ALICE]


async def test_a_service_that_is_dead_is_asked_ever_less_often(autojump_clock: MockClock) -> None:
    service = fake("web", "x")
    service.die()
    async with open_scene(service) as scene:
        catalog = scene.watch()
        await trio.sleep(2)
        assert service.asked["server/discover"] >= 3
        before = service.asked["server/discover"]
        await trio.sleep(100)
        assert 19 <= service.asked["server/discover"] - before <= 22
        let_go(catalog)


async def test_nobody_waits_for_a_service_that_has_just_failed(autojump_clock: MockClock) -> None:
    service = fake("web", "x")
    service.die(UpstreamDied("gone"))
    async with open_scene(service) as scene:
        await scene.names()
        service.sending = 10.0
        began = trio.current_time()
        assert await scene.names() is None
        assert trio.current_time() == began


async def test_a_service_that_says_nothing_has_failed_when_its_time_is_over(autojump_clock: MockClock) -> None:
    service = fake("web", "x")
    service.scripts["server/discover"] = lambda heard: None
    async with open_scene(service) as scene:
        began = trio.current_time()
        assert await scene.names() is None
        assert trio.current_time() - began == pytest.approx(20)
        assert "20 seconds" in str(scene.catalogs.health.trouble)


async def test_a_list_that_times_out_is_shown_as_a_flaw(autojump_clock: MockClock) -> None:
    service = fake("web", "x")
    service.scripts["tools/list"] = lambda heard: heard.say(UpstreamTimedOut("slow today"))
    async with open_scene(service) as scene:
        assert await scene.names() == []
        flaws = scene.catalogs.statistics()["quarantined"]
        assert flaws == [{"kind": "tools", "name": "*", "reason": "slow today"}]


async def test_what_was_known_is_kept_where_a_list_cannot_be_read_again(autojump_clock: MockClock) -> None:
    service = fake("web", "x")
    async with open_scene(service) as scene:
        assert await scene.names() == ["x"]
        await trio.sleep(1)
        await scene.names()
        service.scripts["tools/list"] = lambda heard: heard.fail(-32603)
        service.announce("tools")
        await trio.sleep(1)
        assert await scene.names() == ["x"]
