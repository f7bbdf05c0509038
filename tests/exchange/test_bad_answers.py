"""Questions of an upstream, and what hostile or hurried clients answer to them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import ClientBounds, Gateway, SessionLife
from gatewayd.sessions.session import MAX_ASKED
from tests.support import wire
from tests.support.counting_http import Connection, Lost
from tests.support.counting_server import CountingServer
from tests.support.inprocess import InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

ASK = wire.call("ask", message="Well?")
DECLINE = {"action": "decline"}


def answers_seen(server: CountingServer) -> list[wire.Json]:
    """The answers to its questions that the upstream got."""
    messages = [seen["message"] for seen in server.seen]
    return [message for message in messages if message and "method" not in message]


async def question_on(client: wire.WireClient, session: str, ident: int | str = 1) -> wire.Json:
    """Call a tool that asks: the question."""
    await client.send(wire.legacy("tools/call", ASK, session=session, id=ident))
    assert (await client.head()).status == 200
    question = await client.event()
    assert question is not None
    assert question["method"] == "elicitation/create"
    return question


async def tell(gateway: InProcess, request: bytes) -> None:
    async with gateway.connect_http1() as client:
        assert (await client.ask(request)).status == 202


@pytest.mark.parametrize("ident", [1, 0, -1, "1", 2**62, "ask-1", ""])
async def test_an_answer_to_what_was_never_asked_goes_nowhere(
    ident: int | str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        question = await question_on(client, session, "call")
        assert question["id"] != ident
        await tell(gateway, wire.legacy(None, id=ident, result=DECLINE, session=session))
        await tell(gateway, wire.legacy(None, id=str(question["id"]), result=DECLINE, session=session))
        await trio.sleep(1)
        assert answers_seen(server) == []
        assert server.counters["in_flight"] == 1
        await tell(gateway, wire.legacy(None, id=question["id"], result=DECLINE, session=session))
        assert "result" in (await client.event() or {})
    assert len(answers_seen(server)) == 1


async def test_only_the_first_answer_counts(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        question = await question_on(client, session)
        async with trio.open_nursery() as nursery:
            for action in ("accept", "decline", "cancel"):
                answer = wire.legacy(None, id=question["id"], result={"action": action}, session=session)
                nursery.start_soon(tell, gateway, answer)
        assert "result" in (await client.event() or {})
        await tell(gateway, wire.legacy(None, id=question["id"], result=DECLINE, session=session))
    assert len(answers_seen(server)) == 1


async def test_an_error_is_an_answer(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        question = await question_on(client, session)
        error = {"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "no", "data": [1]}}
        await tell(gateway, wire.post(error, session=session))
        assert "result" in (await client.event() or {})
    [answer] = answers_seen(server)
    assert answer["error"] == error["error"]
    assert answer["id"] != question["id"]


async def test_an_answer_after_the_call_was_cancelled_goes_nowhere(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        question = await question_on(client, session, "x")
        await tell(gateway, wire.legacy("notifications/cancelled", {"requestId": "x"}, id=None, session=session))
        assert await client.event() is None
        await wait_until(lambda: server.counters["cancelled"] == 1)
        await tell(gateway, wire.legacy(None, id=question["id"], result=DECLINE, session=session))
        await trio.sleep(1)
    assert answers_seen(server) == []


async def test_a_hundred_questions_may_wait_and_no_more(server: CountingServer, autojump_clock: MockClock) -> None:
    table = simple_table(server.port, Gateway(max=ClientBounds(calls=200)))
    async with open_gateway(table) as gateway, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(gateway.connect_http1()) for _ in range(MAX_ASKED + 1)]
        session = await wire.open_session(clients[0])
        questions = [await question_on(client, session, number) for number, client in enumerate(clients[:-1])]
        assert len({question["id"] for question in questions}) == MAX_ASKED == 100
        one_more = await clients[-1].ask(wire.legacy("tools/call", ASK, session=session, id="more"))
        [refused] = answers_seen(server)
        assert refused["error"]["code"] == -32603
        assert "too many" in one_more.json()["result"]["content"][0]["text"]
        for question in questions:
            await tell(gateway, wire.legacy(None, id=question["id"], result=DECLINE, session=session))
        for number, client in enumerate(clients[:-1]):
            assert (await client.event() or {})["id"] == number
        await question_on(clients[-1], session, "again")  # there is room again


QUESTION = {"jsonrpc": "2.0", "id": "q", "method": "roots/list"}


async def test_a_question_on_the_standing_stream(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        await client.send(wire.get_stream(session))
        await client.head()
        await wait_until(lambda: server.counters["streams"] == 1)
        await server.announce(QUESTION)
        asked = await client.event() or {}
        assert (asked["method"], asked["id"] != "q") == ("roots/list", True)
        await tell(gateway, wire.legacy(None, id=asked["id"], result={"roots": []}, session=session))
        assert [answer["id"] for answer in answers_seen(server)] == ["q"]

        await server.announce(QUESTION | {"id": "r"})
        withdrawn = await client.event() or {}
        params = {"requestId": "r", "reason": "never mind"}
        await server.announce({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        cancelled = await client.event() or {}
        assert cancelled["params"] == {"requestId": withdrawn["id"], "reason": "never mind"}
        await tell(gateway, wire.legacy(None, id=withdrawn["id"], result={"roots": []}, session=session))
        assert len(answers_seen(server)) == 1


async def test_a_question_that_nobody_is_there_to_answer(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(simple_table(server.port, Gateway(session=SessionLife(resume=5)))) as gateway:
        async with gateway.connect_http1() as client:
            session = await wire.open_session(client)
            await client.send(wire.get_stream(session))
            await client.head()
            await wait_until(lambda: server.counters["streams"] == 1)
        await server.announce(QUESTION)
        await trio.sleep(4)
        assert answers_seen(server) == []
        await wait_until(lambda: len(answers_seen(server)) == 1, 3)
    [answer] = answers_seen(server)
    assert (answer["id"], answer["error"]["code"]) == ("q", -32603)


async def test_a_person_may_take_longer_than_the_service(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        session = await wire.open_session(client)
        question = await question_on(client, session)
        await trio.sleep(300)
        await tell(gateway, wire.legacy(None, id=question["id"], result=DECLINE, session=session))
        assert "result" in (await client.event() or {})


async def ask_and_take_back(stream: trio.abc.Stream) -> None:
    """An upstream that asks and takes it back, every 50 seconds, and never answers a call."""
    async with stream:
        connection = Connection(stream)
        while (request := await connection.next_request()) is not None:
            message = json.loads(request.body or b"{}")
            ident = message.get("id")
            if message.get("method") == "initialize":
                result = {
                    "protocolVersion": wire.LEGACY,
                    "capabilities": {},
                    "serverInfo": {"name": "x", "version": "1"},
                }
                await connection.reply(200, {"jsonrpc": "2.0", "id": ident, "result": result})
            elif message.get("method") == "tools/call":
                await connection.start_stream()
                for number in itertools.count():
                    question = {"jsonrpc": "2.0", "id": number, "method": "elicitation/create", "params": {}}
                    await connection.event(question)
                    taken_back = {"requestId": number}
                    await connection.event(
                        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": taken_back}
                    )
                    await trio.sleep(50)
            else:
                await connection.reply(202, None)


async def test_questions_that_are_taken_back_buy_the_service_no_time(autojump_clock: MockClock) -> None:
    """A question stops the clock of the service, and its end lets it go on where it stood."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, carefully(ask_and_take_back), [listener])
        table = simple_table(listener.socket.getsockname()[1])
        async with open_gateway(table) as gateway, gateway.connect_http1() as client:
            session = await wire.open_session(client)
            began = trio.current_time()
            await client.send(wire.legacy("tools/call", ASK, session=session, id=7))
            assert (await client.head()).status == 200
            last = [event async for event in client.events()][-1]
            assert last["error"]["code"] == -31002
            assert 59 < trio.current_time() - began < 70
        nursery.cancel_scope.cancel()


def carefully(serve: Callable[[trio.abc.Stream], Awaitable[None]]) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A server that does not mind clients which leave."""

    async def served(stream: trio.abc.Stream) -> None:
        with suppress(Lost, trio.BrokenResourceError):
            await serve(stream)

    return served
