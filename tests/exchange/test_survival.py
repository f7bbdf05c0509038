"""Sessions that outlive the gateway, and upstreams that do not outlive the sessions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from gatewayd.auth.principal import ANONYMOUS
from gatewayd.routes.table import ClientBounds, Gateway, SessionLife
from tests.support import wire
from tests.support.checkpoints import at_every_step, cut
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.inprocess import InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

ECHO = wire.call("echo", text="hi")


async def restarted(server: CountingServer, capabilities: wire.Json | None = None) -> str:
    """A session of a gateway that is gone."""
    async with open_gateway(simple_table(server.port)) as gateway:
        async with gateway.connect_http1() as client:
            session = await wire.open_session(client, capabilities=capabilities)
        await gateway.registry.suspend()
    return session


def initializes(server: CountingServer) -> list[wire.Json]:
    """The params of every `initialize` that the upstream saw."""
    messages = [seen["message"] for seen in server.seen]
    return [message["params"] for message in messages if message and message.get("method") == "initialize"]


async def test_a_restart_is_not_noticed(server: CountingServer, autojump_clock: MockClock) -> None:
    session = await restarted(server)
    assert server.counters["sessions"] == 1
    async with open_gateway(simple_table(server.port)) as gateway, gateway.connect_http1() as client:
        for number in range(3):
            reply = await client.ask(wire.legacy("tools/call", ECHO, session=session, id=number))
            assert (reply.status, reply.json()["id"]) == (200, number)
        assert (len(gateway.registry), server.counters["initialized"]) == (1, 1)
        gone = await client.ask(wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session}))
        assert gone.status == 204
        assert server.counters["sessions"] == 0
        assert (await client.ask(wire.legacy("ping", session=session))).status == 404


@pytest.mark.parametrize("first", ["GET", "DELETE", "notification", "batch"])
async def test_whatever_comes_first_after_a_restart(
    first: str, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await restarted(server)
    requests = {
        "GET": (wire.get_stream(session), 200),
        "DELETE": (wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session}), 204),
        "notification": (wire.legacy("notifications/roots/list_changed", id=None, session=session), 202),
        "batch": (wire.post([wire.legacy_message("ping")], session=session), 400),
    }
    request, status = requests[first]
    async with open_gateway(simple_table(server.port)) as gateway, gateway.connect_http1() as client:
        await client.send(request)
        assert (await client.head()).status == status
        if first == "GET":
            await server.announce({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            assert await client.event() is not None
    assert server.counters["initialized"] == 1


async def test_a_session_that_was_lost_meanwhile_is_opened_as_it_was(
    server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await restarted(server, {"elicitation": {"form": {}}, "sampling": {}})
    server.sessions.clear()
    async with open_gateway(simple_table(server.port)) as gateway, gateway.connect_http1() as client:
        assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
    before, after = initializes(server)
    assert before == after
    assert server.counters["started"] == 1


async def test_all_calls_that_find_the_session_lost_open_one(server: CountingServer, autojump_clock: MockClock) -> None:
    session = await restarted(server)
    server.sessions.clear()
    answered: list[int] = []

    async def call(gateway: InProcess, number: int) -> None:
        async with gateway.connect_http1() as client:
            reply = await client.ask(wire.legacy("tools/call", ECHO, session=session, id=number))
            assert "result" in reply.json()
            answered.append(reply.json()["id"])

    async with open_gateway(simple_table(server.port)) as gateway, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(call, gateway, number)
    assert sorted(answered) == list(range(20))
    assert (server.counters["sessions"], server.counters["initialized"], server.counters["started"]) == (1, 2, 20)


async def test_one_process_after_the_other_brings_it_back(server: CountingServer, autojump_clock: MockClock) -> None:
    """An id tells of the upstream session that it began with; one that was lost since is found out again."""
    session = await restarted(server)
    for initialized in (2, 3):
        server.sessions.clear()
        async with open_gateway(simple_table(server.port)) as gateway:
            async with gateway.connect_http1() as client:
                assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
            await gateway.registry.suspend()
        assert server.counters["initialized"] == initialized


async def test_a_call_whose_outcome_is_unknown_is_never_repeated(autojump_clock: MockClock) -> None:
    async with open_counting_server() as server:
        port = server.port
        async with open_gateway(simple_table(port)) as gateway, gateway.connect_http1() as client:
            session = await wire.open_session(client)
            for how in ("close", "half", "garbage"):
                broken = wire.legacy("tools/call", wire.call("fail", how=how), session=session)
                assert (await client.ask(broken)).json()["error"]["code"] in (-31001, -31007)
            assert (server.counters["started"], server.counters["initialized"]) == (3, 1)


async def test_an_upstream_that_is_restarted_in_mid_call(autojump_clock: MockClock) -> None:
    async with open_counting_server() as server:
        port = server.port
        async with open_gateway(simple_table(port)) as gateway, gateway.connect_http1() as client:
            session = await wire.open_session(client)
            async with trio.open_nursery() as nursery:
                await client.send(wire.legacy("tools/call", wire.call("hang"), session=session, id="lost"))
                await wait_until(lambda: server.counters["in_flight"] == 1)
                nursery.start_soon(server.stop)
            lost = (await client.reply()).json()
            assert (lost["id"], lost["error"]["code"]) == ("lost", -31001)
            down = (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
            assert down["error"]["code"] == -31001
            async with open_counting_server(port=port) as again:
                assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
                assert (again.counters["started"], again.counters["initialized"]) == (1, 1)


async def test_the_standing_stream_survives_the_upstream_session(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        session = await wire.open_session(other)
        await client.send(wire.get_stream(session))
        await client.head()
        await wait_until(lambda: server.counters["streams"] == 1)
        await server.drop_streams()
        server.sessions.clear()
        await wait_until(lambda: server.counters["streams"] == 1 and server.counters["sessions"] == 1, 60)
        await server.announce(changed)
        assert await client.event() == changed
        assert "result" in (await other.ask(wire.legacy("tools/call", ECHO, session=session))).json()
    assert server.counters["initialized"] == 2


async def test_an_upstream_that_ends_its_stream_at_once_is_not_asked_all_the_time(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        server.fleeting = True
        await client.send(wire.get_stream(session))
        assert (await client.head()).status == 200
        await trio.sleep(300)
        gets = [seen for seen in server.seen if seen["verb"] == "GET"]
        assert 10 <= len(gets) < 30


async def test_there_is_no_room_to_come_back_to(server: CountingServer, autojump_clock: MockClock) -> None:
    session = await restarted(server)
    table = simple_table(server.port, Gateway(max=ClientBounds(sessions=1)))
    async with (
        open_gateway(table) as gateway,
        gateway.connect_http1() as client,
        gateway.connect_http1() as other,
    ):
        busy = await wire.open_session(client)
        await client.send(wire.legacy("tools/call", wire.call("progress", steps=1, delay=5), session=busy))
        await wait_until(lambda: server.counters["in_flight"] == 1)
        full = await other.ask(wire.legacy("tools/call", ECHO, session=session))
        assert (full.json()["error"]["code"], full.headers["retry-after"]) == (-31004, "1")
        assert "result" in (await client.reply()).json()
        assert "result" in (await other.ask(wire.legacy("tools/call", ECHO, session=session))).json()


async def test_a_call_in_a_restart_may_have_had_its_effect_and_is_not_repeated(
    server: CountingServer, autojump_clock: MockClock
) -> None:
    async with open_gateway(simple_table(server.port)) as gateway:
        async with gateway.connect_http1() as client:
            session = await wire.open_session(client)
            await client.send(wire.legacy("tools/call", wire.call("hang"), session=session, id="h"))
            await wait_until(lambda: server.counters["in_flight"] == 1)
            gateway.drain()
            gateway.exchange.end_all()
            assert (await client.reply()).json()["error"]["code"] == -31009
        await gateway.registry.suspend()
    async with open_gateway(simple_table(server.port)) as gateway, gateway.connect_http1() as client:
        assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session, id="h"))).json()
    assert server.counters["started"] == 2


async def test_cut_while_a_session_is_brought_back(server: CountingServer, autojump_clock: MockClock) -> None:
    """Whenever the client leaves, its session stays whole, and the upstream keeps no session that nobody has."""
    session = await restarted(server)
    table = simple_table(server.port, Gateway(session=SessionLife(resume=0.1)))
    async with open_gateway(table) as gateway:

        async def call(begin: Callable[[], None]) -> None:
            server.sessions.clear()
            async with gateway.connect_http1() as client:
                begin()
                await client.ask(wire.legacy("tools/call", ECHO, session=session))

        async def check() -> None:
            await gateway.settle()
            gateway.assert_at_rest()
            async with gateway.connect_http1() as client:
                assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
            await gateway.settle()
            found = await gateway.registry.find(session, ANONYMOUS, "/mcp", lambda memo: pytest.fail("it is gone"))
            assert found is not None
            assert found.idle
            assert len(gateway.registry) == 1
            await wait_until(lambda: server.counters["sessions"] == 1, 10)

        assert await at_every_step(partial(cut, call), check) > 10
