"""Who is connected: counted, shown, limited, let go."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import ClientBounds, Gateway
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import FRONTS, Front, InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

HANG = wire.modern("tools/call", wire.call("hang"))


@pytest.mark.parametrize("front", FRONTS)
async def test_connections_and_calls_are_in_the_tree(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        await client.send(HANG)
        await wait_until(lambda: server.script.counters.in_flight == 1)
        tree = gateway.root.count()
        assert (tree["connection"], tree["call"]) == (1, 1)
        assert (gateway.metrics.connections, gateway.metrics.in_flight) == (1, 1)
    await gateway.settle()
    assert gateway.root.count() == gateway.at_rest()


async def test_the_address_of_a_client_is_shown(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_tcp() as client:
        assert isinstance(client.stream, trio.SocketStream)
        await client.ask(wire.modern("tools/call", wire.call("echo", text="hi")))
        host, port = client.stream.socket.getsockname()
        shown = [
            child["label"]
            for listener in gateway.root.snapshot(0)["children"]
            for child in listener["children"]
            if child["kind"] == "connection"
        ]
        assert shown == [f"{host}:{port}"]


async def test_a_place_that_was_left_is_free(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(simple_table(server.port, Gateway(max=ClientBounds(connections=2)))) as gateway:
        for _ in range(3):
            async with gateway.connect_http1() as first, gateway.connect_http1() as second:
                for client in (first, second):
                    reply = await client.ask(wire.modern("tools/call", wire.call("echo", text="hi")))
                    assert reply.status == 200
                async with gateway.connect_http1() as third:
                    busy = await third.reply()
                    assert (busy.status, busy.json()["error"]["code"]) == (503, -31009)
                    assert await third.closed()
            await gateway.settle()
        assert gateway.metrics.refusals["busy"] == 3


async def test_a_handshake_during_a_drain_leads_nowhere(gateway: InProcess, autojump_clock: MockClock) -> None:
    stream = await gateway.secure_clients.connect()
    await trio.testing.wait_all_tasks_blocked()
    gateway.drain()
    started = trio.current_time()
    await gateway.secure.closed.wait()
    assert trio.current_time() - started <= 10.0
    await stream.aclose()


async def test_a_storm_leaves_nothing(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    async def come_and_go(front: Front) -> None:
        async with gateway.connect(front) as client:
            await client.send(HANG)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for number in range(90):
            nursery.start_soon(come_and_go, FRONTS[number % 3])
    await gateway.settle()
    gateway.assert_at_rest()
    await wait_until(lambda: server.script.counters.cancelled == 90)
