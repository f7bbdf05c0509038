"""Upstreams that misbehave: one well-formed error with the right code, in time, and the next call works."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import Bounds, HttpTarget, Service, Timeouts
from tests.support import wire
from tests.support.inprocess import open_gateway, simple_table
from tests.support.raw_upstream import CLOSE, HANG, ID, RawUpstream, http, open_raw_upstream

DIED, TIMED_OUT, TOO_LARGE, BROKE = -31001, -31002, -31006, -31007
RESULT = b'{"jsonrpc":"2.0","id":' + ID + b',"result":{"content":[]}}'
GOOD = http(200, RESULT)
EVENTS = b"text/event-stream"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
ERROR = b'{"jsonrpc":"2.0","id":' + ID + b',"error":{"code":-1,"message":"no"}}'
REQUEST = b'{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}'


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


FAULTS: dict[str, tuple[list[bytes], int, int]] = {
    "no answer": ([HANG], TIMED_OUT, 504),
    "half a head": ([PLAIN, HANG], TIMED_OUT, 504),
    "half a body": ([PLAIN + b"Content-Length: 100\r\n\r\n{", HANG], TIMED_OUT, 504),
    "an empty stream without end": ([STREAM, HANG], TIMED_OUT, 504),
    "close before the head": ([CLOSE], DIED, 502),
    "close in the head": ([PLAIN, CLOSE], DIED, 502),
    "close behind the head": ([PLAIN + b"Content-Length: 100\r\n\r\n", CLOSE], DIED, 502),
    "close in the body": ([PLAIN + b"Content-Length: 100\r\n\r\n{", CLOSE], DIED, 502),
    "close in a chunk": ([PLAIN + b"Transfer-Encoding: chunked\r\n\r\n10\r\n{", CLOSE], DIED, 502),
    "a stream that ends early": ([http(200, event(b""), media=EVENTS)], DIED, 502),
    "a stream that is cut": ([STREAM + b'data: {"jsonrpc"', CLOSE], DIED, 502),
    "no HTTP": ([b"\x00\x01 what\r\n\r\n", CLOSE], BROKE, 502),
    "a banner": ([b"220 smtp.test ESMTP\r\n", CLOSE], DIED, 502),
    "two lengths": ([PLAIN + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", CLOSE], BROKE, 502),
    "two framings": ([PLAIN + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", CLOSE], BROKE, 502),
    "a broken chunk": ([PLAIN + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", CLOSE], BROKE, 502),
    "a switch of protocols": ([b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", CLOSE], BROKE, 502),
    "many interim answers": ([b"HTTP/1.1 100 Continue\r\n\r\n" * 50, CLOSE], BROKE, 502),
    "a head without end": ([b"HTTP/1.1 200 OK\r\n" + b"X-More: y\r\n" * 20_000, CLOSE], BROKE, 502),
    "a redirect": ([http(302, b"", b"Location: http://127.0.0.1:1/")], BROKE, 502),
    "no permission": ([http(401, ERROR, b"WWW-Authenticate: Bearer realm=x")], BROKE, 502),
    "forbidden": ([http(403, ERROR)], BROKE, 502),
    "a page": ([http(200, b"<html>", media=b"text/html")], BROKE, 502),
    "an error page": ([http(500, b"oops", media=b"text/plain")], BROKE, 502),
    "compressed": ([http(200, RESULT, b"Content-Encoding: gzip")], BROKE, 502),
    "no JSON": ([http(200, b"{nope")], BROKE, 502),
    "two results": ([http(200, b'{"jsonrpc":"2.0","id":1,"result":{},"result":{}}')], BROKE, 502),
    "no JSON-RPC": ([http(200, b'{"hello":"world"}')], BROKE, 502),
    "nothing": ([http(200, b"")], BROKE, 502),
    "the id of another request": ([http(200, b'{"jsonrpc":"2.0","id":99999,"result":{}}')], BROKE, 502),
    "our id as a string": ([http(200, b'{"jsonrpc":"2.0","id":"' + ID + b'","result":{}}')], BROKE, 502),
    "a request of its own": ([http(200, event(REQUEST), media=EVENTS)], BROKE, 502),
    "an event that is no JSON": ([http(200, event(b"{nope"), media=EVENTS)], BROKE, 502),
    "a declared size that is too large": ([PLAIN + b"Content-Length: 100001\r\n\r\n", HANG], TOO_LARGE, 502),
    "a body that is too large": ([http(200, b" " * 100_001)], TOO_LARGE, 502),
    "an event that is too large": ([STREAM, b"data: " + b"x" * 200_000, HANG], TOO_LARGE, 502),
    "an event without end": ([STREAM, *[b"data: x\n" * 10_000] * 5, HANG], TOO_LARGE, 502),
}


def limited(upstream: RawUpstream) -> Service:
    timeouts, bounds = Timeouts(call=5.0, connect=2.0), Bounds(response=100_000)
    return Service("web", HttpTarget("", "http", "127.0.0.1", upstream.port, "/"), timeouts, bounds)


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
async def test_a_fault_is_one_error_for_its_call_alone(case: str, kept: bool, autojump_clock: MockClock) -> None:
    answer, code, status = FAULTS[case]
    async with open_raw_upstream() as upstream:
        table = simple_table(upstream.port, service=limited(upstream))
        async with open_gateway(table) as gateway, gateway.connect_http1() as client:
            upstream.answer = [GOOD]
            if kept:
                assert (await call(client)).status == 200
            upstream.answer = answer
            started = trio.current_time()
            reply = await call(client, id="mine")
            assert trio.current_time() - started <= 5.1
            error = reply.json()["error"]
            assert (reply.status, reply.json()["id"], error["code"]) == (status, "mine", code)
            assert error["data"] == {"correlationId": reply.headers["x-request-id"]}
            assert "127.0.0.1" not in error["message"]
            assert upstream.calls == 1 + kept  # what may have been executed is not repeated
            upstream.answer = [GOOD]
            for _ in range(3):
                assert (await call(client)).status == 200
            await gateway.settle_calls()
            assert gateway.upstream().pool.open == gateway.upstream().pool.idle


async def call(client: wire.WireClient, **options: Any) -> wire.Reply:
    return await client.ask(wire.modern("tools/call", wire.call("any"), **options))


async def test_bytes_behind_an_answer_spoil_the_connection_only(autojump_clock: MockClock) -> None:
    async with open_raw_upstream() as upstream:
        async with open_gateway(simple_table(upstream.port)) as gateway, gateway.connect_http1() as client:
            upstream.answer = [GOOD + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]
            for _ in range(3):
                assert (await call(client)).json()["result"] == {"resultType": "complete", "content": []}
        assert max(upstream.served) <= 2


@pytest.mark.parametrize("ending", [b"", b"Connection: close\r\n"])
async def test_a_connection_that_the_upstream_gave_up_is_replaced(ending: bytes, autojump_clock: MockClock) -> None:
    async with (
        open_raw_upstream() as upstream,
        open_gateway(simple_table(upstream.port)) as gateway,
        gateway.connect_http1() as client,
    ):
        upstream.answer = [GOOD.replace(b"\r\n\r\n", b"\r\n" + ending + b"\r\n", 1), CLOSE]
        for _ in range(3):
            assert (await call(client)).status == 200
            await trio.testing.wait_all_tasks_blocked()


async def test_an_upstream_that_is_not_there(autojump_clock: MockClock) -> None:
    async with open_raw_upstream() as upstream:
        port = upstream.port
    async with open_gateway(simple_table(port)) as gateway, gateway.connect_http1() as client:
        reply = await call(client, id=7)
        assert (reply.status, reply.json()["id"], reply.json()["error"]["code"]) == (502, 7, DIED)
        assert str(port) not in reply.json()["error"]["message"]


async def test_a_failure_in_mid_stream_is_the_last_event(autojump_clock: MockClock) -> None:
    progress = (
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":' + ID + b',"progress":1}}'
    )
    async with open_raw_upstream() as upstream:
        table = simple_table(upstream.port, service=limited(upstream))
        async with open_gateway(table) as gateway, gateway.connect_http1() as client:
            for ending, code in ((CLOSE, DIED), (b"data: {nope\n\n", BROKE), (HANG, TIMED_OUT)):
                upstream.answer = [STREAM, event(progress), ending, CLOSE]
                await client.send(wire.modern("tools/call", wire.call("any"), id="mine", progress="p"))
                assert (await client.head()).status == 200
                first, last = [message async for message in client.events()]
                assert first["params"]["progressToken"] == "p"
                assert (last["id"], last["error"]["code"]) == ("mine", code)


async def test_progress_of_another_call_is_dropped(autojump_clock: MockClock) -> None:
    progress = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":77,"progress":1}}'
    async with (
        open_raw_upstream() as upstream,
        open_gateway(simple_table(upstream.port)) as gateway,
        gateway.connect_http1() as client,
    ):
        upstream.answer = [STREAM, event(progress), event(RESULT), CLOSE]
        await client.send(wire.modern("tools/call", wire.call("any"), progress="p"))
        reply = await client.reply()
        assert "result" in reply.json()
        assert b"progressToken" not in reply.body


INJECTED = ["a\nevent: x", "a\r\rdata: {}", "a\r\n\r\ndata: {}", "\u2028\u2029\x85", "\0\x1b[31m", "id: 1\nretry: 1"]


@pytest.mark.parametrize("text", INJECTED)
async def test_nothing_in_an_answer_can_forge_an_event(text: str, autojump_clock: MockClock) -> None:
    result = b'{"jsonrpc":"2.0","id":' + ID + b',"result":{"text":' + json.dumps(text).encode() + b"}}"
    notice = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": text}}
    async with (
        open_raw_upstream() as upstream,
        open_gateway(simple_table(upstream.port)) as gateway,
        gateway.connect_http1() as client,
    ):
        upstream.answer = [STREAM, event(json.dumps(notice).encode()), event(result), CLOSE]
        reply = await call(client)
        first, last = wire.split_events(reply.body)
        assert (first["params"]["data"], last["result"]["text"]) == (text, text)
        assert b"\nevent" not in reply.body
        assert b"\nretry" not in reply.body


async def test_the_error_of_an_upstream_keeps_its_words_and_gets_our_id(autojump_clock: MockClock) -> None:
    async with (
        open_raw_upstream() as upstream,
        open_gateway(simple_table(upstream.port)) as gateway,
        gateway.connect_http1() as client,
    ):
        for status in (200, 400, 500):
            upstream.answer = [http(status, ERROR)]
            reply = await call(client, id="mine")
            assert (reply.status, reply.json()["id"]) == (200, "mine")
            assert reply.json()["error"] == {"code": -1, "message": "no"}


async def test_a_session_is_not_poisoned_by_a_fault(autojump_clock: MockClock) -> None:
    async with open_raw_upstream() as upstream:
        table = simple_table(upstream.port, service=limited(upstream))
        async with open_gateway(table) as gateway, gateway.connect_http1() as client:
            session = await wire.open_session(client)
            for answer, code, _ in FAULTS.values():
                if answer == FAULTS["a request of its own"][0]:
                    continue  # allowed in this era
                upstream.answer = answer
                reply = await client.ask(wire.legacy("tools/call", wire.call("any"), session=session, id="mine"))
                assert (reply.status, reply.json()["id"], reply.json()["error"]["code"]) == (200, "mine", code)
            upstream.answer = [GOOD]
            assert "result" in (await client.ask(wire.legacy("tools/call", {}, session=session))).json()
