"""Clients that lose their connection and come back for what they missed, and those that do not come back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import Gateway, HttpTarget, Service, SessionLife, Table, Timeouts
from tests.support import wire
from tests.support.checkpoints import at_every_step, cut
from tests.support.counting_server import CountingServer
from tests.support.inprocess import FRONTS, Front, InProcess, open_gateway, simple_table
from tests.support.polling_upstream import open_polling_upstream
from tests.support.storm import wait_until

OLDER = ("2025-06-18", "2025-03-26")
VERSIONS = (wire.LEGACY, *OLDER)
LOST = -31001
TIMED_OUT = -31002
ECHO = wire.call("echo", text="hi")


def progress(steps: int, delay: float) -> wire.Json:
    """The params of a call that reports `steps` times."""
    return wire.call("progress", steps=steps, delay=delay) | {"_meta": {"progressToken": "p"}}


def resume(session: str, last: str | None, **headers: str) -> bytes:
    """The GET of a client that was interrupted behind that event."""
    assert last is not None
    return wire.get_stream(session, headers={"Last-Event-ID": last, **headers})


def delete(session: str) -> bytes:
    return wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session})


def table(server: CountingServer, call: float | None = None, **life: Any) -> Table:
    """A gateway's table with another life of sessions, and another time for calls."""
    service = None
    if call is not None:
        service = Service("web", HttpTarget("", "http", "", 0, ""), Timeouts(call=call))
    return simple_table(server.port, Gateway(session=SessionLife(**life)), service)


def said(frame: wire.Frame | None) -> wire.Json:
    """The message of an event."""
    assert frame is not None
    assert isinstance(frame.data, dict)
    return frame.data


def steps_in(frames: list[wire.Frame]) -> list[int | str]:
    """What the client learned: the steps that were reported, and the text of the answer."""
    learned: list[int | str] = []
    for message in map(said, (frame for frame in frames if frame.data is not None)):
        if "method" in message:
            assert message["params"]["progressToken"] == "p"
            learned.append(message["params"]["progress"])
        else:
            learned.append(message["result"]["content"][0]["text"])
    return learned


async def first_step(client: wire.WireClient) -> wire.Frame:
    """Read up to the first report."""
    assert (await client.head()).status == 200
    while (frame := await client.frame()) is not None:
        if frame.data is not None:
            return frame
    raise AssertionError("the stream ended")


async def leave_in_mid_call(gateway: InProcess, session: str, params: wire.Json, ident: int | str = "call") -> str:
    """Call, read the first report, and leave; the id to come back with."""
    async with gateway.connect_http1() as client:
        await client.send(wire.legacy("tools/call", params, session=session, id=ident))
        last = (await first_step(client)).id
        assert last is not None
        return last


async def come_back(gateway: InProcess, session: str, last: str | None) -> list[wire.Frame]:
    """Ask for the rest, and read it to the end of the stream."""
    async with gateway.connect_http1() as client:
        await client.send(resume(session, last))
        reply = await client.head()
        assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
        return await client.frames()


async def new_session(gateway: InProcess, version: str = wire.LEGACY) -> str:
    async with gateway.connect_http1() as client:
        return await wire.open_session(client, version=version)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_call_that_waits_begins_with_a_place_to_come_back_to(
    version: str, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client, version=version)
        await client.send(wire.legacy("tools/call", wire.call("progress", steps=1, delay=20), session=session))
        assert (await client.head()).status == 200
        *before, final = await client.frames()
    assert final.id is not None
    if version == wire.LEGACY:  # others take an event without data for broken JSON
        [prime] = before
        assert (prime.data, prime.retry) == (None, 1000)
        assert prime.id not in (None, final.id)
        assert await come_back(gateway, session, prime.id) == [attrs.evolve(prime, retry=1000), final]
    else:
        assert before == []


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_what_was_missed_is_delivered_once_and_in_order(
    version: str, front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway, version)
    last = await leave_in_mid_call(gateway, session, progress(5, 1))
    await trio.sleep(2.5)
    async with gateway.connect(front) as client:
        await client.send(resume(session, last))
        reply = await client.reply()
    frames = wire.split_frames(reply.body.replace(b"\r\n", b"\n"))
    assert steps_in(frames) == [2, 3, 4, 5, "5 steps"]
    assert said(frames[-1])["id"] == "call"
    assert len({frame.id for frame in frames}) == len(frames)
    if version == wire.LEGACY:
        assert (frames[0].data, frames[0].id, frames[0].retry) == (None, last, 1000)
    else:
        assert all(frame.data is not None for frame in frames)
    counters = server.counters
    assert (counters["finished"], counters["abandoned"], counters["cancel_notifications"]) == (1, 0, 0)


