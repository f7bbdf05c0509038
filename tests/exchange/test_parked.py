"""A call that waits for its client's answers, at a service with sessions only, while the configuration changes."""

from __future__ import annotations

from typing import Any

import attrs
import trio
from trio.testing import MockClock

from gatewayd.daemon.generation import provision
from gatewayd.routes.table import Timeouts
from tests.support import wire
from tests.support.counting_server import open_counting_server
from tests.support.inprocess import Client, InProcess, open_gateway, simple_table

DRAIN = 30.0


async def ask(client: Client, **answers: Any) -> Any:
    """The result of a call that asks its client."""
    params = {**wire.call("ask", message="Well?"), **answers}
    request = wire.modern("tools/call", params, capabilities={"elicitation": {}})
    return (await client.ask(request)).json()["result"]


async def replace_service(gateway: InProcess) -> None:
    """As a reload does that changes a service."""
    changed = attrs.evolve(gateway.table.services["web"], timeouts=Timeouts(call=59.0))
    table = attrs.evolve(gateway.table, services={"web": changed})
    generation = await provision(2, table, gateway.services, gateway.virtuals, "now")
    gateway.exchange.plans = generation.plans
    gateway.services.use(generation.services, DRAIN)


async def test_a_parked_call_goes_on_with_the_service_that_began_it(autojump_clock: MockClock) -> None:
    async with (
        open_counting_server(eras="legacy") as server,
        open_gateway(simple_table(server.port)) as gateway,
        gateway.connect_http1() as client,
    ):
        told = await ask(client)
        assert gateway.root.count()["parked"] == 1
        await replace_service(gateway)
        await trio.sleep(DRAIN / 2)
        given = {name: {"action": "accept", "content": {}} for name in told["inputRequests"]}
        answered = await ask(client, requestState=told["requestState"], inputResponses=given)
        assert answered["resultType"] == "complete"
        assert server.counters["started"] == 1


async def test_after_the_drain_it_is_given_up(autojump_clock: MockClock) -> None:
    async with (
        open_counting_server(eras="legacy") as server,
        open_gateway(simple_table(server.port)) as gateway,
        gateway.connect_http1() as client,
    ):
        await ask(client)
        await replace_service(gateway)
        await trio.sleep(DRAIN - 1)
        assert gateway.root.count()["parked"] == 1
        await trio.sleep(2)
        assert gateway.root.count()["parked"] == 0
