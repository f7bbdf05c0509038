"""The cheapest MCP server we can write on Trio and httptools: the upstream of the bench, and its baseline.

It does what any server on this stack must do - read, parse the head, decode the message, write an answer -
and nothing else: no limits, no checks, no timeouts. Started as `python -m bench.upstream` it prints
`{"port": N}` and serves until its standard input ends.

Tools: `echo` answers its text; `stream` sends one progress event at once and answers after it.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import httptools
import msgspec
import trio

Id = int | str


class Params(msgspec.Struct):
    """The part of `params` that is looked at."""

    name: str = ""
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    meta: dict[str, Any] = msgspec.field(name="_meta", default_factory=dict)


class Message(msgspec.Struct):
    """The part of a message that is looked at."""

    method: str = ""
    id: Id | None = None
    params: Params = msgspec.field(default_factory=Params)


DECODER = msgspec.json.Decoder(Message)
ENCODER = msgspec.json.Encoder()

SERVER = {"name": "bench", "version": "1"}
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "stream")]
CAPABILITIES: dict[str, Any] = {"tools": {}}

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
GONE = b"HTTP/1.1 204 No Content\r\n\r\n"


class Connection:
    """One client: bytes in, bytes out."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.parser: Any = httptools.HttpRequestParser(self)
        self.body = b""

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        verb = self.parser.get_method()
        if verb == b"POST":
            self.out.append(answer(self.body))
        else:
            self.out.append(STREAM if verb == b"GET" else GONE)


def answer(body: bytes) -> bytes:
    """The whole answer to a POST."""
    message = DECODER.decode(body)
    if message.id is None:
        return ACCEPTED
    extra = b""
    match message.method:
        case "tools/call" if message.params.name == "stream":
            return STREAM + stream(message)
        case "tools/call":
            result = text(message.params.arguments.get("text", ""))
        case "initialize":
            extra = b"Mcp-Session-Id: bench\r\n"
            result = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": SERVER}
        case "server/discover":
            versions = ["2026-07-28", "2025-11-25"]
            result = {"supportedVersions": versions, "capabilities": CAPABILITIES} | hints()
        case _:
            result = {"tools": TOOLS} | hints()
    content = ENCODER.encode({"jsonrpc": "2.0", "id": message.id, "result": result})
    return JSON % (len(content), extra, content)


def stream(message: Message) -> bytes:
    """A progress event and the answer, as chunks."""
    token = message.params.meta.get("progressToken", 0)
    progress = {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
    events = ({"jsonrpc": "2.0"} | progress, {"jsonrpc": "2.0", "id": message.id, "result": text("done")})
    chunks = [b"data: " + ENCODER.encode(event) + b"\n\n" for event in events]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def text(value: str) -> dict[str, Any]:
    """A tool result that both eras understand."""
    return {"content": [{"type": "text", "text": value}], "isError": False, "resultType": "complete"}


def hints() -> dict[str, Any]:
    """The caching hints of a modern list."""
    return {"ttlMs": 0, "cacheScope": "public", "resultType": "complete"}


async def serve(stream: trio.abc.Stream) -> None:
    """Serve one connection to its end."""
    connection = Connection()
    async with stream:
        try:
            while data := await stream.receive_some():
                connection.parser.feed_data(data)
                if connection.out:
                    out = b"".join(connection.out)
                    connection.out.clear()
                    await stream.send_all(out)
        except trio.BrokenResourceError:
            pass


async def main() -> None:
    """Listen on a free port of the loopback until standard input ends."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, serve, listeners))
        print(json.dumps({"port": listeners[0].socket.getsockname()[1]}), flush=True)
        async with trio.lowlevel.FdStream(0) as stdin:
            async for _ in stdin:
                pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(trio.run(main))
