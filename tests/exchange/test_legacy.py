"""Revisions with sessions through the gateway: sessions, the GET stream, requests of the server, cancellation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import ApiKey, ApiKeyStrategy, ClientBounds, ErrorStyle, Gateway, Route, SessionLife
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

ECHO = wire.call("echo", text="hi")
KEYS = {"alice": "gwk_alice_alice_alice_alice", "bob": "gwk_bob_bob_bob_bob_bob_bob"}


def delete(session: str) -> bytes:
    return wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session})


@asynccontextmanager
async def listening(gateway: InProcess, session: str) -> AsyncIterator[wire.WireClient]:
    """A client with the GET stream of a session."""
    async with gateway.connect_http1() as client:
        await client.send(wire.get_stream(session))
        assert (await client.head()).status == 200
        yield client


async def test_a_session_from_beginning_to_end(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        reply = await client.ask(wire.legacy("tools/call", ECHO, session=session))
        assert reply.json()["result"]["content"][0]["text"] == "hi"
        listed = await client.ask(wire.legacy("tools/list", session=session, id="list"))
        assert listed.json()["id"] == "list"
        assert gateway.metrics.sessions == server.counters["sessions"] == 1
        assert (await client.ask(delete(session))).status == 204
        assert gateway.metrics.sessions == server.counters["sessions"] == 0
        gone = await client.ask(wire.legacy("ping", session=session))
        assert (gone.status, gone.json()["error"]["code"]) == (404, -32600)


async def test_the_session_id_is_ours(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        ids = {(await client.ask(wire.initialize())).headers["mcp-session-id"] for _ in range(20)}
    assert len(ids) == 20
    assert all(len(ident) >= 32 and "session-" not in ident for ident in ids)
    assert not ids & {seen["headers"].get("mcp-session-id") for seen in server.seen}


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [("2025-11-25", "2025-11-25"), ("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-11-25")],
)
async def test_the_revision_is_negotiated(
    asked: str, agreed: str, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        reply = await client.ask(wire.initialize().replace(b"2025-11-25", asked.encode()))
    assert reply.json()["result"]["protocolVersion"] == agreed


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (wire.legacy("tools/list"), 400, -32600),
        (wire.legacy("tools/list", session="unknown"), 404, -32600),
        (delete("unknown"), 404, -32600),
        (wire.get_stream("unknown"), 404, -32600),
        (wire.http_request("GET", "/mcp", {"Accept": "text/event-stream"}), 400, -32600),
    ],
)
async def test_without_a_session_nothing_is_passed_on(
    request_: bytes, status: int, code: int, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        reply = await client.ask(request_)
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)
    assert not server.seen


async def test_errors_with_an_id_come_with_200_unless_the_route_says_otherwise(
    server: CountingServer, autojump_clock: MockClock
) -> None:
    table = simple_table(server.port)
    styles: tuple[tuple[ErrorStyle, int], ...] = (("jsonrpc", 200), ("http", 502))
    for errors, status in styles:
        route = attrs.evolve(table.routes["/mcp"], errors=errors)
        async with (
            open_gateway(attrs.evolve(table, routes={"/mcp": route})) as gateway,
            gateway.connect_http1() as client,
        ):
            session = await wire.open_session(client)
            failed = wire.legacy("tools/call", wire.call("fail", how="close"), session=session)
            reply = await client.ask(failed)
        assert (reply.status, reply.json()["error"]["code"]) == (status, -31001)


async def test_a_session_belongs_to_its_principal(server: CountingServer, autojump_clock: MockClock) -> None:
    keys = tuple(ApiKey(name, hashlib.sha256(key.encode()).digest()) for name, key in KEYS.items())
    table = attrs.evolve(
        simple_table(server.port),
        routes={"/mcp": Route("/mcp", ("web",), ("keys",)), "/other": Route("/other", ("web",), ("keys",))},
        strategies={"keys": ApiKeyStrategy("keys", keys)},
    )
    alice, bob = ({"X-API-Key": key} for key in KEYS.values())
    async with open_gateway(table) as gateway, gateway.connect_http1() as client:
        session = (await client.ask(wire.initialize(headers=alice))).headers["mcp-session-id"]
        before = len(server.seen)
        for attempt in (
            wire.legacy("tools/call", ECHO, session=session, headers=bob),
            wire.legacy("notifications/cancelled", {"requestId": 1}, id=None, session=session, headers=bob),
            wire.get_stream(session, headers=bob),
            wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session, **bob}),
            wire.legacy("tools/call", ECHO, session=session, headers=alice, path="/other"),
        ):
            assert (await client.ask(attempt)).status == 404
        assert (await client.ask(wire.legacy("tools/call", ECHO, session=session))).status == 401
        assert len(server.seen) == before
        assert (await client.ask(wire.legacy("tools/call", ECHO, session=session, headers=alice))).status == 200


async def test_cancellation_reaches_the_upstream_and_the_stream_ends_without_an_answer(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        session = await wire.open_session(client)
        await client.send(wire.legacy("tools/call", wire.call("hang"), session=session, id="x"))
        await wait_until(lambda: server.script.counters.in_flight == 1)
        cancel = wire.legacy("notifications/cancelled", {"requestId": "x"}, id=None, session=session)
        assert (await other.ask(cancel)).status == 202
        reply = await client.reply()
        assert (reply.status, wire.split_events(reply.body)) == (200, [])
        await wait_until(lambda: server.script.counters.cancelled == 1)
        assert (await client.ask(wire.legacy("tools/call", ECHO, session=session))).status == 200
    assert server.counters["cancel_notifications"] == 1


@pytest.mark.parametrize("ident", ["1", 2, None, [1], 1.0])
async def test_cancelling_what_does_not_run_is_harmless(
    ident: object, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        session = await wire.open_session(client)
        await client.send(wire.legacy("tools/call", wire.call("progress", steps=1, delay=2), session=session, id=1))
        await trio.sleep(1)
        cancel = wire.legacy("notifications/cancelled", {"requestId": ident}, id=None, session=session)
        assert (await other.ask(cancel)).status == 202
        assert "result" in (await client.reply()).json()
    assert server.counters["cancelled"] == 0


async def test_progress_and_questions_of_the_server(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        session = await wire.open_session(client, capabilities={"elicitation": {}})
        meta = {"_meta": {"progressToken": "mine"}}
        steps = wire.call("progress", steps=2, delay=1) | meta
        await client.send(wire.legacy("tools/call", steps, session=session, id=2**53 + 1))
        assert (await client.head()).status == 200
        *progress, final = [event async for event in client.events()]
        assert [event["params"]["progressToken"] for event in progress] == ["mine", "mine"]
        assert final["id"] == 2**53 + 1

        await client.send(wire.legacy("tools/call", wire.call("ask", message="Colour?"), session=session, id="a"))
        assert (await client.head()).status == 200
        question = await client.event()
        assert question is not None
        assert question["method"] == "elicitation/create"
        answer = {"action": "accept", "content": {"answer": "teal"}}
        for _ in range(2):  # the second answer to one question is accepted and means nothing
            accepted = await other.ask(wire.legacy(None, id=question["id"], result=answer, session=session))
            assert accepted.status == 202
        final_answer = await client.event()
        assert final_answer is not None
        assert json.loads(final_answer["result"]["content"][0]["text"]) == answer


async def test_an_answer_to_a_question_of_another_session_goes_nowhere(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        session, foreign = await wire.open_session(client), await wire.open_session(other)
        await client.send(wire.legacy("tools/call", wire.call("ask"), session=session))
        await client.head()
        question = await client.event()
        assert question is not None
        forged = wire.legacy(None, id=question["id"], result={"action": "decline"}, session=foreign)
        assert (await other.ask(forged)).status == 202
        await trio.sleep(1)
        assert server.script.counters.in_flight == 1
        real = wire.legacy(None, id=question["id"], result={"action": "accept"}, session=session)
        assert (await other.ask(real)).status == 202
        final = await client.event()
        assert final is not None
        assert "accept" in final["result"]["content"][0]["text"]


async def test_the_get_stream(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as other:
        session = await wire.open_session(other)
        async with listening(gateway, session) as client:
            await other.ask(wire.legacy("tools/call", wire.call("notify"), session=session))
            event = await client.event()
            assert event is not None
            assert event["method"] == "notifications/tools/list_changed"
            second = await other.ask(wire.get_stream(session))
            assert (second.status, second.json()["error"]["code"]) == (409, -32600)
            assert server.counters["streams"] == 1
        await trio.sleep(SessionLife().resume - 1)
        assert server.counters["streams"] == 1
        await wait_until(lambda: server.counters["streams"] == 0)
        async with listening(gateway, session) as client:
            assert (await other.ask(delete(session))).status == 204
            assert await client.event() is None


async def test_deleting_a_session_ends_its_calls(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        session = await wire.open_session(client)
        await client.send(wire.legacy("tools/call", wire.call("hang"), session=session))
        await wait_until(lambda: server.script.counters.in_flight == 1)
        assert (await other.ask(delete(session))).status == 204
        assert (await client.reply()).status == 200
        await wait_until(lambda: server.script.counters.in_flight == 0)


async def test_one_id_runs_once_at_a_time(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        session = await wire.open_session(client)
        slow = wire.call("progress", steps=1, delay=2)
        await client.send(wire.legacy("tools/call", slow, session=session, id=1))
        await trio.sleep(1)
        refused = (await other.ask(wire.legacy("tools/call", ECHO, session=session, id=1))).json()
        assert refused["error"]["code"] == -32600
        assert "result" in (await other.ask(wire.legacy("tools/call", ECHO, session=session, id="1"))).json()
        assert "result" in (await client.reply()).json()


async def test_calls_of_one_session_are_limited(server: CountingServer, autojump_clock: MockClock) -> None:
    async with (
        open_gateway(simple_table(server.port, Gateway(max=ClientBounds(calls=1)))) as gateway,
        gateway.connect_http1() as client,
        gateway.connect_http1() as other,
    ):
        session = await wire.open_session(client)
        slow = wire.call("progress", steps=1, delay=2)
        await client.send(wire.legacy("tools/call", slow, session=session, id=1))
        await trio.sleep(1)
        refused = await other.ask(wire.legacy("tools/call", ECHO, session=session, id=2))
        assert (refused.json()["error"]["code"], refused.headers["retry-after"]) == (-31004, "1")
        assert "result" in (await client.reply()).json()


async def test_an_idle_session_makes_room_and_a_busy_one_does_not(
    server: CountingServer, autojump_clock: MockClock
) -> None:
    async with (
        open_gateway(simple_table(server.port, Gateway(max=ClientBounds(sessions=1)))) as gateway,
        gateway.connect_http1() as client,
        gateway.connect_http1() as other,
    ):
        first = await wire.open_session(client)
        second = await wire.open_session(client)
        assert server.counters["sessions"] == 1
        assert (await client.ask(wire.legacy("ping", session=first))).status == 200
        assert (server.counters["sessions"], server.counters["initialized"]) == (1, 3)
        await client.send(wire.legacy("tools/call", wire.call("progress", steps=1, delay=2), session=second))
        await trio.sleep(1)
        full = await other.ask(wire.initialize())
        assert full.json()["error"]["code"] == -31004
        assert "result" in (await client.reply()).json()
    assert server.counters["sessions"] == 1


async def test_sessions_expire(server: CountingServer, autojump_clock: MockClock) -> None:
    async with (
        open_gateway(simple_table(server.port, Gateway(session=SessionLife(idle=20, ttl=60)))) as gateway,
        gateway.connect_http1() as client,
    ):
        session = await wire.open_session(client)
        for _ in range(3):
            await trio.sleep(15)
            assert (await client.ask(wire.legacy("ping", session=session))).status == 200
        await trio.sleep(25)
        assert (await client.ask(wire.legacy("ping", session=session))).status == 404
        assert server.counters["sessions"] == 0


async def test_a_session_that_the_upstream_forgot_is_opened_again_unseen(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        for initialized in (2, 3):
            server.sessions.clear()
            assert "result" in (await client.ask(wire.legacy("tools/call", ECHO, session=session))).json()
            assert server.counters["initialized"] == initialized
    assert server.script.counters.started == 2
    assert len(gateway.registry) == 1
