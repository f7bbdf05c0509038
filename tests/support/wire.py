"""A raw MCP client: requests as bytes, answers as they come, no opinion on what is right.

Requests can be built once and sent often, damaged on purpose, and cut off in the middle.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import httptools
import trio

MODERN = "2026-07-28"
LEGACY = "2025-11-25"

Json = dict[str, Any]
Address = tuple[str, int]

NOBODY = "nobody.invalid"
"""The `Host` of a request that is not addressed yet."""

CLIENT: Json = {"name": "wire", "version": "1"}


def http_request(verb: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request as bytes. `Content-Length` is added where there is a body; `Host` when it is `addressed`."""
    lines = {"Host": NOBODY, **headers}
    if body:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{verb} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def addressed(request: bytes, host: str) -> bytes:
    """The request as it is sent to that host, unless it names one itself."""
    return request.replace(b"Host: %b\r\n" % NOBODY.encode(), b"Host: %b\r\n" % host.encode())


def modern(
    method: str,
    params: Json | None = None,
    *,
    id: int | str = 1,  # noqa: A002 - the protocol's own word
    path: str = "/mcp",
    capabilities: Json | None = None,
    progress: int | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A request of the modern era, with the metadata and the mirrored headers that it must have."""
    params = dict(params or {})
    meta: Json = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {} if capabilities is None else capabilities,
        "io.modelcontextprotocol/clientInfo": CLIENT,
    }
    if progress is not None:
        meta["progressToken"] = progress
    params["_meta"] = meta
    mirrored = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if (name := params.get("name") or params.get("uri")) is not None:
        mirrored["Mcp-Name"] = name
    body = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}, separators=_COMPACT).encode()
    return http_request("POST", path, _POST | mirrored | dict(headers or {}), body)


def legacy(
    method: str | None,
    params: Json | None = None,
    *,
    id: int | str | None = 1,  # noqa: A002 - the protocol's own word
    result: Json | None = None,
    session: str | None = None,
    path: str = "/mcp",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A legacy request; a notification with `id=None`; an answer with `method=None` and a `result`."""
    return post(legacy_message(method, params, id=id, result=result), session=session, path=path, headers=headers)


def legacy_message(
    method: str | None,
    params: Json | None = None,
    *,
    id: int | str | None = 1,  # noqa: A002 - the protocol's own word
    result: Json | None = None,
) -> Json:
    """The message of a `legacy` request alone, for batches."""
    message: Json = {"jsonrpc": "2.0"}
    if id is not None:
        message["id"] = id
    if method is not None:
        message["method"] = method
    if params is not None:
        message["params"] = params
    if result is not None:
        message["result"] = result
    return message


def post(
    body: Json | list[Json],
    *,
    session: str | None = None,
    path: str = "/mcp",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A POST of anything, in a session or none."""
    lines = _POST | _session(session) | dict(headers or {})
    return http_request("POST", path, lines, json.dumps(body, separators=_COMPACT).encode())


def initialize(
    path: str = "/mcp",
    capabilities: Json | None = None,
    headers: Mapping[str, str] | None = None,
    version: str = LEGACY,
) -> bytes:
    """The first request of a legacy client."""
    params = {"protocolVersion": version, "capabilities": capabilities or {}, "clientInfo": CLIENT}
    return legacy("initialize", params, path=path, headers=headers)


def get_stream(session: str, path: str = "/mcp", headers: Mapping[str, str] | None = None) -> bytes:
    """The GET that opens the standing stream of a legacy session."""
    lines = {"Accept": "text/event-stream", **_session(session), **(headers or {})}
    return http_request("GET", path, lines)


def call(name: str, **arguments: Any) -> Json:
    """The params of `tools/call`."""
    return {"name": name, "arguments": arguments}


@attrs.frozen
class Frame:
    """One event of an event stream, with everything that it carried."""

    data: Json | str | None
    """The message; text where it is none; None where there is no data."""
    id: str | None = None
    retry: int | None = None
    event: str | None = None


@attrs.define
class Reply:
    """An answer; `body` is empty while it is read as a stream. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Json:
        """The body as JSON; of an event stream, its last event."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            return split_events(self.body)[-1]
        message: Json = json.loads(self.body)
        return message


class _Feed:
    """httptools' callbacks as a queue of parts: a head, pieces of its body, and None for its end."""

    def __init__(self) -> None:
        self.parts: deque[Reply | bytes | None] = deque()
        self.parser: Any = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.parts.append(Reply(self.parser.get_status_code(), self._headers))

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.parts.append(None)


class WireClient:
    """One connection. Raises `trio.BrokenResourceError` where the server closes in mid-answer."""

    def __init__(self, stream: trio.abc.Stream, host: str = "127.0.0.1") -> None:
        self.stream = stream
        self.host = host
        self._feed = _Feed()
        self._events: deque[Json] = deque()
        self._frames: deque[Frame] = deque()
        self._partial = b""

    async def send(self, data: bytes) -> None:
        """Send bytes, whole requests or not; requests are addressed to our host."""
        await self.stream.send_all(addressed(data, self.host))

    async def head(self) -> Reply:
        """Wait for the head of the next answer; its body is left to `events` or `rest`."""
        part = await self._part()
        assert isinstance(part, Reply), part
        return part

    async def reply(self) -> Reply:
        """The next answer, whole."""
        reply = await self.head()
        reply.body = await self.rest()
        return reply

    async def ask(self, request: bytes) -> Reply:
        """Send a request and read the answer, whole."""
        await self.send(request)
        return await self.reply()

    async def rest(self) -> bytes:
        """What is left of the body of the current answer."""
        body = bytearray()
        while (part := await self._part()) is not None:
            assert isinstance(part, bytes), part
            body += part
        return bytes(body)

    async def part(self) -> bytes | None:
        """The next piece of the body of the current answer; None at its end."""
        part = await self._part()
        assert not isinstance(part, Reply), part
        return part

    async def events(self) -> AsyncIterator[Json]:
        """The messages of an event stream as they arrive, to its end; comments are skipped."""
        while (event := await self.event()) is not None:
            yield event

    async def event(self) -> Json | None:
        """The next message of an event stream; None at its end."""
        while not self._events:
            whole = await self._whole()
            if whole is None:
                return None
            self._events.extend(split_events(whole))
        return self._events.popleft()

    async def frames(self) -> list[Frame]:
        """The events of an event stream to its end; comments are skipped. Not to be mixed with `event`."""
        frames: list[Frame] = []
        while (frame := await self.frame()) is not None:
            frames.append(frame)
        return frames

    async def frame(self) -> Frame | None:
        """The next event; None at the end of the stream. Not to be mixed with `event`."""
        while not self._frames:
            whole = await self._whole()
            if whole is None:
                return None
            self._frames.extend(split_frames(whole))
        return self._frames.popleft()

    async def _whole(self) -> bytes | None:
        """The events that the next piece of the body completes, perhaps none; None at its end."""
        part = await self._part()
        if part is None:
            self._partial = b""
            return None
        assert isinstance(part, bytes), part
        text = (self._partial + part).replace(b"\r\n", b"\n")
        whole, separator, self._partial = text.rpartition(b"\n\n")
        return whole + separator

    async def closed(self) -> bool:
        """Wait for whatever comes next: whether that is the end of the connection."""
        try:
            return not self._feed.parts and not await self.stream.receive_some()
        except trio.BrokenResourceError:
            return True

    async def _part(self) -> Reply | bytes | None:
        while not self._feed.parts:
            data = await self.stream.receive_some()
            if not data:
                raise trio.BrokenResourceError("the server closed the connection")
            self._feed.parser.feed_data(data)
        return self._feed.parts.popleft()


@asynccontextmanager
async def connect(address: Address) -> AsyncIterator[WireClient]:
    """A connection to a server; closed with the block."""
    async with await trio.open_tcp_stream(*address) as stream:
        yield WireClient(stream, f"{address[0]}:{address[1]}")


async def open_session(
    client: WireClient, path: str = "/mcp", capabilities: Json | None = None, version: str = LEGACY
) -> str:
    """The handshake of a legacy client: the session id."""
    reply = await client.ask(initialize(path, capabilities, version=version))
    assert reply.status == 200, reply
    session = reply.headers["mcp-session-id"]
    accepted = await client.ask(legacy("notifications/initialized", id=None, session=session, path=path))
    assert accepted.status == 202, accepted
    return session


def split_events(text: bytes) -> list[Json]:
    """The messages of a piece of an event stream that ends with an event."""
    events: list[Json] = []
    for block in text.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = b"\n".join(line[5:].lstrip(b" ") for line in block.split(b"\n") if line.startswith(b"data:"))
        if data:
            events.append(json.loads(data))
    return events


def split_frames(text: bytes) -> list[Frame]:
    """The same as events with all that they carry."""
    frames: list[Frame] = []
    for block in text.split(b"\n\n"):
        fields: dict[str, str] = {}
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        if fields:
            data: Json | str | None = fields.get("data") or None
            with suppress(ValueError):
                data = json.loads(data) if isinstance(data, str) else data
            retry = fields.get("retry")
            frames.append(Frame(data, fields.get("id"), None if retry is None else int(retry), fields.get("event")))
    return frames


_COMPACT = (",", ":")
"""As the official SDKs write JSON."""

_POST = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def _session(session: str | None) -> dict[str, str]:
    return {} if session is None else {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY}
