"""Sessions while a reload replaces their service."""

from __future__ import annotations

import attrs
import trio
from trio.testing import MockClock

from gatewayd.daemon.generation import provision
from gatewayd.routes.table import Service, Timeouts
from tests.support import wire
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.inprocess import InProcess, open_gateway, simple_table

ECHO = wire.call("echo", text="hi")


async def reload(gateway: InProcess, service: Service, drain: float) -> None:
    """As the daemon does it."""
    table = attrs.evolve(gateway.table, services={"web": service})
    new = await provision(2, table, gateway.services, gateway.virtuals, "now")
    gateway.exchange.plans = new.plans
    await gateway.registry.move()
    gateway.services.use(new.services, drain)


async def test_a_body_that_is_slower_than_a_reload_does_not_bring_the_session_back_to_what_was_replaced(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as slow, gateway.connect_http1() as client:
        session = await wire.open_session(client)
        request = wire.legacy("tools/call", ECHO, session=session, id=7)
        await slow.send(request[:-5])
        await trio.sleep(0.2)
        await reload(gateway, attrs.evolve(gateway.table.services["web"], timeouts=Timeouts(call=59.0)), drain=1.0)
        await slow.send(request[-5:])
        assert "result" in (await slow.reply()).json()
        await trio.sleep(5)
        reply = await client.ask(wire.legacy("tools/call", ECHO, session=session, id=8))
        assert (reply.status, "result" in reply.json()) == (200, True)


async def test_the_session_id_of_one_service_is_not_shown_to_another(autojump_clock: MockClock) -> None:
    async with open_counting_server(eras="legacy") as one, open_counting_server(eras="legacy") as other:
        other.minted = 100
        async with open_gateway(simple_table(one.port)) as gateway:
            async with gateway.connect_http1() as client:
                session = await wire.open_session(client)
            await gateway.registry.suspend()
        [theirs] = one.sessions
        async with open_gateway(simple_table(other.port)) as gateway, gateway.connect_http1() as client:
            assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
        assert theirs not in {seen["headers"].get("mcp-session-id") for seen in other.seen}
