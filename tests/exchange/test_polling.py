"""Upstreams that close their streams on purpose, to be polled, and what clients notice of it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import Gateway, SessionLife
from tests.exchange.returning import (
    ECHO,
    OLDER,
    come_back,
    new_session,
    said,
    steps_in,
)
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import open_gateway, simple_table
from tests.support.polling_upstream import open_polling_upstream


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
