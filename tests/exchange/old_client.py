"""A client of HTTP+SSE (MCP 2024-11-05), of which nothing is hidden."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from gatewayd.routes.table import Gateway, Route, Table
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import InProcess, simple_table
from tests.support.storm import wait_until

OLD = "2024-11-05"


ECHO = wire.call("echo", text="hi")


def sse_table(port: int, gateway: Gateway | None = None) -> Table:
    table = simple_table(port, gateway)
    routes = {"/mcp": Route("/mcp", ("web",), sse=True), "/other": Route("/other", ("web",), sse=True)}
    return attrs.evolve(table, routes=routes)


def get(headers: dict[str, str] | None = None, path: str = "/mcp") -> bytes:
    return wire.http_request("GET", path, {"Accept": "text/event-stream", **(headers or {})})


@attrs.define
class Connected:
    """A client with its stream; POSTs go on a connection of their own."""

    gateway: InProcess
    stream: wire.WireClient
    endpoint: str

    async def post(self, request: bytes) -> wire.Reply:
        """Send something to the endpoint."""
        _, _, rest = request.partition(b"\r\n")
        async with self.gateway.connect_http1() as client:
            return await client.ask(f"POST {self.endpoint} HTTP/1.1\r\n".encode() + rest)

    async def tell(self, request: bytes) -> None:
        """Send something that is accepted."""
        reply = await self.post(request)
        assert (reply.status, reply.body) == (202, b""), reply

    async def ask(self, request: bytes) -> wire.Json:
        """Send a request and read its answer, which must come next."""
        await self.tell(request)
        return await self.message()

    async def message(self) -> wire.Json:
        """What the gateway says next."""
        frame = await self.stream.frame()
        assert frame is not None
        assert frame.event in (None, "message")  # which mean the same
        assert (frame.id, frame.retry) == (None, None)
        assert isinstance(frame.data, dict)
        return frame.data

    async def initialize(self) -> None:
        """The handshake."""
        opened = await self.ask(wire.initialize(version=OLD))
        assert "result" in opened, opened
        await self.tell(wire.legacy("notifications/initialized", id=None))


@asynccontextmanager
async def connected(
    gateway: InProcess, headers: dict[str, str] | None = None, path: str = "/mcp"
) -> AsyncIterator[Connected]:
    """A client that knows where to send messages."""
    async with gateway.connect_http1() as stream:
        yield Connected(gateway, stream, await endpoint(stream, headers, path))


async def endpoint(stream: wire.WireClient, headers: dict[str, str] | None = None, path: str = "/mcp") -> str:
    await stream.send(get(headers, path))
    head = await stream.head()
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    frame = await stream.frame()
    assert frame is not None
    assert frame.event == "endpoint"
    assert isinstance(frame.data, str)
    return frame.data


@asynccontextmanager
async def ready(gateway: InProcess) -> AsyncIterator[Connected]:
    """A client that has shaken hands."""
    async with connected(gateway) as client:
        await client.initialize()
        yield client


async def at_rest(gateway: InProcess, server: CountingServer) -> None:
    """Nothing is left of any client."""
    await gateway.settle()
    gateway.assert_at_rest()
    assert len(gateway.registry) == 0
    await wait_until(lambda: server.counters["sessions"] == 0, 10)
    await wait_until(lambda: server.counters["streams"] == 0, 10)
