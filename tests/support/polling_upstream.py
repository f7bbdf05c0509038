"""A legacy upstream that is polled: it closes its streams on purpose, and goes on when its client comes back.

MCP 2025-11-25, Streamable HTTP: an event with an id and `retry` comes first, then the end of the connection.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from tests.support.counting_http import Connection, Incoming, Lost
from tests.support.loopback import served
from tests.support.scripted import LEGACY, Json, text

SESSION = "polled"


@attrs.define(eq=False)
class PollingUpstream:
    """The server. A tool call takes `pauses` polls before it is answered."""

    pauses: int = 1
    retry: int = 500
    """Milliseconds."""
    answer: str = "polled"
    port: int = 0
    calls: int = 0
    polls: int = 0
    cancelled: int = 0
    sessions: int = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until it ends."""
        with suppress(Lost, trio.BrokenResourceError):
            async with stream:
                connection = Connection(stream)
                while (request := await connection.next_request()) is not None:
                    await self._serve(connection, request)

    async def _serve(self, connection: Connection, request: Incoming) -> None:
        if request.verb == "DELETE":
            self.sessions -= 1
            await connection.reply(204, None)
        elif request.verb == "GET":
            await self._go_on(connection, request.headers.get("last-event-id"))
        else:
            await self._post(connection, json.loads(request.body))

    async def _post(self, connection: Connection, message: Json) -> None:
        match message.get("method"):
            case "initialize":
                self.sessions += 1
                version = message["params"]["protocolVersion"]
                opened: Json = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {}}
                answer = {"jsonrpc": "2.0", "id": message["id"], "result": opened}
                await connection.reply(200, answer, {"Mcp-Session-Id": SESSION})
            case "server/discover":
                error = {"code": -32601, "message": f"speaks {LEGACY[0]}"}
                await connection.reply(400, {"jsonrpc": "2.0", "id": message["id"], "error": error})
            case "tools/call":
                self.calls += 1
                await self._pause(connection, message["id"], 0)
            case "ping":
                await connection.reply(200, {"jsonrpc": "2.0", "id": message["id"], "result": {}})
            case method:
                self.cancelled += method == "notifications/cancelled"
                await connection.reply(202, None)

    async def _go_on(self, connection: Connection, last: str | None) -> None:
        if last is None:
            await connection.reply(405, None)
            return
        self.polls += 1
        ident, _, poll = last.partition("-")
        if int(poll) + 1 < self.pauses:
            await self._pause(connection, int(ident), int(poll) + 1)
            return
        await connection.start_stream()
        await connection.event({"jsonrpc": "2.0", "id": int(ident), "result": text(self.answer)})
        await connection.end_stream()

    async def _pause(self, connection: Connection, ident: int, poll: int) -> None:
        await connection.start_stream()
        await connection.raw_event(f"id: {ident}-{poll}\nretry: {self.retry}\ndata:\n\n".encode())
        await connection.end_stream()


@asynccontextmanager
async def open_polling_upstream() -> AsyncIterator[PollingUpstream]:
    """A server in this process, on loopback. Its connections end with the block."""
    upstream = PollingUpstream()
    async with served(upstream.serve) as upstream.port:
        yield upstream
