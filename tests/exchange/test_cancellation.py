"""Clients that leave, and calls that are ended, at any moment whatever: nothing stays, the next call is served."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
from trio.testing import MockClock

from gatewayd.auth.principal import ANONYMOUS
from gatewayd.routes.table import Gateway, SessionLife
from gatewayd.sessions.memo import Memo
from gatewayd.upstreams.healing import HealingPeer
from tests.support import wire
from tests.support.checkpoints import at_every_step, cut, interrupt
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.inprocess import FRONTS, Front, InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

CALLS = {
    "an answer": wire.call("echo", text="hi"),
    "a stream": wire.call("progress", steps=2, delay=0.03),
    "an error": wire.call("nope"),
    "a failure": wire.call("fail", how="close"),
    "a large answer": wire.call("big", bytes=200_000),
}


def never_reopened(memo: Memo) -> HealingPeer:
    """No session may get lost here."""
    raise AssertionError("the session is gone")


class Rest:
    """What must be true after each cut."""

    def __init__(self, gateway: InProcess, server: CountingServer) -> None:
        self._gateway = gateway
        self._server = server

    async def __call__(self) -> None:
        await self._gateway.settle()
        self._gateway.assert_at_rest()
        await wait_until(lambda: self._server.script.counters.in_flight == 0, 10)
        async with self._gateway.connect_http1() as client:
            reply = await client.ask(wire.modern("tools/call", wire.call("echo", text="still there")))
            assert reply.status == 200


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("case", CALLS)
async def test_a_modern_client_leaves(
    case: str, front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async def call(begin: Callable[[], None]) -> None:
        async with gateway.connect(front) as client:
            begin()
            await client.ask(wire.modern("tools/call", CALLS[case], progress="p"))

    assert await at_every_step(lambda steps: cut(call, steps), Rest(gateway, server)) > 10


@pytest.mark.parametrize("case", CALLS)
async def test_a_legacy_client_leaves(
    case: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)

    async def call(begin: Callable[[], None]) -> None:
        async with gateway.connect_http1() as client:
            begin()
            await client.ask(wire.legacy("tools/call", CALLS[case], session=session))

    rest = Rest(gateway, server)

    async def check() -> None:
        await rest()
        found = await gateway.registry.find(session, ANONYMOUS, "/mcp", never_reopened)
        assert found is not None
        assert found.idle

    assert await at_every_step(lambda steps: cut(call, steps), check) > 10


async def test_a_client_leaves_while_its_session_opens(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async def call(begin: Callable[[], None]) -> None:
        async with gateway.connect_http1() as client:
            begin()
            await client.ask(wire.initialize())

    rest = Rest(gateway, server)

    async def check() -> None:
        await rest()
        await wait_until(lambda: server.counters["sessions"] == len(gateway.registry), 10)

    assert await at_every_step(lambda steps: cut(call, steps), check) > 10


async def test_a_client_leaves_its_get_stream(server: CountingServer, autojump_clock: MockClock) -> None:
    table = simple_table(server.port, Gateway(session=SessionLife(resume=0.5)))
    async with open_gateway(table) as gateway:
        async with gateway.connect_http1() as client:
            session = await wire.open_session(client)

        async def call(begin: Callable[[], None]) -> None:
            async with gateway.connect_http1() as client, gateway.connect_http1() as other:
                begin()
                await client.send(wire.get_stream(session))
                await client.head()
                await other.ask(wire.legacy("tools/call", wire.call("notify"), session=session))
                await client.event()

        rest = Rest(gateway, server)

        async def check() -> None:
            await rest()
            await wait_until(lambda: server.counters["streams"] == 0, 10)

        assert await at_every_step(lambda steps: cut(call, steps), check) > 10


async def test_the_very_first_call_is_cut_while_the_era_is_asked(autojump_clock: MockClock) -> None:
    for steps in range(1, 150, 2):
        async with open_counting_server() as server, open_gateway(simple_table(server.port)) as gateway:

            async def call(begin: Callable[[], None], gateway: InProcess = gateway) -> None:
                async with gateway.connect_http1() as client:
                    begin()
                    await client.ask(wire.modern("tools/call", CALLS["an answer"]))

            await cut(call, steps)
            await Rest(gateway, server)()


@pytest.mark.parametrize("front", ["tcp", "http/2"])
@pytest.mark.parametrize("case", CALLS)
async def test_a_modern_call_is_ended(
    case: str, front: Literal["tcp", "http/2"], gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    """Whatever the call was doing, its client gets one answer: the real one, or the news that it was ended."""
    seen: set[int | None] = set()

    async def call(begin: Callable[[], None]) -> None:
        async with gateway.connect_tcp() if front == "tcp" else gateway.connect_http2() as client:
            begin()
            reply = await client.ask(wire.modern("tools/call", CALLS[case], id="mine", progress="p"))
            message = reply.json()
            assert message["id"] == "mine"
            seen.add(message.get("error", {}).get("code"))

    trial = partial(interrupt, call, gateway.exchange.end_all)
    assert await at_every_step(trial, Rest(gateway, server)) > 10
    assert -31009 in seen
    assert len(seen) == 2


@pytest.mark.parametrize("case", CALLS)
async def test_a_legacy_call_is_ended(
    case: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)

    async def call(begin: Callable[[], None]) -> None:
        async with gateway.connect_http1() as client:
            begin()
            reply = await client.ask(wire.legacy("tools/call", CALLS[case], session=session, id="mine"))
            assert reply.json()["id"] == "mine"

    rest = Rest(gateway, server)

    async def check() -> None:
        await rest()
        found = await gateway.registry.find(session, ANONYMOUS, "/mcp", never_reopened)
        assert found is not None
        assert found.idle

    assert await at_every_step(partial(interrupt, call, gateway.exchange.end_all), check) > 10


async def test_the_opening_of_a_session_is_ended(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async def call(begin: Callable[[], None]) -> None:
        async with gateway.connect_http1() as client:
            begin()
            await client.ask(wire.initialize())

    rest = Rest(gateway, server)

    async def check() -> None:
        await rest()  # a session whose opening was cut may stay at the upstream: nobody has learned its id
        await wait_until(lambda: server.counters["sessions"] >= len(gateway.registry), 10)

    assert await at_every_step(partial(interrupt, call, gateway.exchange.end_all), check) > 10


async def test_the_end_of_a_session_is_ended(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async def call(begin: Callable[[], None]) -> None:
        async with gateway.connect_http1() as client:
            session = await wire.open_session(client)
            begin()
            await client.ask(wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session}))

    rest = Rest(gateway, server)

    async def check() -> None:
        await rest()
        await wait_until(lambda: server.counters["sessions"] == len(gateway.registry), 10)

    assert await at_every_step(partial(interrupt, call, gateway.exchange.end_all), check) > 10
