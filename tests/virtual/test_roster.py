"""What is kept of merged lists, and what is said of them: none of it grows with what one service lists."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.routes.lock import pin
from gatewayd.upstreams.service import Caller
from gatewayd.virtual import roster as module
from gatewayd.virtual import server as serving
from tests.catalog.scene import QUIET, Fake, fake, tool
from tests.virtual.scene import ALICE, BOB, INVALID, Scene, open_scene, virtual_of


def long(name: str) -> Fake:
    """A service of which the list comes in two pages."""
    service = fake(name, *(f"t{number}" for number in range(1500)))
    service.capabilities = QUIET
    return service


async def changed(scene: Scene, service: Fake, name: str) -> None:
    """Everybody sees another list of tools."""
    service.lists["tools"][0] = tool(name)
    await trio.sleep(20)
    await scene.tools()


@pytest.mark.parametrize(("constant", "most"), [("MOST_VIEWS", 2), ("MOST_VIEW_BYTES", 200_000)])
async def test_lists_that_were_merged_long_ago_make_room(
    constant: str, most: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, constant, most)
    a = long("a")
    async with open_scene(a) as scene:
        cursor = (await scene.ask("tools/list"))["nextCursor"]
        await changed(scene, a, "new1")
        assert len((await scene.ask("tools/list", cursor=cursor))["tools"]) == 500
        await changed(scene, a, "new2")
        await changed(scene, a, "new3")
        assert (await scene.refused("tools/list", cursor=cursor)).code == INVALID


async def test_a_list_that_takes_more_than_there_is_room_for_is_served_whole(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_VIEW_BYTES", 1000)
    async with open_scene(long("a")) as scene:
        cursor = (await scene.ask("tools/list"))["nextCursor"]
        assert len((await scene.ask("tools/list", cursor=cursor))["tools"]) == 500


async def test_resources_are_found_though_there_is_no_room_for_their_lists(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_VIEW_BYTES", 10)
    monkeypatch.setattr(module, "MOST_PLACES", 1)
    a, b = fake("a"), fake("b")
    for service in (a, b):
        service.lists["resources"] = [{"uri": "x:1", "name": "n" * 20}]
        service.lists["templates"] = [{"uriTemplate": "x:t/{id}", "name": "n" * 20}]
        service.scripts["resources/read"] = lambda heard: heard.result(contents=[])
    async with open_scene(a, b) as scene:
        for caller in (ALICE, BOB, ALICE):
            assert await scene.uris(caller) == ["x:1", "gatewayd://b/x:1"]
            await scene.ask("resources/read", caller, uri="gatewayd://b/x:t/7")
        assert [heard.params["uri"] for heard in b.of("resources/read")] == ["x:t/7"] * 3


async def test_what_is_used_is_kept_when_others_make_room(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_VIEWS", 2)
    a = long("a")
    a.scripts["tools/list"] = lambda heard: heard.result(
        tools=a.lists["tools"] if heard.caller.key == "alice" else [tool(heard.caller.key)]
    )
    async with open_scene(a) as scene:
        cursor = (await scene.ask("tools/list"))["nextCursor"]
        for name in ("bob", "carol", "dave", "eve"):
            await scene.tools(Caller(name))
            await scene.tools()
        assert len((await scene.ask("tools/list", cursor=cursor))["tools"]) == 500


def logged_of(logged: Any, service: str) -> list[str]:
    return [line["event"] for line in logged if line.get("service") == service]


async def test_what_there_is_to_say_of_one_service_hides_nothing_of_another(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_NOTED", 5)
    monkeypatch.setattr(serving, "MOST_SHOWN", 3)
    evil, alpha = fake("evil", *(f"t{number}" for number in range(50))), fake("alpha", "x")
    evil.capabilities = QUIET
    async with open_scene(evil, alpha, virtual=virtual_of(evil, alpha, lock="warn")) as scene:
        with capture_logs() as logged:
            await scene.tools()
            for number in range(5):
                await changed(scene, evil, f"new{number}")
        assert logged_of(logged, "evil") == ["tool served"] * 5 + ["no more is logged of this service"]
        assert logged_of(logged, "alpha") == ["tool served"]
        reports = cast("list[dict[str, Any]]", scene.server.statistics()["reports"])
        assert [report["service"] for report in reports] == ["evil"] * 3 + ["alpha"]


async def test_the_same_is_logged_once(autojump_clock: MockClock) -> None:
    a, b = fake("a", "x"), fake("b", "x")
    a.capabilities = QUIET
    with capture_logs() as logged:
        async with open_scene(a, b, virtual=virtual_of(a, b, prefixed=False)) as scene:
            await scene.tools()
            await changed(scene, a, "other")
            await changed(scene, a, "x")
    told = [(line["event"], line["tool"], line["log_level"]) for line in logged if line.get("service") == "b"]
    assert told == [("tool served", "x", "info")]


async def test_people_see_first_what_clients_do_not_get(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(serving, "MOST_SHOWN", 2)
    a, b = fake("a", "x", "b__kept"), fake("b", "x", "y", "z", "a__kept", "w")
    async with open_scene(a, b, virtual=virtual_of(a, b, prefixed=False, lock="warn"), pins={}) as scene:
        with capture_logs() as logged:
            await scene.tools()
        reports = cast("list[dict[str, Any]]", scene.server.statistics()["reports"])
        assert [(report["service"], report["name"], report["withheld"]) for report in reports] == [
            ("a", "b__kept", True),
            ("b", "a__kept", True),
            ("a", "x", False),
            ("b", "x", False),
        ]
        assert {line["tool"] for line in logged if line["event"] == "tool withheld"} == {"b__kept", "a__kept"}


async def test_under_a_lock_people_see_what_is_kept_back_though_more_is_served(autojump_clock: MockClock) -> None:
    a = fake("a", *(f"t{number}" for number in range(serving.MOST_SHOWN)), "changed")
    pins = {"a": {f"t{number}": pin(tool(f"t{number}")) for number in range(serving.MOST_SHOWN)}}
    async with open_scene(a, virtual=virtual_of(a, lock="enforce"), pins=pins) as scene:
        await scene.tools()
        reports = cast("list[dict[str, Any]]", scene.server.statistics()["reports"])
        assert [(report["name"], report["reason"]) for report in reports] == [("changed", "lock: is new")]


def private(name: str) -> Fake:
    """A service that tells everybody something else of its resources."""
    service = fake(name)
    service.scripts["resources/list"] = lambda heard: heard.result(
        resources=[{"uri": f"{heard.caller.key}:{name}", "name": "n"}]
    )
    service.scripts["resources/read"] = lambda heard: heard.result(contents=[])
    return service


async def test_everybody_has_a_name_space_of_its_own_however_many_are_kept(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(module, "MOST_PLACES", 1)
    a, b = private("a"), private("b")
    async with open_scene(a, b) as scene:
        for caller, other in ((ALICE, BOB), (BOB, ALICE), (ALICE, BOB)):
            await scene.ask("resources/read", caller, uri=f"{caller.key}:b")
            assert (await scene.refused("resources/read", caller, uri=f"{other.key}:b")).code == INVALID
        assert [heard.params["uri"] for heard in b.of("resources/read")] == ["alice:b", "bob:b", "alice:b"]


async def test_the_first_list_of_tools_names_interfaces_that_can_be_read(autojump_clock: MockClock) -> None:
    a, b = fake("a"), fake("b")
    for service in (a, b):
        service.lists["tools"] = [tool("x", _meta={"ui": {"resourceUri": "ui://w"}})]
        service.lists["resources"] = [{"uri": "ui://w", "name": "n"}]
        service.scripts["resources/read"] = lambda heard: heard.result(contents=[])
    async with open_scene(a, b) as scene:
        tools = (await scene.ask("tools/list"))["tools"]
        uris = [one["_meta"]["ui"]["resourceUri"] for one in tools]
        assert uris == ["ui://w", "ui://gatewayd/b/w"]
        for uri in uris:
            await scene.ask("resources/read", uri=uri)
        assert len(a.of("resources/read")) == len(b.of("resources/read")) == 1
