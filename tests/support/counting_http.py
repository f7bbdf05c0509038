"""The HTTP/1.1 of `counting_server`: one connection, one request at a time, pipelining kept in order."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, NoReturn

import attrs
import httptools
import trio


class Lost(Exception):
    """The connection is over: the client went away, or we closed it on purpose."""


@attrs.define
class Incoming:
    """One request. Header names are lower case; of several equal ones the last one counts."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes


class _Feed:
    """httptools' callbacks, collected into whole requests."""

    def __init__(self) -> None:
        self.requests: deque[Incoming] = deque()
        self.parser: Any = httptools.HttpRequestParser(self)
        self._url = self._body = b""
        self._headers: dict[str, str] = {}

    def on_message_begin(self) -> None:
        self._url = self._body = b""
        self._headers = {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        verb = self.parser.get_method().decode()
        self.requests.append(Incoming(verb, self._url.decode("latin-1"), self._headers, self._body))


class Connection:
    """One client. `Lost` is raised where the client has gone; the owner of the stream closes it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.streaming = False
        """Whether the answer to the current request is an event stream that has begun."""
        self._feed = _Feed()
        self._writing = trio.Lock()

    async def next_request(self) -> Incoming | None:
        """The next request; None when the client closed between two requests."""
        self.streaming = False
        while not self._feed.requests:
            if not await self._receive():
                return None
        return self._feed.requests.popleft()

    async def wait_lost(self) -> None:
        """Return when the client is gone; what it sends meanwhile is kept."""
        while await self._receive():
            pass
        raise Lost

    @asynccontextmanager
    async def watched(self, scope: trio.CancelScope) -> AsyncIterator[None]:
        """Cancel the scope when the client goes away during the block."""

        async def watch() -> None:
            try:
                await self.wait_lost()
            except (Lost, trio.BrokenResourceError):
                scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def reply(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole JSON answer; a body of None is an empty one."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = dict(headers or {})
        if status != 204:
            lines["Content-Length"] = str(len(content))
        if content:
            lines["Content-Type"] = "application/json"
        await self._send(_head(status, lines) + content)

    async def start_stream(self) -> None:
        """Begin an event stream."""
        self.streaming = True
        lines = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "Transfer-Encoding": "chunked",
        }
        await self._send(_head(200, lines))

    async def event(self, message: Any) -> None:
        """Send one message of the event stream."""
        await self.raw_event(b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n")

    async def raw_event(self, lines: bytes) -> None:
        """Send an event as it is written here."""
        await self._send(_chunk(lines))

    async def end_stream(self) -> None:
        """End the event stream; the connection stays."""
        await self._send(b"0\r\n\r\n")

    async def end_unanswered(self) -> None:
        """End the request without an answer, as a server does that was told to forget it."""
        if not self.streaming:
            await self.start_stream()
        await self.end_stream()

    async def fail(self, how: str) -> NoReturn:
        """Break the current answer. Raises `Lost`, so that the connection closes."""
        json_head = _head(200, {"Content-Type": "application/json", "Content-Length": "100"})
        match how:
            case "close":
                pass
            case "half" if self.streaming:
                await self._send(b'40\r\nevent: message\ndata: {"jsonrpc":')
            case "half":
                await self._send(json_head + b'{"jsonrpc":')
            case "garbage":
                await self._send(b"\x00\x01 this is not HTTP\r\n\r\n")
            case "status":
                await self._send(_head(500, {"Content-Length": "0"}))
            case "not-json" if self.streaming:
                await self._send(_chunk(b"event: message\ndata: {nope\n\n"))
            case "not-json":
                await self._send(_head(200, {"Content-Type": "application/json", "Content-Length": "5"}) + b"{nope")
            case "wrong-id":
                await self.reply(200, {"jsonrpc": "2.0", "id": "somebody else", "result": {}})
            case "endless-head":
                await self._send(b"HTTP/1.1 200 OK\r\n")
                while True:
                    await self._send(b"X-More: " + b"x" * 1000 + b"\r\n")
            case "silent-stream":
                await self.end_unanswered()
            case _:
                raise ValueError(how)
        raise Lost

    async def _receive(self) -> bool:
        data = await self.stream.receive_some()
        if data:
            self._feed.parser.feed_data(data)
        return bool(data)

    async def _send(self, data: bytes) -> None:
        async with self._writing:
            await self.stream.send_all(data)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
