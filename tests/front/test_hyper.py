"""HTTP/2: streams that do not wait for each other, and clients that break the rules."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from trio.testing import MockClock

from gatewayd.routes.table import ClientBounds, Gateway
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.http2 import Reset
from tests.support.inprocess import InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

ECHO = wire.modern("tools/call", wire.call("echo", text="hi"))
HANG = wire.modern("tools/call", wire.call("hang"))
PREFLIGHT = wire.http_request("OPTIONS", "/mcp", {})
FIELDS = [(b":scheme", b"https"), (b":authority", b"gateway.test")]


async def test_calls_do_not_wait_for_each_other(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http2() as client:
        hanging = await client.request(HANG)
        slow = await client.request(wire.modern("tools/call", wire.call("progress", steps=1, delay=5), id="slow"))
        assert (await client.ask(ECHO)).status == 200
        await hanging.reset()
        await wait_until(lambda: server.script.counters.cancelled == 1)
        assert (await slow.reply()).json()["id"] == "slow"


async def test_a_stream_that_is_not_read_is_given_up_alone(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http2() as client:
        client.reading = False
        stalled = await client.request(wire.modern("tools/call", wire.call("big", bytes=300_000)))
        started = trio.current_time()
        with pytest.raises(Reset) as caught:
            await stalled.reply()
        assert caught.value.code == ErrorCodes.INTERNAL_ERROR
        assert trio.current_time() - started == pytest.approx(30.0, abs=0.2)
        assert (await client.ask(PREFLIGHT)).status == 204


async def test_a_connection_that_is_not_read_is_given_up(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http2(stalling=True) as client:
        await client.grant(100_000_000)
        await client.request(HANG)
        await wait_until(lambda: server.script.counters.in_flight == 1)
        client.deaf = True
        await client.request(wire.modern("tools/call", wire.call("big", bytes=3_000_000)))
        started = trio.current_time()
        await gateway.settle_clients()
        assert trio.current_time() - started == pytest.approx(30.0, abs=0.3)
        assert server.counters["cancelled"] == 1


async def test_a_large_answer_arrives_whole(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http2() as client:
        reply = await client.ask(wire.modern("tools/call", wire.call("big", bytes=1_000_000)))
        assert len(reply.json()["result"]["content"][0]["text"]) == 1_000_000


@pytest.mark.parametrize("size", [0, 5])
async def test_a_client_that_leaves_before_its_body_executes_nothing(
    size: int, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    head, end, body = ECHO.partition(b"\r\n\r\n")
    async with gateway.connect_http2() as client:
        stream = await client.request(head + end, end=False)
        await client.send_body(stream.number, body[:size], end=False)
        await trio.sleep(1)
        await stream.reset()
        assert (await client.ask(PREFLIGHT)).status == 204
    assert server.counters["started"] == 0


async def test_a_body_without_a_declared_length_is_bounded(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    head, end, _ = ECHO.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    async with gateway.connect_http2() as client:
        stream = await client.request(b"\r\n".join(lines) + end, end=False)
        await client.send_body(stream.number, b" " * 5_000_000, end=True)
        assert (await stream.reply()).status == 413
        assert (await client.ask(ECHO)).status == 200
    assert server.counters["started"] == 1


async def test_resetting_everything_at_once_leaves_nothing(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http2() as client:
        with suppress(trio.BrokenResourceError, ProtocolError):  # it may have enough of us
            for _ in range(500):
                await (await client.request(HANG)).reset()
    await gateway.settle()
    gateway.assert_at_rest()


async def test_there_is_an_end_to_calls_at_once(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(simple_table(server.port, Gateway(max=ClientBounds(calls=3)))) as gateway:
        async with gateway.connect_http2(careless=True) as client:
            await client.ask(PREFLIGHT)  # so that the settings have arrived
            for _ in range(4):
                await client.request(HANG)
            await client.closed()
            await gateway.settle_calls()
        assert server.counters["started"] <= 3


UNFIT = {
    "CONNECT": [(b":method", b"CONNECT"), (b":authority", b"gateway.test")],
    "an extended CONNECT": [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":path", b"/mcp"), *FIELDS],
    "a method in lower case": [(b":method", b"post"), (b":path", b"/mcp"), *FIELDS],
    "a path that is no ASCII": [(b":method", b"POST"), (b":path", b"/mcp\xff"), *FIELDS],
}


@pytest.mark.parametrize("case", UNFIT)
async def test_a_request_that_cannot_be_one_is_reset(
    case: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http2(careless=True) as client:
        stream = await client.start(UNFIT[case], end=False)
        with pytest.raises(Reset):
            await stream.reply()
        assert (await client.ask(ECHO)).status == 200
        await client.closed()  # and it does not count as one that runs


BREACHES = {
    "an upper-case field": [(b"X-Upper", b"1")],
    "connection": [(b"connection", b"keep-alive")],
    "transfer-encoding": [(b"transfer-encoding", b"chunked")],
    "upgrade": [(b"upgrade", b"h2c")],
    "another host": [(b"host", b"evil.test")],
    "two hosts": [(b"host", b"gateway.test"), (b"host", b"gateway.test")],
    "a pseudo field too late": [(b"x", b"y"), (b":authority", b"evil.test")],
}


@pytest.mark.parametrize("case", BREACHES)
async def test_a_breach_of_the_protocol_ends_the_connection(
    case: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http2(careless=True) as client:
        await client.start([(b":method", b"POST"), (b":path", b"/mcp"), *FIELDS, *BREACHES[case]], b"{}")
        await client.closed()
        await gateway.settle_clients()
    assert server.counters["started"] == 0


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"a\0b"])
async def test_a_control_character_gets_nowhere(
    value: bytes, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    head, _, body = ECHO.partition(b"\r\n\r\n")
    async with gateway.connect_http2(careless=True) as client:
        fields = [tuple(line.split(b": ", 1)) for line in head.lower().split(b"\r\n")[2:]]
        method = [(b":method", b"POST"), (b":path", b"/mcp"), *FIELDS]
        stream = await client.start([*method, *((n, v) for n, v in fields), (b"mcp-param-x", value)], body)
        with suppress(Reset, trio.BrokenResourceError):
            assert (await stream.reply()).status == 400
    assert server.counters["started"] == 0


async def test_garbage_ends_the_connection(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http2() as client:
        assert (await client.ask(ECHO)).status == 200
        await client.stream.send_all(b"\xff" * 1000)
        await client.closed()
        await gateway.settle_clients()


async def test_a_connection_idles_out_after_a_reset_too(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http2() as client:
        stream = await client.request(HANG)
        await trio.sleep(1)
        await stream.reset()
        started = trio.current_time()
        await client.closed()
        assert trio.current_time() - started == pytest.approx(75.0, abs=0.2)


async def test_silence_before_the_first_request_is_bounded(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http2() as client:
        started = trio.current_time()
        await client.closed()
        assert trio.current_time() - started == pytest.approx(75.0, abs=0.2)


async def test_a_handshake_that_does_not_end_is_cut(gateway: InProcess, autojump_clock: MockClock) -> None:
    for first in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"):
        stream = await gateway.secure_clients.connect()
        if first:
            await stream.send_all(first)
        started = trio.current_time()
        while await stream.receive_some():
            pass
        assert trio.current_time() - started <= 10.0
        await stream.aclose()
