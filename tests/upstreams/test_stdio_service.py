"""A service over stdio: who shares a process with whom, and which era it is spoken to in."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.routes.table import Service, Sharing, StdioTarget, Timeouts
from gatewayd.upstreams.channel import (
    Answer,
    Refused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    WrongEra,
)
from gatewayd.upstreams.service import Caller, Opened
from gatewayd.upstreams.stdio_service import StdioUpstream, open_stdio_upstream
from tests.support.children import descriptors, eventually, python, zombies

SERVER = """
import json, sys
era = sys.argv[1]
canned = json.loads(sys.argv[2]) if len(sys.argv) > 2 else None
heard = []

def answer(message):
    modern = "io.modelcontextprotocol/protocolVersion" in (message.get("params", {}).get("_meta") or {})
    method = message["method"]
    if method == "initialize" and canned is not None:
        return canned
    if method == "server/discover":
        if era == "legacy":
            return {"error": {"code": -32601, "message": "no"}}
        return {"result": {"supportedVersions": ["2026-07-28"]}}
    if method == "initialize":
        if era == "modern":
            return {"error": {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}}
        return {"result": {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {}}}
    if method == "exit":
        sys.exit(3)
    return {"result": {"pid": os.getpid(), "heard": heard}}

for line in sys.stdin:
    message = json.loads(line)
    heard.append(message["method"])
    silent = era == "silent" and message["method"] == "server/discover"
    if "id" in message and message["method"] != "hang" and not silent:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer(message)}), flush=True)
