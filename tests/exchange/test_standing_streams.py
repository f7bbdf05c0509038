"""The GET stream that belongs to no request, over all the connections that carry it."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from gatewayd.routes.table import SessionLife
from tests.exchange.returning import (
    find,
    first_frame,
    new_session,
    resume,
    said,
)
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import InProcess
from tests.support.storm import wait_until


async def test_what_happened_while_the_client_was_away_is_on_the_standing_stream(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        notify = wire.legacy("tools/call", wire.call("notify"), session=session)
        async with gateway.connect_http1() as listener:
            await listener.send(wire.get_stream(session))
            await listener.head()
            await other.ask(notify)
            last = (await first_frame(listener)).id
        for _ in range(2):
            await other.ask(notify)
        await client.send(resume(session, last))
        assert (await client.head()).status == 200
        missed = [await first_frame(client) for _ in range(2)]
        assert [said(frame)["method"] for frame in missed] == ["notifications/tools/list_changed"] * 2
        with trio.move_on_after(20):
            assert await first_frame(client) is None
        assert server.counters["streams"] == 1

        third = await other.ask(wire.get_stream(session))
        assert third.status == 409
        async with gateway.connect_http1() as listener:  # who knows an event takes over
            await listener.send(resume(session, missed[-1].id))
            assert (await listener.head()).status == 200
            assert await client.frame() is None
            await other.ask(notify)
            assert said(await first_frame(listener))["method"] == "notifications/tools/list_changed"


async def test_a_client_without_an_event_id_gets_what_was_not_sent(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as other:
        async with gateway.connect_http1() as listener:
            await listener.send(wire.get_stream(session))
            await listener.head()
            await other.ask(wire.legacy("tools/call", wire.call("notify"), session=session))
            await first_frame(listener)
        await other.ask(wire.legacy("tools/call", wire.call("notify"), session=session))
        async with gateway.connect_http1() as listener:
            await listener.send(wire.get_stream(session))
            await listener.head()
            await first_frame(listener)
            with trio.move_on_after(20):
                assert await first_frame(listener) is None


async def test_a_slow_reader_slows_the_upstream_and_not_our_memory(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    flood = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 100_000}}
    told = 0

    async def announce() -> None:
        nonlocal told
        while told < 300:
            await server.announce(flood)
            told += 1

    async with trio.open_nursery() as nursery, gateway.connect_http1(stalling=True) as client:
        await client.send(wire.get_stream(session))
        await client.head()
        assert await client.frame() is not None
        nursery.start_soon(announce)
        await trio.sleep(5)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert told < 300
        found = await find(gateway, session)
        assert found.store.taken < 2 * SessionLife().buffer
        for _ in range(300):
            assert said(await first_frame(client))["method"] == "notifications/message"
    assert told == 300


async def test_a_stream_that_is_refused_because_the_session_is_forgotten_is_opened_in_a_new_one(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    server.unknown = 400
    session = await new_session(gateway)
    async with gateway.connect_http1() as listener, gateway.connect_http1() as other:
        await listener.send(wire.get_stream(session))
        await listener.head()
        cut = list(server.sessions.values())
        server.sessions.clear()
        for forgotten in cut:
            assert forgotten.standing is not None
            await trio.aclose_forcefully(forgotten.standing.stream)
        await wait_until(lambda: server.counters["streams"] == 1)
        await other.ask(wire.legacy("tools/call", wire.call("notify"), session=session))
        assert said(await first_frame(listener))["method"] == "notifications/tools/list_changed"
