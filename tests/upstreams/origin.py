"""An HTTP server of which every byte and every packet is written in the test."""

from __future__ import annotations

import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from gatewayd.protocol.eventstream import encode_event
from gatewayd.protocol.http1 import encode_request_head
from gatewayd.protocol.jsonrpc import Failure, Id, Message, Request, Result
from gatewayd.routes.secret import Secret
from gatewayd.routes.table import Bounds, HttpTarget, Service, Timeouts
from gatewayd.upstreams.answer import send
from gatewayd.upstreams.channel import Answer, Paused, UpstreamError
from gatewayd.upstreams.http import HttpUpstream
from gatewayd.upstreams.pool import Pool, PooledConnection
from tests.support.counting_http import Connection, Incoming, Lost

SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
GET = encode_request_head("GET", "/", [(b"host", b"x")])
ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


def reply(body: bytes, status: int = 200, media: str = "application/json", *fields: str) -> bytes:
    """A whole answer with its length declared."""
    lines = (f"HTTP/1.1 {status} X", f"content-type: {media}", f"content-length: {len(body)}", *fields)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def result(ident: Id, content: bytes = b"{}") -> bytes:
    """A JSON-RPC result."""
    raw = b"%d" % ident if isinstance(ident, int) else b'"%b"' % ident.encode()
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (raw, content)


def failure(ident: bytes, code: int, data: bytes = b"null") -> bytes:
    """A JSON-RPC error; `ident` is JSON text."""
    error = b'{"code":%d,"message":"no","data":%b}' % (code, data)
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (ident, error)


def event(message: bytes) -> bytes:
    """An event as one chunk."""
    text = b"data: %b\n\n" % message
    return b"%x\r\n%b\r\n" % (len(text), text)


def numbered(ident: str, message: bytes = b"", retry: int | None = None) -> bytes:
    """An event with an id, as one chunk; without a message one that only says where the client is."""
    text = encode_event(message, id=ident, retry=retry)
    return b"%x\r\n%b\r\n" % (len(text), text)


class Visit:
    """One connection to the origin, in the hands of the test's script."""

    def __init__(self, origin: Origin, number: int, stream: trio.abc.Stream, raw: trio.SocketStream) -> None:
        self.number = number
        """Counted from 0."""
        self.raw = raw
        self._origin = origin
        self._stream = stream
        self._http = Connection(stream)

    async def hear(self) -> Incoming:
        """The next request. Raises `Lost` when the client has gone."""
        request = await self._http.next_request()
        if request is None:
            raise Lost
        self._origin.heard.append(request)
        return request

    async def say(self, *packets: bytes) -> None:
        """Send packets."""
        for packet in packets:
            await self._stream.send_all(packet)

    async def answer(self, *packets: bytes) -> Incoming:
        """Hear a request, and answer it."""
        request = await self.hear()
        await self.say(*packets)
        return request

    async def gone(self) -> None:
        """Wait until the client closes."""
        while await self._stream.receive_some():
            pass

    def reset(self) -> None:
        """Close the connection as a crash does."""
        self.raw.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.socket.close()


Script = Callable[[Visit], Awaitable[object]]
"""What happens on one connection, which is closed when it returns."""


@attrs.define(eq=False)
class Origin:
    """The server."""

    script: Script
    tls: ssl.SSLContext | None = None
    heard: list[Incoming] = attrs.field(factory=list[Incoming])
    visits: int = 0
    open: int = 0
    port: int = 0
    listeners: list[trio.SocketListener] = attrs.field(factory=list[trio.SocketListener])

    async def listen(self) -> None:
        """Serve, until `stop_listening`."""
        try:
            await trio.serve_listeners(self.serve, self.listeners)
        except* trio.ClosedResourceError:
            pass

    async def stop_listening(self) -> None:
        """Refuse every further connection; those that are open are cut."""
        for listener in self.listeners:
            await listener.aclose()

    async def serve(self, raw: trio.SocketStream) -> None:
        """One connection."""
        number, self.visits, self.open = self.visits, self.visits + 1, self.open + 1
        try:
            stream: trio.abc.Stream = raw
            if self.tls is not None:
                stream = trio.SSLStream(raw, self.tls, server_side=True, https_compatible=True)
            async with stream:
                await self.script(Visit(self, number, stream, raw))
        except (Lost, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1

    async def wait_open(self, count: int) -> None:
        """Wait until so many connections are open."""
        with trio.fail_after(10):
            while self.open != count:
                await trio.sleep(0.001)


@asynccontextmanager
async def open_origin(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """An origin on loopback; its connections are cut with the block."""
    origin = Origin(script, tls)
    origin.listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    origin.port = origin.listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(origin.listen)
        yield origin
        nursery.cancel_scope.cancel()


def target(port: int, scheme: Any = "http", host: str = "127.0.0.1") -> HttpTarget:
    """Where the origin is."""
    return HttpTarget(f"{scheme}://{host}:{port}/mcp", scheme, host, port, "/mcp")


@asynccontextmanager
async def open_upstream(
    script: Script, *, limit: int = 10_000, connect: float = 5.0, bearer: str | None = None
) -> AsyncIterator[tuple[HttpUpstream, Origin]]:
    """A service in front of an origin. In the end no connection may be in use, and none stays open."""
    async with open_origin(script) as origin:
        service = Service(
            "web",
            target(origin.port),
            Timeouts(connect=connect),
            Bounds(response=limit),
            None if bearer is None else Secret(bearer),
        )
        async with trio.open_nursery() as nursery:
            upstream = HttpUpstream(service, nursery)
            try:
                yield upstream, origin
                assert upstream.pool.open == upstream.pool.idle, "a connection is still in use"
            finally:
                nursery.cancel_scope.cancel()
                await upstream.pool.aclose()
        assert upstream.pool.open == 0
        await origin.wait_open(0)


CALL = Request(7, "tools/call")


async def messages(answer: Answer) -> list[Message]:
    """All messages of an answer, which is closed; pauses are none."""
    return [message for message in await everything(answer) if not isinstance(message, Paused)]


async def everything(answer: Answer, patience: float = 10.0) -> list[Message | Paused]:
    """The same with the pauses."""
    received: list[Message | Paused] = []
    try:
        with trio.fail_after(patience):
            while (message := await answer.receive()) is not None:
                received.append(message)
    finally:
        await answer.aclose()
    return received


async def ask(upstream: HttpUpstream, ident: int = 7, method: str = "tools/call") -> Message:
    """Send a request, and return its final answer."""
    last = (await messages(await upstream.origin.post(Request(ident, method), ())))[-1]
    assert isinstance(last, Result | Failure)
    return last


async def echo(visit: Visit) -> None:
    """Answers for ever."""
    while True:
        await visit.answer(reply(b"{}"))


async def use(pool: Pool) -> PooledConnection:
    """Ask for something small, and read the answer to its end."""
    connection = await send(pool, await pool.acquire(), "GET", GET)
    while connection.reader.next_head() is None:
        connection.reader.feed(await connection.stream.receive_some())
    return connection


async def refusal(upstream: HttpUpstream, message: Request = CALL, *, in_session: bool = False) -> UpstreamError:
    """How a request fails; nothing may stay open behind it."""
    answer = await upstream.origin.post(message, (), in_session=in_session)
    with pytest.raises(UpstreamError) as caught:
        await messages(answer)
    assert upstream.pool.open == 0
    return caught.value
