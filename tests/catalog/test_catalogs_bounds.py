"""What catalogs take: memory has an end, and what goes wrong in one is not hidden."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.catalog import catalogs as module
from gatewayd.catalog.catalogs import Audience
from tests.catalog.scene import ALICE, BOB, Fake, Heard, fake, open_scene, tool

CAROL, DAVE = Audience("carol", b"{}"), Audience("dave", b"{}")
BIG = "d" * 400


def personal() -> Fake:
    """A service that tells everybody something else."""
    service = fake("web")
    service.scripts["tools/list"] = lambda heard: heard.result(tools=[tool(heard.caller.key, description=BIG)])
    return service


async def test_those_that_nobody_used_for_the_longest_time_make_room(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    async with open_scene(personal()) as scene:
        alice = scene.catalogs.of(ALICE)
        alice.watchers += 1
        assert await scene.names(ALICE) == ["alice"]
        assert await scene.names(BOB) == ["bob"]
        bob = scene.catalogs.of(BOB)
        assert await scene.names(CAROL) == ["carol"]
        await trio.testing.wait_all_tasks_blocked()
        assert (alice.over, bob.over, scene.kept()) == (False, True, 2)
        assert await scene.names(BOB) == ["bob"]
        assert scene.catalogs.of(BOB) is not bob
        assert not alice.over
        assert scene.catalogs.statistics()["audiences"] == 2
        alice.watchers -= 1
        alice.want(())


async def test_one_that_takes_more_than_there_is_room_for_is_served(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    async with open_scene(personal()) as scene:
        for audience in (ALICE, BOB, ALICE):
            assert await scene.names(audience) == [audience.principal]
            assert await scene.names(audience) == [audience.principal]
        await trio.testing.wait_all_tasks_blocked()
        assert scene.kept() == 1


async def test_equal_lists_count_once(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    service = fake("web")
    service.lists["tools"] = [tool("x", description=BIG)]
    async with open_scene(service) as scene:
        for audience in (ALICE, BOB, CAROL, DAVE):
            await scene.names(audience)
        await trio.testing.wait_all_tasks_blocked()
        assert scene.kept() == 4


async def test_who_waits_for_a_list_gets_it_though_others_make_room(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    service = personal()
    answer = service.scripts["tools/list"]
    service.scripts["tools/list"] = lambda heard: None if heard.caller.key == "alice" else answer(heard)
    names: list[list[str] | None] = []

    async def wait() -> None:
        names.append(await scene.names(ALICE))

    async with open_scene(service) as scene, trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        assert await scene.names(BOB) == ["bob"]
        assert await scene.names(CAROL) == ["carol"]
        for heard in service.of("tools/list"):
            if heard.caller.key == "alice":
                answer(heard)
    assert names == [["alice"]]


async def test_where_all_are_watched_one_more_is_served_and_none_is_taken_away(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_CATALOGS", 1)
    async with open_scene(fake("web", "x")) as scene:
        watched = scene.catalogs.of(ALICE)
        watched.watchers += 1
        assert await scene.names(BOB) == ["x"]
        assert not watched.over
        watched.watchers -= 1
        watched.want(())


async def test_a_catalog_that_crashes_is_trouble_of_its_service_and_begins_anew(autojump_clock: MockClock) -> None:
    def crash(heard: Heard) -> None:
        heard.closed = True
        raise RuntimeError("not foreseen")

    service = fake("web", "x")
    service.scripts["tools/list"] = crash
    async with open_scene(service) as scene:
        with capture_logs() as logged:
            assert await scene.names() is None
            await trio.testing.wait_all_tasks_blocked()
        assert "catalog crashed" in [line["event"] for line in logged]
        shown = scene.catalogs.statistics()
        assert (shown["state"], shown["reason"]) == ("failing", "the gateway failed to ask it (see the log)")
        assert scene.kept() == 0
        del service.scripts["tools/list"]
        assert await scene.names() == ["x"]
        assert scene.catalogs.statistics()["state"] == "ready"


async def test_who_comes_when_a_service_is_gone_is_told_nothing(autojump_clock: MockClock) -> None:
    async with open_scene(fake("web", "x")) as scene:
        scene.catalogs.stop()
        assert await scene.names() is None
        assert scene.kept() == 0
        assert not scene.fake.heard