"""
ALICE, BOB = Caller("staff:alice"), Caller("staff:bob")
VERSION = "2026-07-28"
IDS = itertools.count(1)


@asynccontextmanager
async def opened(
    era: str, per: Sharing = "principal", canned: object = None, connect: float = 20.0
) -> AsyncIterator[StdioUpstream]:
    """The service; nothing of it is left in the end."""
    arguments = (era,) if canned is None else (era, json.dumps(canned))
    service = Service("files", StdioTarget(python(SERVER, *arguments)), Timeouts(connect=connect), per=per)
    before = descriptors()
    with trio.fail_after(60):
        async with open_stdio_upstream(service) as upstream:
            yield upstream
            assert all(process.users == 0 for process in upstream._processes.statistics().processes)
    assert descriptors() == before
    assert zombies() == []


async def final(answer: Answer) -> Any:
    """The result of an answer, which is closed."""
    try:
        while not isinstance(message := await answer.receive(), Result):
            assert message is not None
        return json.loads(message.result)
    finally:
        await answer.aclose()


async def modern_pid(upstream: StdioUpstream, caller: Caller) -> int:
    pid: int = (await final(await upstream.request(Request(next(IDS), "tools/list"), VERSION, None, caller)))["pid"]
    return pid


async def initialize(
    upstream: StdioUpstream, caller: Caller, version: str = "2025-11-25", client: str = "c", **capabilities: object
) -> Opened:
    params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": client}}
    return await upstream.open_legacy(Request(next(IDS), "initialize", json.dumps(params).encode()), caller)


async def look(session: Opened) -> Any:
    return await final(await session.peer.request(Request(next(IDS), "tools/list")))


def users(upstream: StdioUpstream) -> list[int]:
    return [process.users for process in upstream._processes.statistics().processes]


@pytest.mark.parametrize(("per", "processes"), [("session", 2), ("call", 2), ("principal", 2), ("shared", 1)])
async def test_who_shares_a_modern_process(per: Sharing, processes: int) -> None:
    async with opened("modern", per) as upstream:
        pids = [await modern_pid(upstream, caller) for caller in (ALICE, ALICE, BOB)]
        assert len(set(pids)) == processes
        assert pids[0] == pids[1]
        assert upstream.processes().running == processes


@pytest.mark.parametrize(("per", "processes"), [("session", 3), ("call", 3), ("principal", 2), ("shared", 1)])
async def test_who_shares_a_legacy_process(per: Sharing, processes: int) -> None:
    async with opened("legacy", per) as upstream:
        sessions = [await initialize(upstream, caller) for caller in (ALICE, ALICE, BOB)]
        seen = [await look(session) for session in sessions]
        assert len({each["pid"] for each in seen}) == processes
        assert sorted(users(upstream)) == sorted({3: [1, 1, 1], 2: [2, 1], 1: [3]}[processes])
        for session in sessions:
            assert session.version == "2025-11-25"
            await session.peer.send(Notification("notifications/initialized"))
        for session in sessions:
            heard = (await look(session))["heard"]
            assert heard[:2] == ["initialize", "notifications/initialized"]
            assert heard.count("notifications/initialized") == heard.count("initialize") == 1
            await session.peer.aclose()


async def test_clients_that_differ_in_what_they_can_do_do_not_share() -> None:
    async with opened("legacy", "shared") as upstream:
        sessions = [
            await initialize(upstream, ALICE),
            await initialize(upstream, BOB, client="another"),
            await initialize(upstream, ALICE, sampling={}),
            await initialize(upstream, ALICE, version="2025-06-18"),
        ]
        pids = [(await look(session))["pid"] for session in sessions]
        assert pids[0] == pids[1]
        assert len(set(pids)) == 3
        assert [session.version for session in sessions] == ["2025-11-25"] * 3 + ["2025-06-18"]
        for session in sessions:
            await session.peer.aclose()


async def test_each_era_has_a_process_of_its_own() -> None:
    async with opened("both", "shared") as upstream:
        session = await initialize(upstream, ALICE)
        assert (await look(session))["pid"] != await modern_pid(upstream, ALICE)
        await session.peer.aclose()


async def test_a_legacy_service_has_no_place_for_modern_requests() -> None:
    async with opened("legacy") as upstream:
        for _ in range(2):
            with pytest.raises(WrongEra) as caught:
                await upstream.request(Request(next(IDS), "tools/list"), VERSION, None, ALICE)
            assert "2025-11-25" in caught.value.supported
        assert upstream._processes.statistics().started == 1  # it was asked once
        session = await initialize(upstream, ALICE)
        assert (await look(session))["heard"][0] == "initialize"
        await session.peer.aclose()


async def test_a_modern_service_has_no_sessions() -> None:
    async with opened("modern") as upstream:
        with pytest.raises(WrongEra) as caught:
            await initialize(upstream, ALICE)
        assert caught.value.supported == (VERSION,)
        assert await modern_pid(upstream, ALICE)


@pytest.mark.parametrize(
    ("canned", "error"),
    [
        ({"error": {"code": -32602, "message": "no such client"}}, Refused),
        ({"result": {"protocolVersion": "1999-01-01"}}, UpstreamBroke),
        ({"result": {"protocolVersion": "2026-07-28"}}, WrongEra),
        ({"result": {}}, UpstreamBroke),
    ],
)
async def test_a_session_that_cannot_be_opened_leaves_no_user(canned: object, error: type[UpstreamError]) -> None:
    async with opened("legacy", canned=canned) as upstream:
        with pytest.raises(error) as caught:
            await initialize(upstream, ALICE)
        if isinstance(caught.value, Refused):
            assert caught.value.failure == Failure(None, -32602, "no such client")


async def test_a_refusal_of_a_service_without_sessions_is_understood() -> None:
    async with opened("modern", canned={"error": {"code": -32601, "message": "no such method"}}) as upstream:
        with pytest.raises(WrongEra) as caught:
            await initialize(upstream, ALICE)
        assert caught.value.supported == (VERSION,)
        assert upstream.statistics()["eras"] == VERSION


async def test_silence_on_the_probe_means_sessions() -> None:
    async with opened("silent", connect=2.0) as upstream:
        for _ in range(2):  # it is asked once
            with pytest.raises(WrongEra) as caught:
                await upstream.request(Request(next(IDS), "tools/list"), VERSION, None, ALICE)
            assert caught.value.supported[0] == "2025-11-25"
        session = await initialize(upstream, ALICE)
        assert (await look(session))["heard"][0] == "initialize"
        await session.peer.aclose()


async def test_a_legacy_verdict_is_dropped_when_the_service_says_that_it_has_no_sessions() -> None:
    refused = {"error": {"code": -32022, "message": "no", "data": {"supported": [VERSION]}}}
    async with opened("legacy", canned=refused) as upstream:
        with pytest.raises(WrongEra) as caught:
            await upstream.request(Request(next(IDS), "tools/list"), VERSION, None, ALICE)
        assert caught.value.supported[0] == "2025-11-25"
        with pytest.raises(WrongEra):
            await initialize(upstream, ALICE)
        assert upstream.statistics()["eras"] == "not asked yet"


async def test_a_session_over_stdio_cannot_be_resumed() -> None:
    async with opened("legacy") as upstream:
        session = await initialize(upstream, ALICE)
        assert session.peer.session is None
        assert upstream.resume_legacy("s-1", "2025-11-25", ALICE) is None
        await session.peer.aclose()


async def test_a_call_holds_its_process_until_it_is_closed() -> None:
    async with opened("modern") as upstream:
        answer = await upstream.request(Request(next(IDS), "hang"), VERSION, None, ALICE)
        assert users(upstream) == [1]
        await answer.aclose()
        await answer.aclose()
        assert users(upstream) == [0]
        assert await modern_pid(upstream, ALICE)


async def test_callers_that_are_cancelled_hold_nothing_and_take_nothing_away() -> None:
    pids: list[int] = []

    async def call(caller: Caller) -> None:
        pids.append(await modern_pid(upstream, caller))

    async with opened("modern", "shared") as upstream, trio.open_nursery() as nursery:
        with trio.move_on_after(0.01) as impatient:
            async with trio.open_nursery() as quitters:
                for _ in range(5):
                    quitters.start_soon(call, BOB)
                nursery.start_soon(call, ALICE)
        assert impatient.cancelled_caught
        await eventually(lambda: len(pids) == 1)
        assert users(upstream) == [0]


async def test_a_process_that_dies_takes_its_sessions_along_and_is_started_again() -> None:
    async with opened("legacy") as upstream:
        session = await initialize(upstream, ALICE)
        before = (await look(session))["pid"]
        with pytest.raises(UpstreamDied):
            await final(await session.peer.request(Request(next(IDS), "exit")))
        await eventually(lambda: not upstream._hubs)
        with pytest.raises(SessionLost):
            await session.peer.request(Request(next(IDS), "tools/list"))
        await session.peer.aclose()
        again = await initialize(upstream, ALICE)
        assert (await look(again))["pid"] != before
        assert upstream.processes().restarts == 1
        await again.peer.aclose()


async def test_what_administrators_see_names_no_principal() -> None:
    async with opened("both") as upstream:
        await modern_pid(upstream, ALICE)
        shown = upstream.statistics()
        assert (shown["kind"], shown["eras"], shown["started"], shown["crashed"]) == ("stdio", VERSION, 1, 0)
        assert "alice" not in str(shown)
