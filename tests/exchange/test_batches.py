"""Batches of MCP 2025-03-26: every element is a call of its own, and the answers come together."""

from __future__ import annotations

import json
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
from tests.support.inprocess import FRONTS, Front, InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

V25A = "2025-03-26"
BARE = {"MCP-Protocol-Version": V25A}


def request(ident: int | str, params: wire.Json, method: str = "tools/call") -> wire.Json:
    return wire.legacy_message(method, params, id=ident)


def echo(ident: int | str, text: str = "hi") -> wire.Json:
    return request(ident, wire.call("echo", text=text))


def notification(method: str = "notifications/progress") -> wire.Json:
    return wire.legacy_message(method, {"progressToken": 1, "progress": 1}, id=None)


def batch(session: str, *messages: wire.Json) -> bytes:
    return wire.post(list(messages), session=session, headers=BARE)


def elements(reply: wire.Reply) -> list[wire.Json]:
    """The answers in an array."""
    answers: list[wire.Json] = json.loads(reply.body)
    assert isinstance(answers, list)
    return answers


def text_of(message: wire.Json) -> str:
    text: str = message["result"]["content"][0]["text"]
    return text


async def new_session(gateway: InProcess, version: str = V25A) -> str:
    async with gateway.connect_http1() as client:
        return await wire.open_session(client, version=version)


