"""What an event id is good for, how long, and what those are answered with that are good for nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import SessionLife
from tests.exchange.returning import (
    ECHO,
    LOST,
    TIMED_OUT,
    VERSIONS,
    come_back,
    first_step,
    leave_in_mid_call,
    new_session,
    progress,
    resume,
    said,
    steps_in,
    table,
)
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import InProcess, open_gateway, simple_table


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_answer_is_still_there_for_a_while(
    version: str, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client, version=version)
        await client.send(wire.legacy("tools/call", progress(2, 1), session=session))
        assert (await client.head()).status == 200
        frames = [frame for frame in await client.frames() if frame.data is not None]
    assert steps_in(frames) == [1, 2, "2 steps"]
    assert steps_in(await come_back(gateway, session, frames[0].id)) == [2, "2 steps"]
    assert steps_in(await come_back(gateway, session, frames[2].id)) == []
    await trio.sleep(SessionLife().resume + 10)
    [*_, told] = await come_back(gateway, session, frames[0].id)
    assert (said(told)["id"], said(told)["error"]["code"]) == (1, LOST)


async def test_an_id_that_is_used_again_does_not_end_the_call_that_uses_it(
    gateway: InProcess, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client:
        await client.send(wire.legacy("tools/call", progress(1, 1), session=session))
        last = (await first_step(client)).id
        await client.frames()
        await client.send(wire.legacy("tools/call", progress(2, 1), session=session))
        await first_step(client)
        assert steps_in(await come_back(gateway, session, last)) == ["1 steps"]
        assert steps_in(await client.frames()) == [2, "2 steps"]


async def test_events_that_are_gone(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(table(server, buffer=2000)) as gateway:
        session = await new_session(gateway)
        last = await leave_in_mid_call(gateway, session, progress(20, 0.1), ident="big")
        await trio.sleep(5)
        [*_, told] = await come_back(gateway, session, last)
        assert (said(told)["id"], said(told)["error"]["code"]) == ("big", LOST)
        assert server.counters["finished"] == 1


async def test_a_restart_loses_what_was_said_and_the_client_is_told(
    server: CountingServer, autojump_clock: MockClock
) -> None:
    async with open_gateway(simple_table(server.port)) as gateway:
        session = await new_session(gateway)
        last = await leave_in_mid_call(gateway, session, progress(2, 5), ident=2**60)
        with trio.move_on_after(30):
            await gateway.registry.suspend()
    async with open_gateway(simple_table(server.port)) as gateway:
        [*_, told] = await come_back(gateway, session, last)
        assert (said(told)["id"], said(told)["error"]["code"]) == (2**60, LOST)
        async with gateway.connect_http1() as client:
            assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
    assert (server.counters["initialized"], server.counters["started"]) == (1, 2)


FORGED: dict[str, Callable[[str], str]] = {
    "a letter": lambda known: "x",
    "a number": lambda known: "1",
    "many letters": lambda known: "x" * 5000,
    "another session": lambda known: f"{'0' * 8}{known[8:]}",
    "a later event": lambda known: known.replace("-1-1-", "-1-99-"),
    "another stream": lambda known: known.replace("-1-1-", "-9-1-"),
    "another call": lambda known: known.rpartition("-")[0] + "-i99",
    "the standing stream": lambda known: known.rpartition("-")[0] + "-g",
    "a line behind": lambda known: known + "-",
    "no base64": lambda known: known.rpartition("-")[0] + "-s!!!",
    "a long number": lambda known: known.rpartition("-")[0] + "-i" + "9" * 200,
    "no ASCII": lambda known: known + "\xe9",
}


@pytest.mark.parametrize("forged", FORGED)
async def test_an_event_id_that_was_never_given_out(
    forged: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    last = await leave_in_mid_call(gateway, session, progress(2, 1), ident=1)
    assert "-1-1-" in last
    async with gateway.connect_http1() as client:
        reply = await client.ask(resume(session, FORGED[forged](last)))
        assert (reply.status, reply.json()["error"]["code"]) == (400, -32600)
    assert steps_in(await come_back(gateway, session, last)) == [2, "2 steps"]
    assert server.counters["streams"] == 0


async def test_an_event_of_another_session(gateway: InProcess, autojump_clock: MockClock) -> None:
    mine, other = await new_session(gateway), await new_session(gateway)
    last = await leave_in_mid_call(gateway, mine, progress(2, 1))
    async with gateway.connect_http1() as client:
        assert (await client.ask(resume(other, last))).status == 400


async def test_an_answer_that_came_too_late_is_reported_late(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(table(server, call=5.0)) as gateway:
        session = await new_session(gateway)
        last = await leave_in_mid_call(gateway, session, progress(1, 1) | wire.call("progress", steps=9, delay=1))
        await trio.sleep(8)
        frames = await come_back(gateway, session, last)
        assert (said(frames[-1])["id"], said(frames[-1])["error"]["code"]) == ("call", TIMED_OUT)
        assert server.counters["cancelled"] == 1


async def test_an_upstream_that_dies_meanwhile(gateway: InProcess, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client:
        slow = progress(3, 1) | wire.call("progress", steps=3, delay=1)
        await client.send(wire.legacy("tools/call", slow, session=session))
        last = (await first_step(client)).id
    await gateway.upstream().pool.aclose()
    frames = await come_back(gateway, session, last)
    assert said(frames[-1])["id"] == 1
