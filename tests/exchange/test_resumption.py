"""Clients that lose their connection and come back for what they missed, and those that do not come back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.exchange.returning import (
    ECHO,
    LOST,
    VERSIONS,
    come_back,
    delete,
    find,
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
from tests.support.checkpoints import at_every_step, cut
from tests.support.counting_server import CountingServer
from tests.support.inprocess import FRONTS, Front, InProcess, open_gateway
from tests.support.storm import wait_until


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