async def test_who_comes_back_often_misses_nothing(server: CountingServer, autojump_clock: MockClock) -> None:
    """The resume window begins anew each time that the client is lost."""
    async with open_gateway(table(server, resume=5)) as gateway:
        session = await new_session(gateway)
        last: str | None = await leave_in_mid_call(gateway, session, progress(12, 2))
        learned: list[int | str] = [1]
        while "12 steps" not in learned:
            await trio.sleep(3)
            async with gateway.connect_http1() as client:
                await client.send(resume(session, last))
                await client.head()
                with trio.move_on_after(3.5):
                    while (frame := await client.frame()) is not None:
                        last = frame.id
                        learned += steps_in([frame])
        assert learned == [*range(1, 13), "12 steps"]
    assert server.counters["cancel_notifications"] == 0


async def test_nobody_comes_back(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(table(server, resume=5)) as gateway:
        session = await new_session(gateway)
        last = await leave_in_mid_call(gateway, session, progress(9, 2), ident=7)
        await trio.sleep(4)
        assert (server.counters["in_flight"], server.counters["cancelled"]) == (1, 0)
        async with gateway.connect_http1() as client:  # the id is in use for as long as the call is
            again = await client.ask(wire.legacy("tools/call", ECHO, session=session, id=7))
            assert again.json()["error"]["code"] == -32600
        await trio.sleep(2)
        assert (server.counters["in_flight"], server.counters["cancelled"]) == (0, 1)
        await gateway.settle()
        gateway.assert_at_rest()
        [*_, told] = await come_back(gateway, session, last)
        assert (said(told)["id"], said(told)["error"]["code"]) == (7, LOST)
        async with gateway.connect_http1() as client:
            assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session, id=7))).json()


