"""An upstream that answers tool calls with whatever bytes it is told to; everything else it does properly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from tests.support.counting_http import Connection, Lost
from tests.support.loopback import served
from tests.support.scripted import LEGACY, MODERN, Json

HANG = b"<hang>"
"""In an answer: say nothing more and keep the connection."""
CLOSE = b"<close>"
"""In an answer: close the connection."""
ID = b"<id>"
"""In an answer: replaced by the id of the request."""


@attrs.define(eq=False)
class RawUpstream:
    """The server. `answer` is the list of pieces that a tool call gets."""

    port: int = 0
    answer: Sequence[bytes] = ()
    calls: int = 0
    """Tool calls received."""
    served: list[int] = attrs.Factory(list)
    """How many requests each connection has served."""

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until it ends."""
        number = len(self.served)
        self.served.append(0)
        with suppress(Lost, trio.BrokenResourceError):
            async with stream:
                connection = Connection(stream)
                while (request := await connection.next_request()) is not None:
                    self.served[number] += 1
                    message: Json = json.loads(request.body) if request.body else {}
                    await self._answer(connection, message)

    async def _answer(self, connection: Connection, message: Json) -> None:
        match message.get("method"):
            case "server/discover":
                result: Json = {"supportedVersions": [MODERN], "capabilities": {}, "resultType": "complete"}
                await connection.reply(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})
            case "initialize":
                opened: Json = {"protocolVersion": LEGACY[0], "capabilities": {}, "serverInfo": {}}
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": opened}
                await connection.reply(200, answer, {"Mcp-Session-Id": "upstream-session"})
            case "tools/call":
                self.calls += 1
                await self._send(connection, str(message["id"]).encode())
            case _:
                await connection.reply(202, None)

    async def _send(self, connection: Connection, ident: bytes) -> None:
        for piece in self.answer:
            if piece == CLOSE:
                raise Lost
            if piece == HANG:
                await connection.wait_lost()
            await connection.stream.send_all(piece.replace(_SIZE, b"%x" % len(ident)).replace(ID, ident))


def http(status: int, body: bytes, *fields: bytes, media: bytes = b"application/json") -> bytes:
    """A whole answer. The id in `body` has to be filled in before its length is known, so it is chunked."""
    head = [b"HTTP/1.1 %d Whatever" % status, b"Content-Type: " + media, b"Transfer-Encoding: chunked", *fields]
    pieces = body.split(ID)
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"" for piece in pieces]
    return b"\r\n".join([*head, b"", b""]) + chunks[0] + b"".join(_IDS + chunk for chunk in chunks[1:]) + END


END = b"0\r\n\r\n"
_SIZE = b"<size of the id>"
_IDS = _SIZE + b"\r\n" + ID + b"\r\n"


@asynccontextmanager
async def open_raw_upstream() -> AsyncIterator[RawUpstream]:
    """A server in this process, on loopback. Its connections end with the block."""
    upstream = RawUpstream()
    async with served(upstream.serve) as upstream.port:
        yield upstream
