"""Clients of HTTP+SSE (MCP 2024-11-05): the stream is the session, and everything is said on it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import ApiKey, ApiKeyStrategy, ClientBounds, Gateway, Route
from tests.exchange.old_client import ECHO, OLD, at_rest, connected, endpoint, get, ready, sse_table
from tests.support import wire
from tests.support.checkpoints import at_every_step, cut
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.inprocess import FRONTS, Client, Front, InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

KEYS = {"alice": "gwk_alice_alice_alice_alice", "bob": "gwk_bob_bob_bob_bob_bob_bob"}


POST = {"Content-Type": "application/json", "Accept": "*/*"}


@pytest.fixture
async def gateway(server: CountingServer) -> AsyncIterator[InProcess]:
    """A gateway with two routes for such clients."""
    async with open_gateway(sse_table(server.port)) as gateway:
        yield gateway


async def test_a_session_from_beginning_to_end(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with connected(gateway) as client:
        assert client.endpoint.startswith("/mcp?")
        opened = await client.ask(wire.initialize(version=OLD))
        assert opened["result"]["protocolVersion"]
        await client.tell(wire.legacy("notifications/initialized", id=None))
        answer = await client.ask(wire.legacy("tools/call", ECHO, id="a"))
        assert (answer["id"], answer["result"]["content"][0]["text"]) == ("a", "hi")
        failed = await client.ask(wire.legacy("tools/call", wire.call("fail", how="close"), id=2))
        assert (failed["id"], failed["error"]["code"]) == (2, -31001)
        assert server.counters["sessions"] == 1
    await at_rest(gateway, server)
    assert server.counters["initialized"] == 1


@pytest.mark.parametrize("front", FRONTS)
async def test_messages_may_come_in_any_way(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with ready(gateway) as client, gateway.connect(front) as other:
        reply = await other.ask(wire.legacy("tools/call", ECHO, path=client.endpoint))
        assert reply.status == 202
        assert (await client.message())["id"] == 1


@pytest.mark.parametrize("front", ["http/1.1+tls", "http/2"])
async def test_the_stream_may_come_in_any_way(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as stream, gateway.connect_http1() as other:
        await stream.send(get())
        assert (await stream.head()).status == 200
        async with aclosing(read(stream)) as frames:
            where = (await anext(frames)).data
            assert isinstance(where, str)
            assert (await other.ask(wire.initialize(where, version=OLD))).status == 202
            opened = (await anext(frames)).data
            assert isinstance(opened, dict)
            assert opened["result"]["serverInfo"]
    await at_rest(gateway, server)


async def read(stream: Client) -> AsyncGenerator[wire.Frame]:
    """The events of a stream on any front."""
    text = b""
    while (part := await stream.part()) is not None:
        text += part
        whole, separator, text = text.replace(b"\r\n", b"\n").rpartition(b"\n\n")
        for frame in wire.split_frames(whole + separator):
            yield frame


async def test_progress_questions_and_what_is_said_unasked(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with ready(gateway) as client:
        steps = wire.call("progress", steps=2, delay=1) | {"_meta": {"progressToken": "p"}}
        first = await client.ask(wire.legacy("tools/call", steps, id=1))
        assert first["params"] == {"progressToken": "p", "progress": 1, "total": 2}
        assert (await client.message())["params"]["progress"] == 2
        assert (await client.message())["result"]["content"][0]["text"] == "2 steps"

        question = await client.ask(wire.legacy("tools/call", wire.call("ask"), id=2))
        assert question["method"] == "elicitation/create"
        answer = await client.ask(wire.legacy(None, id=question["id"], result={"action": "decline"}))
        assert (answer["id"], "decline" in answer["result"]["content"][0]["text"]) == (2, True)

        await client.tell(wire.legacy("tools/call", wire.call("notify"), id=3))
        both = [await client.message(), await client.message()]
        assert {message.get("method", message.get("id")) for message in both} == {
            "notifications/tools/list_changed",
            3,
        }


async def test_calls_overtake_each_other_and_are_cancelled(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with ready(gateway) as client:
        await client.tell(wire.legacy("tools/call", wire.call("hang"), id="slow"))
        await wait_until(lambda: server.counters["in_flight"] == 1)
        assert (await client.ask(wire.legacy("tools/call", ECHO, id="fast")))["id"] == "fast"
        again = await client.ask(wire.legacy("tools/call", ECHO, id="slow"))
        assert again["error"]["code"] == -32600
        await client.tell(wire.legacy("notifications/cancelled", {"requestId": "slow"}, id=None))
        await wait_until(lambda: server.counters["cancelled"] == 1)
        assert (await client.ask(wire.legacy("ping", id="next")))["id"] == "next"


async def test_leaving_ends_the_session_and_what_runs_in_it(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with ready(gateway) as client:
        await client.tell(wire.legacy("tools/call", wire.call("hang")))
        await wait_until(lambda: server.counters["in_flight"] == 1)
        where = client.endpoint
    await wait_until(lambda: server.counters["in_flight"] == 0, 5)
    await at_rest(gateway, server)
    async with gateway.connect_http1() as other:
        assert (await other.ask(wire.legacy("ping", path=where))).status == 404


async def test_before_initialize(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    async with connected(gateway) as client:
        await client.tell(wire.legacy("notifications/initialized", id=None))
        await client.tell(wire.legacy(None, id=5, result={}))
        refused = await client.ask(wire.legacy("tools/call", ECHO, id=7))
        assert (refused["id"], refused["error"]["code"]) == (7, -32600)
        assert server.counters["initialized"] == 0
        await client.initialize()
        again = await client.ask(wire.initialize(version=OLD))
        assert (again["id"], again["error"]["code"]) == (1, -32600)
    await at_rest(gateway, server)


async def test_two_initializes_at_once_open_one_session(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with connected(gateway) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(client.tell, wire.initialize(version=OLD))
        answers = [await client.message() for _ in range(3)]
        assert sorted("result" in answer for answer in answers) == [False, False, True]
        assert len(gateway.registry) == 1
    await at_rest(gateway, server)


async def test_initialize_may_fail_and_be_tried_again(autojump_clock: MockClock) -> None:
    async with open_counting_server() as server:
        port = server.port
    async with open_gateway(sse_table(port)) as gateway, connected(gateway) as client:
        failed = await client.ask(wire.initialize(version=OLD))
        assert failed["error"]["code"] == -31001
        async with open_counting_server(port=port) as server:
            await client.initialize()
            assert server.counters["sessions"] == 1
            assert (await client.post(wire.legacy("ping"))).status == 202


async def test_who_has_no_ticket_is_told_as_much(server: CountingServer, autojump_clock: MockClock) -> None:
    keys = tuple(ApiKey(name, hashlib.sha256(key.encode()).digest()) for name, key in KEYS.items())
    table = attrs.evolve(
        sse_table(server.port),
        routes={path: Route(path, ("web",), ("keys",), sse=True) for path in ("/mcp", "/other")},
        strategies={"keys": ApiKeyStrategy("keys", keys)},
    )
    alice, bob = ({"X-API-Key": key} for key in KEYS.values())
    async with open_gateway(table) as gateway, connected(gateway, alice) as client:
        ticket = client.endpoint.partition("?")[2]
        assert len(ticket) >= 40
        ping = wire.legacy_message("ping")
        for where, headers, status in (
            (client.endpoint, bob, 404),
            (f"/other?{ticket}", alice, 404),
            (client.endpoint[:-1], alice, 404),
            (client.endpoint + "x", alice, 404),
            ("/mcp?session=", alice, 404),
            ("/mcp?session=" + "x" * 32, alice, 404),
            ("/mcp", alice, 400),
            ("/mcp?other=1", alice, 400),
            (client.endpoint, {}, 401),
        ):
            async with gateway.connect_http1() as other:
                reply = await other.ask(wire.post(ping, path=where, headers=headers))
            assert (where, reply.status) == (where, status)
        assert not server.seen
        refused = await client.ask(wire.post(ping, headers=alice))
        assert refused["id"] == 1


async def test_calls_at_once_are_limited(server: CountingServer, autojump_clock: MockClock) -> None:
    async with (
        open_gateway(sse_table(server.port, Gateway(max=ClientBounds(calls=2)))) as gateway,
        ready(gateway) as client,
    ):
        for number in (1, 2):
            await client.tell(wire.legacy("tools/call", wire.call("hang"), id=number))
        refused = await client.post(wire.legacy("tools/call", ECHO, id=3))
        assert (refused.json()["id"], refused.json()["error"]["code"]) == (3, -31004)
        assert refused.headers["retry-after"] == "1"


BAD = {
    "no JSON": (wire.http_request("POST", "/mcp", POST, b"{"), 400),
    "no message": (wire.http_request("POST", "/mcp", POST, b"{}"), 400),
    "a batch": (wire.post([wire.legacy_message("ping")]), 400),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_no_message_is_refused_at_once(case: str, gateway: InProcess, autojump_clock: MockClock) -> None:
    request, status = BAD[case]
    async with ready(gateway) as client:
        assert (await client.post(request)).status == status
        assert (await client.ask(wire.legacy("ping")))["id"] == 1


async def test_a_route_that_does_not_ask_for_it(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(simple_table(server.port)) as gateway, gateway.connect_http1() as client:
        assert (await client.ask(get())).status == 400
        assert (await client.ask(wire.legacy("ping", path="/mcp?session=" + "x" * 32))).status == 400
        assert (await client.ask(wire.initialize("/mcp?session=x"))).status == 200


async def test_other_transports_live_beside_it(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with ready(gateway), gateway.connect_http1() as client:
        session = await wire.open_session(client)
        assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
        assert "result" in (await client.ask(wire.modern("tools/call", ECHO))).json()
        modern = get({"MCP-Protocol-Version": wire.MODERN})
        assert (await client.ask(modern)).status == 405
        assert (await client.ask(get({"MCP-Protocol-Version": wire.LEGACY}))).status == 400


async def test_what_is_said_unasked_comes_as_soon_as_the_service_can_say_it(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    """The service has lost its connections when the standing stream is opened."""
    async with connected(gateway) as client:
        await client.ask(wire.initialize(version=OLD))
        await wait_until(lambda: server.counters["streams"] == 1)
        await server.drop_streams()
        await wait_until(lambda: server.counters["streams"] == 1, 40)
        await client.tell(wire.legacy("tools/call", wire.call("notify"), id=3))
        both = [await client.message(), await client.message()]
        assert any(message.get("method") == "notifications/tools/list_changed" for message in both)


async def test_a_session_that_the_upstream_forgot(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with ready(gateway) as client:
        server.sessions.clear()
        assert "result" in await client.ask(wire.legacy("tools/call", ECHO))
        assert server.counters["initialized"] == 2


async def test_a_drain_lets_calls_end(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    async with ready(gateway) as client, connected(gateway) as other:
        await client.tell(wire.legacy("tools/call", wire.call("progress", steps=1, delay=3)))
        await trio.sleep(1)
        gateway.drain()
        assert await other.stream.frame() is None
        assert (await client.message())["result"]["content"][0]["text"] == "1 steps"
        assert await client.stream.frame() is None
        await gateway.exchange.wait_idle()


async def test_a_drain_that_takes_too_long_is_an_error_of_the_call(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with ready(gateway) as client:
        await client.tell(wire.legacy("tools/call", wire.call("hang"), id="x"))
        await trio.sleep(1)
        gateway.drain()
        gateway.exchange.end_all()
        final = await client.message()
        assert (final["id"], final["error"]["code"]) == ("x", -31009)
        assert await client.stream.frame() is None
        await gateway.exchange.wait_idle()


async def test_the_session_ends_and_so_does_the_stream(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with ready(gateway) as client:
        await gateway.registry.end_where(lambda session: True)
        assert await client.stream.frame() is None


async def test_cut_anywhere(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    slow = wire.call("progress", steps=1, delay=0.03) | {"_meta": {"progressToken": "p"}}

    async def visit(begin: Callable[[], None]) -> None:
        async with gateway.connect_http1() as stream, gateway.connect_http1() as other:
            begin()
            where = await endpoint(stream)
            await other.ask(wire.initialize(where, version=OLD))
            await stream.frame()
            await other.ask(wire.legacy("tools/call", slow, path=where))
            await stream.frame()
            await stream.frame()
            await other.ask(wire.legacy("tools/call", wire.call("notify"), path=where, id=2))
            await stream.frame()

    async def check() -> None:
        await at_rest(gateway, server)
        await wait_until(lambda: server.counters["in_flight"] == 0, 10)

    assert await at_every_step(partial(cut, visit), check) > 10


async def test_a_client_that_leaves_in_mid_sentence_is_no_crash(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ready(gateway) as client:
        await wait_until(lambda: server.counters["streams"] == 1)
        await trio.aclose_forcefully(client.stream.stream)
        await server.announce({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    await at_rest(gateway, server)
    assert "crashed" not in capsys.readouterr().out
