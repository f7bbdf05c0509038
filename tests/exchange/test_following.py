"""Standing streams of both eras while a reload puts something else behind their route."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.daemon.generation import provision
from gatewayd.routes.table import HttpTarget, Route, Service, Table, Timeouts
from gatewayd.routes.virtual import Member, Virtual
from tests.exchange.returning import first_frame, new_session, said
from tests.support import wire
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.inprocess import InProcess, open_gateway, simple_table

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CHANGED = {f"notifications/{name}/list_changed" for name in ("tools", "prompts", "resources")}
LISTEN = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["demo://a"]}}
SOON = 0.5
"""Seconds after a reload."""


async def reload(gateway: InProcess, table: Table) -> None:
    """As the daemon does it."""
    new = await provision(2, table, gateway.services, gateway.virtuals, "now")
    gateway.table, gateway.exchange.plans = table, new.plans
    gateway.virtuals.use(new.virtuals, 1.0)
    await gateway.exchange.revoke()
    await gateway.registry.move()
    gateway.services.use(new.services, 1.0)


def one(table: Table) -> Table:
    """The same service, but another definition of it."""
    web = attrs.evolve(table.services["web"], timeouts=Timeouts(call=59.0))
    return attrs.evolve(table, services={"web": web})


def several(table: Table, port: int) -> Table:
    """Two services in the place of one."""
    more = Service("more", HttpTarget(f"http://127.0.0.1:{port}/mcp", "http", "127.0.0.1", port, "/mcp"))
    virtual = Virtual((Member("web", "web"), Member("more", "more")))
    routes = {"/mcp": Route("/mcp", ("web", "more"), virtual=virtual)}
    return attrs.evolve(table, services={**table.services, "more": more}, routes=routes)


@pytest.fixture(params=["another definition", "several services"])
def change(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def changed(change: str, gateway: InProcess, server: CountingServer) -> Table:
    return one(gateway.table) if change == "another definition" else several(gateway.table, server.port)


async def test_a_stateless_client_goes_on_listening(
    change: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        await client.send(wire.modern("subscriptions/listen", LISTEN, id="mine"))
        await client.head()
        acknowledged = await client.event()
        assert acknowledged is not None
        await reload(gateway, changed(change, gateway, server))
        with trio.fail_after(SOON):
            told = [await client.event(), await client.event()]
        assert [event and event["method"] for event in told] == [
            "notifications/tools/list_changed",
            "notifications/resources/updated",
        ]
        assert all(event and event["params"]["_meta"][SUBSCRIPTION] == "mine" for event in told)
        if change == "another definition":
            await other.ask(wire.modern("tools/call", wire.call("notify")))
            heard = await client.event()
            assert heard is not None
            assert heard["method"] == "notifications/tools/list_changed"
        await trio.sleep(5)  # what it began with is not kept for it
        assert gateway.root.count()["service"] == len(gateway.table.services)


async def test_the_stream_of_a_session_goes_on(
    change: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        await client.send(wire.get_stream(session))
        await client.head()
        await reload(gateway, changed(change, gateway, server))
        with trio.fail_after(SOON):
            told = [said(await first_frame(client)) for _ in CHANGED]
        assert {message["method"] for message in told} == CHANGED
        names = await tools(other, session)
        assert ("web__echo" in names, "more__echo" in names) == (change == "several services",) * 2
        await trio.sleep(5)
        assert gateway.root.count()["service"] == len(gateway.table.services)


async def test_a_session_of_several_services_goes_on_with_one(autojump_clock: MockClock) -> None:
    async with open_counting_server() as server:
        alone = simple_table(server.port)
        async with open_gateway(several(alone, server.port)) as gateway:
            session = await new_session(gateway)
            async with gateway.connect_http1() as client, gateway.connect_http1() as other:
                await client.send(wire.get_stream(session))
                await client.head()
                assert "web__echo" in await tools(other, session)
                await reload(gateway, attrs.evolve(alone, gateway=gateway.table.gateway))
                with trio.fail_after(SOON):
                    told = [said(await first_frame(client)) for _ in CHANGED]
                assert {message["method"] for message in told} == CHANGED
                assert "echo" in await tools(other, session)
                await trio.sleep(5)
                assert gateway.root.count()["virtual"] == 0


async def tools(client: Any, session: str) -> set[str]:
    """The names that the session lists."""
    listed = (await client.ask(wire.legacy("tools/list", {}, session=session))).json()
    return {tool["name"] for tool in listed["result"]["tools"]}