async def test_without_a_window_nothing_is_kept(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(table(server, resume=0)) as gateway:
        session = await new_session(gateway)
        async with gateway.connect_http1() as client:
            await client.send(wire.legacy("tools/call", progress(9, 2), session=session))
            assert (await first_step(client)).id is None
        await wait_until(lambda: server.counters["cancelled"] == 1, 1)
        async with gateway.connect_http1() as client, gateway.connect_http1() as other:
            await client.send(wire.get_stream(session))
            assert (await client.head()).status == 200
            await other.ask(wire.legacy("tools/call", wire.call("notify"), session=session))
            assert await client.event() is not None
        await wait_until(lambda: server.counters["streams"] == 0, 1)


async def test_cancelled_while_nobody_is_connected(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    last = await leave_in_mid_call(gateway, session, progress(9, 2))
    async with gateway.connect_http1() as client:
        cancel = wire.legacy("notifications/cancelled", {"requestId": "call"}, id=None, session=session)
        assert (await client.ask(cancel)).status == 202
    await wait_until(lambda: server.counters["cancelled"] == 1, 1)
    frames = await come_back(gateway, session, last)
    assert [frame for frame in frames if frame.data is not None] == []


async def test_cancelled_while_somebody_has_come_back(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    last = await leave_in_mid_call(gateway, session, progress(9, 2))
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        await client.send(resume(session, last))
        assert steps_in([await first_step(client)]) == [2]
        cancel = wire.legacy("notifications/cancelled", {"requestId": "call"}, id=None, session=session)
        assert (await other.ask(cancel)).status == 202
        assert await client.frame() is None
    await wait_until(lambda: server.counters["cancelled"] == 1, 1)


async def test_a_half_dead_connection_is_given_up_for_the_next(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as first, gateway.connect_http1() as second, gateway.connect_http1() as third:
        await first.send(wire.legacy("tools/call", progress(4, 2), session=session))
        last = (await first_step(first)).id
        await second.send(resume(session, last))
        assert (await second.head()).status == 200
        with pytest.raises(trio.BrokenResourceError):
            await first.frame()
        prime, step = await second.frame(), await second.frame()
        assert prime is not None
        assert step is not None
        assert steps_in([step]) == [2]
        await third.send(resume(session, step.id))
        assert (await third.head()).status == 200
        assert await second.frame() is None
        assert steps_in(await third.frames()) == [3, 4, "4 steps"]
    assert server.counters["finished"] == 1


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


async def test_a_client_that_is_connected_gets_what_is_larger_than_what_is_kept(
    server: CountingServer, autojump_clock: MockClock
) -> None:
    async with open_polling_upstream() as upstream:
        upstream.answer = "x" * 1_000_000
        async with open_gateway(simple_table(upstream.port)) as gateway:
            session = await new_session(gateway)
            async with gateway.connect_http1() as client:
                await client.send(wire.legacy("tools/call", ECHO, session=session))
                await client.head()
                last = (await client.frames())[-1].id
            assert steps_in(await come_back(gateway, session, last)) == [upstream.answer]


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


async def test_questions_wait_for_the_client(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client, capabilities={"elicitation": {}})
        await client.send(wire.legacy("tools/call", wire.call("ask", message="Colour?"), session=session))
        question = await first_step(client)
    async with gateway.connect_http1() as client:
        answer = {"action": "accept", "content": {"answer": "teal"}}
        accepted = await client.ask(wire.legacy(None, id=said(question)["id"], result=answer, session=session))
        assert accepted.status == 202
    [learned] = steps_in(await come_back(gateway, session, question.id))
    assert "teal" in str(learned)


async def test_a_session_that_ends_takes_its_calls_along(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    last = await leave_in_mid_call(gateway, session, progress(9, 1))
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        await client.send(resume(session, last))
        await first_step(client)
        assert (await other.ask(delete(session))).status == 204
        assert await client.frame() is None
        assert (await other.ask(resume(session, last))).status == 404
    await wait_until(lambda: server.counters["in_flight"] == 0)


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


async def first_frame(client: wire.WireClient) -> wire.Frame:
    """The next event with a message."""
    while (frame := await client.frame()) is not None:
        if frame.data is not None:
            return frame
    raise AssertionError("the stream ended")


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
        await first_frame_of_any_kind(client)
        nursery.start_soon(announce)
        await trio.sleep(5)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert told < 300
        found = await find(gateway, session)
        assert found.store.taken < 2 * SessionLife().buffer
        for _ in range(300):
            assert said(await first_frame(client))["method"] == "notifications/message"
    assert told == 300


async def first_frame_of_any_kind(client: wire.WireClient) -> None:
    assert await client.frame() is not None


async def find(gateway: InProcess, session: str) -> Any:
    from gatewayd.auth.principal import ANONYMOUS

    return await gateway.registry.find(session, ANONYMOUS, "/mcp", lambda memo: pytest.fail("the session is gone"))


@pytest.mark.parametrize("pauses", [1, 3])
async def test_an_upstream_that_is_polled_has_its_clients_poll_us(pauses: int, autojump_clock: MockClock) -> None:
    async with open_polling_upstream() as upstream:
        upstream.pauses, upstream.retry = pauses, 700
        async with open_gateway(simple_table(upstream.port)) as gateway:
            session = await new_session(gateway)
            async with gateway.connect_http1() as client:
                await client.send(wire.legacy("tools/call", ECHO, session=session, id="p"))
                assert (await client.head()).status == 200
                frames = await client.frames()
                assert all(frame.data is None for frame in frames)
                assert frames[-1].retry == 700
                assert "result" in (await client.ask(wire.legacy("ping", session=session))).json()
            await trio.sleep(0.7)
            learned = await come_back(gateway, session, frames[-1].id)
            assert steps_in(learned) == ["polled"]
            assert said(learned[-1])["id"] == "p"
        assert (upstream.calls, upstream.polls, upstream.cancelled) == (1, pauses, 0)


@pytest.mark.parametrize("version", OLDER)
async def test_older_clients_of_such_an_upstream_just_wait(version: str, autojump_clock: MockClock) -> None:
    async with open_polling_upstream() as upstream:
        upstream.pauses = 3
        async with open_gateway(simple_table(upstream.port)) as gateway, gateway.connect_http1() as client:
            session = await wire.open_session(client, version=version)
            reply = await client.ask(wire.legacy("tools/call", ECHO, session=session))
            assert reply.json()["result"]["content"][0]["text"] == "polled"
        assert (upstream.calls, upstream.polls) == (1, 3)


async def test_the_pause_is_no_part_of_the_window(autojump_clock: MockClock) -> None:
    """Who was asked to stay away for long is waited for longer."""
    async with open_polling_upstream() as upstream:
        upstream.retry, upstream.pauses = 20_000, 2
        table = simple_table(upstream.port, Gateway(session=SessionLife(resume=3)))
        async with open_gateway(table) as gateway:
            session = await new_session(gateway)
            async with gateway.connect_http1() as client:
                await client.send(wire.legacy("tools/call", ECHO, session=session))
                await client.head()
                frames = await client.frames()
            await trio.sleep(21)
            assert steps_in(await come_back(gateway, session, frames[-1].id)) == ["polled"]
        assert upstream.cancelled == 0


async def test_clients_that_we_would_not_wait_for_are_not_sent_away(autojump_clock: MockClock) -> None:
    async with open_polling_upstream() as upstream:
        table = simple_table(upstream.port, Gateway(session=SessionLife(resume=0)))
        async with open_gateway(table) as gateway, gateway.connect_http1() as client:
            session = await wire.open_session(client)
            reply = await client.ask(wire.legacy("tools/call", ECHO, session=session))
            assert reply.json()["result"]["content"][0]["text"] == "polled"


async def test_a_drain_waits_for_those_who_have_come_back(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    last = await leave_in_mid_call(gateway, session, progress(5, 1))
    async with gateway.connect_http1() as client:
        await client.send(resume(session, last))
        await first_step(client)
        gateway.drain()
        assert steps_in(await client.frames()) == [3, 4, 5, "5 steps"]
        await gateway.exchange.wait_idle()
    assert server.counters["finished"] == 1


async def test_a_drain_that_takes_too_long_is_an_error_of_the_call(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    last = await leave_in_mid_call(gateway, session, progress(50, 1))
    async with gateway.connect_http1() as client:
        await client.send(resume(session, last))
        await first_step(client)
        gateway.drain()
        gateway.exchange.end_all()
        [*_, final] = await client.frames()
        assert (said(final)["id"], said(final)["error"]["code"]) == ("call", -31009)
        await gateway.registry.suspend()


async def test_cut_anywhere_the_client_comes_back_for_the_rest(
    server: CountingServer, autojump_clock: MockClock
) -> None:
    """Whenever its connection is lost: what a client was told before and after is everything, and each thing once."""
    async with open_gateway(table(server, resume=0.5)) as gateway:
        session = await new_session(gateway)
        seen: list[wire.Frame] = []
        number = 0

        async def call(begin: Callable[[], None]) -> None:
            nonlocal number
            number += 1
            seen.clear()
            async with gateway.connect_http1() as client:
                begin()
                await client.send(wire.legacy("tools/call", progress(3, 0.05), session=session, id=number))
                await client.head()
                while (frame := await client.frame()) is not None:
                    seen.append(frame)

        async def check() -> None:
            known = [frame for frame in seen if frame.id is not None]
            if known:
                rest = await come_back(gateway, session, known[-1].id)
                assert steps_in([*seen, *rest]) == [1, 2, 3, "3 steps"]
            await gateway.settle()
            gateway.assert_at_rest()
            assert (await find(gateway, session)).idle
            await wait_until(lambda: server.counters["in_flight"] == 0, 10)

        assert await at_every_step(partial(cut, call), check) > 10


async def test_cut_while_it_comes_back(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(table(server, resume=0.5)) as gateway:
        session = await new_session(gateway)
        seen: list[wire.Frame] = []

        async def call(begin: Callable[[], None]) -> None:
            seen.clear()
            await gateway.settle()
            async with gateway.connect_http1() as client:
                await client.send(wire.legacy("tools/call", progress(3, 0.05), session=session, id="x"))
                seen.append(await first_step(client))
            begin()
            async with gateway.connect_http1() as client:
                await client.send(resume(session, seen[-1].id))
                await client.head()
                while (frame := await client.frame()) is not None:
                    seen.append(frame)

        async def check() -> None:
            rest = await come_back(gateway, session, seen[-1].id)
            assert steps_in([*seen, *rest]) == [1, 2, 3, "3 steps"]
            await gateway.settle()
            gateway.assert_at_rest()
            assert (await find(gateway, session)).idle

        assert await at_every_step(partial(cut, call), check) > 10