@pytest.mark.parametrize("front", FRONTS)
async def test_each_request_is_answered_once(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    async with gateway.connect(front) as client:
        reply = await client.ask(batch(session, echo(1, "a"), echo("1", "b"), request("x", {}, "tools/list")))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    answers = {answer["id"]: answer for answer in elements(reply)}
    assert len(elements(reply)) == 3
    assert (text_of(answers[1]), text_of(answers["1"])) == ("a", "b")
    assert answers["x"]["result"]["tools"]
    assert not any(isinstance(seen["message"], list) for seen in server.seen)


async def test_a_batch_of_one(gateway: InProcess, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client:
        [answer] = elements(await client.ask(batch(session, echo(1))))
    assert answer["id"] == 1


async def test_what_wants_no_answer_gets_none(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    answer = wire.legacy_message(None, id=99, result={})
    async with gateway.connect_http1() as client:
        reply = await client.ask(batch(session, notification(), answer, notification()))
        assert (reply.status, reply.body) == (202, b"")
        [mixed] = elements(await client.ask(batch(session, notification(), echo(5), answer)))
        assert mixed["id"] == 5
        server.sessions.clear()
        server.script.eras = "modern"  # no session can be had any more
        broken = await client.ask(batch(session, notification(), answer))
        assert (broken.status, broken.body) == (202, b"")


@pytest.mark.parametrize("version", [wire.LEGACY, "2025-06-18"])
@pytest.mark.parametrize("named", [True, False])
async def test_other_revisions_have_no_batches(
    version: str, named: bool, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway, version)
    headers = {"MCP-Protocol-Version": version} if named else BARE
    async with gateway.connect_http1() as client:
        reply = await client.ask(wire.post([echo(1)], session=session, headers=headers))
    assert (reply.status, reply.json()["error"]["code"]) == (400, -32600)
    assert server.counters["started"] == 0


async def test_the_header_is_not_needed(gateway: InProcess, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    request = batch(session, echo(1)).replace(b"MCP-Protocol-Version: 2025-03-26\r\n", b"")
    async with gateway.connect_http1() as client:
        assert len(elements(await client.ask(request))) == 1


REFUSED: dict[str, tuple[list[wire.Json], int]] = {
    "nothing": ([], -32600),
    "initialize": ([request(1, {"protocolVersion": V25A}, "initialize")], -32600),
    "initialize among others": ([echo(1), request(2, {"protocolVersion": V25A}, "initialize")], -32600),
    "too many": ([echo(number) for number in range(5)], -32600),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_batch_that_is_refused_as_a_whole(case: str, server: CountingServer, autojump_clock: MockClock) -> None:
    messages, code = REFUSED[case]
    async with open_gateway(simple_table(server.port, Gateway(max=ClientBounds(calls=4)))) as gateway:
        session = await new_session(gateway)
        async with gateway.connect_http1() as client:
            reply = await client.ask(batch(session, *messages))
            assert (reply.status, reply.json()["error"]["code"]) == (400, code)
            assert "id" not in reply.json()
            assert len(elements(await client.ask(batch(session, *(echo(number) for number in range(4)))))) == 4
    assert server.counters["started"] == 4


@pytest.mark.parametrize("body", [b"[", b"[1,]", b'[{"jsonrpc":"2.0"} {}]'])
async def test_no_json(body: bytes, gateway: InProcess, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    whole = wire.http_request(
        "POST",
        "/mcp",
        {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Mcp-Session-Id": session,
        },
        body,
    )
    async with gateway.connect_http1() as client:
        reply = await client.ask(whole)
    assert (reply.status, reply.json()["error"]["code"]) == (400, -32700)


async def test_without_a_session_there_are_no_batches(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        assert (await client.ask(wire.post([echo(1)]))).status == 400
        assert (await client.ask(wire.post([echo(1)], session="x" * 40, headers=BARE))).status == 404
        modern = wire.post([echo(1)], headers={"MCP-Protocol-Version": wire.MODERN})
        reply = await client.ask(modern)
        assert (reply.status, reply.json()["error"]["code"]) == (400, -32600)
    assert not server.seen


async def test_elements_fail_alone(gateway: InProcess, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    messages = [
        echo(1),
        request(2, wire.call("fail", how="close")),
        request(3, wire.call("nope")),
        {"jsonrpc": "1.0", "id": 4, "method": "ping"},
        echo(5),
        echo(5),
    ]
    async with gateway.connect_http1() as client:
        reply = await client.ask(batch(session, *messages))
    answers = elements(reply)
    assert reply.status == 200
    assert len(answers) == 6
    codes = {answer.get("id"): answer["error"]["code"] for answer in answers if "error" in answer}
    assert codes == {2: -31001, 3: -32602, 4: -32600, 5: -32600}
    assert sorted(answer["id"] for answer in answers if "result" in answer) == [1, 5]


async def test_a_slow_element_makes_it_a_stream(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    slow = wire.call("progress", steps=2, delay=1) | {"_meta": {"progressToken": "p"}}
    async with gateway.connect_http1() as client:
        await client.send(batch(session, echo("fast"), request("slow", slow)))
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        frames = await client.frames()
        assert len(elements(await client.ask(batch(session, echo(1))))) == 1  # the connection is in order
    messages = [frame.data for frame in frames]
    assert all(isinstance(message, dict) for message in messages)
    steps = [m["params"]["progress"] for m in messages if isinstance(m, dict) and "method" in m]
    finals = {m["id"]: m for m in messages if isinstance(m, dict) and "id" in m}
    assert steps == [1, 2]
    assert set(finals) == {"fast", "slow"}
    assert len(messages) == 4


async def test_a_long_silence_is_filled(gateway: InProcess, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    slow = wire.call("progress", steps=1, delay=20)
    async with gateway.connect_http1() as client:
        await client.send(batch(session, echo("fast"), request("slow", slow)))
        body = (await client.reply()).body
    assert body.startswith(b":")
    frames = wire.split_frames(body)
    finals = [frame.data["id"] for frame in frames if isinstance(frame.data, dict)]
    assert sorted(finals) == ["fast", "slow"]


async def test_questions_in_a_batch(gateway: InProcess, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        await client.send(batch(session, request(1, wire.call("ask")), request(2, wire.call("ask"))))
        await client.head()
        questions = [await client.event(), await client.event()]
        assert all(question is not None for question in questions)
        answers = [
            wire.legacy_message(None, id=question["id"], result={"action": "decline"})
            for question in questions
            if question is not None
        ]
        assert (await other.ask(batch(session, *answers))).status == 202
        finals = [message async for message in client.events()]
    assert sorted(final["id"] for final in finals) == [1, 2]
    assert all("decline" in text_of(final) for final in finals)


async def test_one_element_is_cancelled(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        await client.send(batch(session, request("x", wire.call("hang")), echo("y")))
        await wait_until(lambda: server.counters["in_flight"] == 1)
        cancel = wire.legacy_message("notifications/cancelled", {"requestId": "x"}, id=None)
        assert (await other.ask(batch(session, cancel))).status == 202
        assert [answer["id"] for answer in elements(await client.reply())] == ["y"]
    await wait_until(lambda: server.counters["cancelled"] == 1)


async def test_a_disconnect_cancels_nothing_within_the_window(autojump_clock: MockClock) -> None:
    async with open_counting_server() as server:
        table = simple_table(server.port, Gateway(session=SessionLife(resume=5)))
        async with open_gateway(table) as gateway:
            session = await new_session(gateway)
            async with gateway.connect_http1() as client:
                slow = request(1, wire.call("progress", steps=1, delay=3))
                await client.send(batch(session, slow, request(2, wire.call("hang"))))
                await wait_until(lambda: server.counters["in_flight"] == 2)
            await trio.sleep(4)
            assert (server.counters["finished"], server.counters["cancelled"]) == (1, 0)
            await wait_until(lambda: server.counters["cancelled"] == 1, 2)
            await gateway.settle()
            gateway.assert_at_rest()


async def test_deleting_the_session_ends_the_batch(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        await client.send(batch(session, request(1, wire.call("hang")), request(2, wire.call("hang"))))
        await wait_until(lambda: server.counters["in_flight"] == 2)
        await other.ask(wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session}))
        assert wire.split_events((await client.reply()).body) == []
    await wait_until(lambda: server.counters["in_flight"] == 0)


async def test_a_drain_tells_each_element(gateway: InProcess, autojump_clock: MockClock) -> None:
    session = await new_session(gateway)
    async with gateway.connect_http1() as client:
        await client.send(batch(session, echo(1), request(2, wire.call("hang")), request(3, wire.call("hang"))))
        await trio.sleep(1)
        gateway.drain()
        await trio.sleep(1)
        gateway.exchange.end_all()
        answers = elements(await client.reply())
        codes = {answer["id"]: answer.get("error", {}).get("code") for answer in answers}
        assert codes == {1: None, 2: -31009, 3: -31009}


async def test_cut_anywhere(server: CountingServer, autojump_clock: MockClock) -> None:
    table = simple_table(server.port, Gateway(session=SessionLife(resume=0.2)))
    async with open_gateway(table) as gateway:
        session = await new_session(gateway)
        slow = wire.call("progress", steps=2, delay=0.03) | {"_meta": {"progressToken": "p"}}

        async def call(begin: Callable[[], None]) -> None:
            async with gateway.connect_http1() as client:
                begin()
                await client.ask(batch(session, echo(1), notification(), request(2, slow)))

        async def check() -> None:
            await gateway.settle()
            gateway.assert_at_rest()
            await wait_until(lambda: server.counters["in_flight"] == 0, 10)
            found = await gateway.registry.find(session, ANONYMOUS, "/mcp", lambda memo: pytest.fail("it is gone"))
            assert found is not None
            assert found.idle

        assert await at_every_step(partial(cut, call), check) > 10


async def test_the_array_is_as_large_as_its_answers(server: CountingServer, autojump_clock: MockClock) -> None:
    """Several large answers at once, on a connection that is read slowly, are all whole."""
    async with open_gateway(simple_table(server.port)) as gateway:
        session = await new_session(gateway)
        async with gateway.connect_http1(stalling=True) as client:
            large = [request(number, wire.call("big", bytes=100_000)) for number in range(5)]
            answers = elements(await client.ask(batch(session, *large)))
    assert [len(text_of(answer)) for answer in answers] == [100_000] * 5
    assert server.counters["finished"] == 5
