"""HTTP/1.1 byte by byte: order, framing, deadlines, and clients that leave in every possible way."""

from __future__ import annotations

from typing import cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import ClientTimeouts, Gateway
from gatewayd.upstreams.service import Upstream
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

ECHO = wire.modern("tools/call", wire.call("echo", text="hi"))
HANG = wire.modern("tools/call", wire.call("hang"))


def slow(delay: float, number: int) -> bytes:
    return wire.modern("tools/call", wire.call("progress", steps=1, delay=delay), id=number)


def chunked(request: bytes, size: int) -> bytes:
    """The same request, its body in chunks."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in chunks)
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + coded + b"0\r\n\r\n"


async def test_pipelined_requests_are_answered_in_order(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        await client.send(slow(3, 1) + slow(1, 2) + b"\r\n" + slow(0.001, 3))
        assert [(await client.reply()).json()["id"] for _ in range(3)] == [1, 2, 3]


async def test_a_request_may_come_byte_by_byte(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        for byte in wire.addressed(ECHO, "gateway.test"):
            await client.stream.send_all(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.reply()).status == 200


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_body_may_be_chunked(size: int, gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        for _ in range(2):
            assert (await client.ask(chunked(ECHO, size))).status == 200


async def test_a_chunked_body_that_is_too_large_is_refused(gateway: InProcess, autojump_clock: MockClock) -> None:
    request = wire.modern("tools/call", wire.call("echo", text="x" * 5_000_000))
    async with gateway.connect_http1() as client:
        assert (await client.ask(chunked(request, 65_536))).status == 413
        assert await client.closed()


async def test_a_client_that_asks_is_told_to_continue(gateway: InProcess, autojump_clock: MockClock) -> None:
    head, _, body = wire.modern(
        "tools/call", wire.call("echo", text="hi"), headers={"Expect": "100-continue"}
    ).partition(b"\r\n\r\n")
    async with gateway.connect_http1() as client:
        await client.send(head + b"\r\n\r\n")
        assert await client.stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.ask(body)).status == 200


async def test_nobody_is_told_to_continue_into_a_refusal(gateway: InProcess, autojump_clock: MockClock) -> None:
    head, _, _ = wire.modern(
        "tools/call", wire.call("echo", text="hi"), path="/nowhere", headers={"Expect": "100-continue"}
    ).partition(b"\r\n\r\n")
    async with gateway.connect_http1() as client:
        await client.send(head + b"\r\n\r\n")
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (404, "close")
        assert await client.closed()


async def test_http10_is_answered_without_chunks(gateway: InProcess, autojump_clock: MockClock) -> None:
    streamed = wire.modern("tools/call", wire.call("progress", steps=2, delay=1), progress=1)
    async with gateway.connect_http1() as client:
        await client.send(streamed.replace(b" HTTP/1.1", b" HTTP/1.0"))
        answer = b"".join([part async for part in client.stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert len(wire.split_events(body)) == 3


async def test_http10_may_stay_connected(gateway: InProcess, autojump_clock: MockClock) -> None:
    kept = ECHO.replace(b" HTTP/1.1", b" HTTP/1.0").replace(b"\r\nHost", b"\r\nConnection: keep-alive\r\nHost")
    async with gateway.connect_http1() as client:
        for _ in range(2):
            assert (await client.ask(kept)).headers["connection"] == "keep-alive"


async def test_a_client_may_ask_to_close(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        await client.send(ECHO.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost") + ECHO)
        assert (await client.reply()).headers["connection"] == "close"
        assert await client.closed()


async def test_a_client_that_has_said_everything_still_gets_a_quick_answer(
    gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        assert isinstance(client.stream, trio.abc.HalfCloseableStream)
        await client.send(ECHO)
        await client.stream.send_eof()
        assert (await client.reply()).status == 200
        assert await client.closed()


SMUGGLED = {
    "two framings": (b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"0\r\n\r\n", 400),
    "two lengths": (b"Content-Length: 2\r\nContent-Length: 4", b"{}", 400),
    "a list of lengths": (b"Content-Length: 2, 2", b"{}", 400),
    "a signed length": (b"Content-Length: +2", b"{}", 400),
    "an unknown coding": (b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n", 501),
    "an odd coding": (b"Transfer-Encoding: xchunked", b"0\r\n\r\n", 501),
    "a broken chunk size": (b"Transfer-Encoding: chunked", b"0x2\r\n{}\r\n0\r\n\r\n", 400),
    "a chunk without its end": (b"Transfer-Encoding: chunked", b"2\r\n{}X0\r\n\r\n", 400),
    "a folded field": (b"X-Folded: a\r\n b", b"", 400),
    "a space before the colon": (b"Content-Length : 2", b"{}", 400),
    "a bare line feed": (b"X-Bare: a\nContent-Length: 2", b"{}", 400),
    "a NUL": (b"X-Nul: \0", b"", 400),
    "two hosts": (b"Host: gateway.test", b"", 400),
}


@pytest.mark.parametrize("case", SMUGGLED)
async def test_what_is_ambiguous_is_refused_and_nothing_behind_it_is_read(
    case: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    fields, body, status = SMUGGLED[case]
    first = b"POST /mcp HTTP/1.1\r\nHost: gateway.test\r\nAccept: */*\r\nContent-Type: application/json\r\n"
    async with gateway.connect_http1() as client:
        await client.send(first + fields + b"\r\n\r\n" + body + ECHO)
        reply = await client.reply()
        assert reply.status == status
        assert reply.headers["connection"] == "close"
        assert "error" in reply.json()
        assert await client.closed()
    assert server.counters["started"] == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET http://gateway.test/mcp HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
        (b"CONNECT gateway.test:80 HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
        (b"post /mcp HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (b"GET /mcp HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n\r\n\r\n", 400),
        (b"x" * 40_000, 414),
    ],
)
async def test_what_is_no_request_is_refused(
    data: bytes, status: int, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        await client.send(data)
        assert (await client.reply()).status == status
        assert await client.closed()


async def test_cleartext_is_never_upgraded(gateway: InProcess, autojump_clock: MockClock) -> None:
    upgrade = b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nHost"
    async with gateway.connect_http1() as client:
        for _ in range(2):
            assert (await client.ask(ECHO.replace(b"\r\nHost", upgrade))).status == 200


async def test_a_head_without_end_is_cut(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        await trio.sleep(20)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dribble, client, ECHO)
            reply = await client.reply()
            nursery.cancel_scope.cancel()
        assert reply.status == 408
        assert trio.current_time() - started == pytest.approx(10.0, abs=0.11)
        assert await client.closed()
    assert gateway.metrics.refusals["too_slow"] == 1


async def dribble(client: wire.WireClient, data: bytes) -> None:
    for byte in data:
        await client.send(bytes([byte]))
        await trio.sleep(1)


@pytest.mark.parametrize("request_", [ECHO, chunked(ECHO, 50)], ids=["length", "chunked"])
async def test_every_early_close_executes_nothing(
    request_: bytes, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    whole = wire.addressed(request_, "gateway.test")
    for size in range(len(whole)):
        async with gateway.connect_http1() as client:
            await client.stream.send_all(whole[:size])
            if size % 2:
                await trio.testing.wait_all_tasks_blocked()
    await gateway.settle()
    gateway.assert_at_rest()
    assert server.counters["started"] == 0


BEHIND = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "one byte": b"P",
    "a request": ECHO,
    "garbage": b"\0" * 100,
    "70 KiB": b"POST /mcp HTTP/1.1\r\n" + b"x" * 70 * 1024,
}


@pytest.mark.parametrize("way", ["memory", "tcp"])
@pytest.mark.parametrize("behind", BEHIND)
async def test_a_client_that_leaves_is_noticed_behind_whatever_it_sent(
    behind: str, way: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    if way == "memory" and behind == "70 KiB":
        pytest.skip("streams in memory cannot be asked whether they have ended")
    async with gateway.connect_http1() if way == "memory" else gateway.connect_tcp() as client:
        await client.send(HANG)
        await wait_until(lambda: server.script.counters.in_flight == 1)
        await client.send(BEHIND[behind])
        await trio.sleep(1)
        assert server.script.counters.in_flight == 1
    left = trio.current_time()
    await wait_until(lambda: server.script.counters.cancelled == 1)
    assert trio.current_time() - left < 0.2
    await gateway.settle()
    assert server.counters["started"] == 1


async def test_an_upgrade_field_does_not_hide_a_client_that_leaves(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        await client.send(HANG.replace(b"\r\nHost", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost"))
        await wait_until(lambda: server.script.counters.in_flight == 1)
    await wait_until(lambda: server.script.counters.cancelled == 1)


async def test_what_is_sent_behind_a_waiting_call_is_not_hoarded(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_tcp() as client:
        await client.send(HANG)
        await wait_until(lambda: server.script.counters.in_flight == 1)
        with trio.move_on_after(5) as patience:
            await client.send(b"x" * 50_000_000)
        assert patience.cancelled_caught
    # Its farewell is stuck behind what we do not read; the next comment finds out.
    left = trio.current_time()
    await gateway.settle_clients()
    assert trio.current_time() - left < 16


async def test_a_client_that_does_not_read_is_given_up(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1(stalling=True) as client:
        await client.send(wire.modern("tools/call", wire.call("big", bytes=1000)))
        started = trio.current_time()
        await gateway.settle_calls()
        assert trio.current_time() - started == pytest.approx(30.0, abs=0.2)


async def test_a_client_that_does_not_read_a_stream_is_given_up(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1(stalling=True) as client:
        await client.send(wire.modern("tools/call", wire.call("progress", steps=9, delay=2), progress=1))
        assert (await client.head()).status == 200
        await client.event()
        started = trio.current_time()
        await gateway.settle_calls()
        assert trio.current_time() - started == pytest.approx(32.0, abs=0.3)
        await wait_until(lambda: server.script.counters.in_flight == 0)


async def test_a_client_that_does_not_read_its_comments_is_given_up(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1(stalling=True) as client:
        await client.send(HANG)
        started = trio.current_time()
        await gateway.settle_calls()
        assert trio.current_time() - started == pytest.approx(45.0, abs=0.3)
        assert server.counters["cancelled"] == 1


async def test_a_client_that_does_not_read_its_refusal_is_given_up(
    gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1(stalling=True) as client:
        await client.send(wire.modern("tools/call", wire.call("echo", text="hi"), path="/nowhere"))
        started = trio.current_time()
        await gateway.settle_clients()
        assert trio.current_time() - started == pytest.approx(30.0, abs=0.2)


async def test_the_deadlines_are_those_of_the_configuration(server: CountingServer, autojump_clock: MockClock) -> None:
    timeouts = ClientTimeouts(head=2, body=3, idle=4, write=5)
    async with open_gateway(simple_table(server.port, Gateway(timeouts=timeouts, keepalive=6))) as gateway:
        for sent, seconds in ((b"POST", 2.0), (ECHO[:-1], 3.0), (b"", 4.0)):
            async with gateway.connect_http1() as client:
                started = trio.current_time()
                await client.send(sent)
                if sent:
                    assert (await client.reply()).status == 408
                else:
                    assert await client.closed()
                assert trio.current_time() - started == pytest.approx(seconds, abs=0.11)
        async with gateway.connect_http1() as client:
            await client.send(HANG)
            started = trio.current_time()
            await client.head()
            assert trio.current_time() - started == pytest.approx(6.0, abs=0.1)


async def test_a_large_answer_arrives_whole(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_tcp() as client:
        reply = await client.ask(wire.modern("tools/call", wire.call("big", bytes=3_000_000)))
        assert len(reply.json()["result"]["content"][0]["text"]) == 3_000_000


async def test_a_crash_in_the_exchange_is_an_answer(gateway: InProcess, autojump_clock: MockClock) -> None:
    [plan] = gateway.exchange.plans.routes.values()
    broken = attrs.evolve(plan, upstream=cast("Upstream", Broken(plan.upstream)))
    gateway.exchange.plans = attrs.evolve(gateway.exchange.plans, routes={"/mcp": broken})
    async with gateway.connect_http1() as client:
        reply = await client.ask(ECHO)
        assert (reply.status, reply.json()["error"]["code"]) == (500, -32603)
        assert b"secret" not in reply.body
    gateway.exchange.plans = attrs.evolve(gateway.exchange.plans, routes={"/mcp": plan})


class Broken:
    """An upstream with a defect."""

    def __init__(self, real: object) -> None:
        self._real = real

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    async def request(self, *_: object) -> object:
        raise RuntimeError("secret detail")
