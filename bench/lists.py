"""What the list of a route over many services costs while nothing changes: the gateway's CPU for each list.

`python -m bench.lists` prints it for clients of both eras: 1,000 tools of 20 services, which are asked before and not
again. The services are paths of one server in this process. A client that gets the list in pages asks for all of them.
Exit code 1 when the budget is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Literal

import attrs
import trio

from bench.load import dial, exchange, handshake
from tests.support import wire
from tests.support.counting_http import Connection, Lost
from tests.support.gateway import Gateway, http_service, route, running_gateway
from tests.support.loopback import served
from tests.support.processes import PATIENCE

Era = Literal["modern", "legacy"]
ERAS: tuple[Era, ...] = ("modern", "legacy")

SERVICES = 20
TOOLS = 50
"""Of each service."""

BUDGET = 5.0
"""Milliseconds of CPU."""

HOUR = 3_600_000
"""Milliseconds for which the services say that their lists stay as they are."""

MARK = b'"inputSchema"'
"""What every tool in an answer has once."""

NEXT = b'"nextCursor":"'


def tool(number: int) -> wire.Json:
    """A tool of the size that tools have: about half a kilobyte."""
    properties = {
        "query": {"type": "string", "description": "What to look for; words that must occur, in any order"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "How many to return at most"},
        "sort": {"type": "string", "enum": ["newest", "oldest", "relevance"]},
    }
    return {
        "name": f"search_things_{number}",
        "description": f"Search the things of kind {number}, and return those that match with their titles and links.",
        "inputSchema": {"type": "object", "properties": properties, "required": ["query"]},
        "annotations": {"readOnlyHint": True},
    }


@attrs.define(eq=False)
class Services:
    """A modern server with tools. On every path it is the same one."""

    port: int = 0
    lists: int = 0
    """How often it was asked for its tools."""

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until it ends."""
        with suppress(Lost, trio.BrokenResourceError):
            async with stream:
                connection = Connection(stream)
                while (request := await connection.next_request()) is not None:
                    message = json.loads(request.body) if request.body else {}
                    await connection.reply(200, {"jsonrpc": "2.0", "id": message.get("id")} | self._answer(message))

    def _answer(self, message: wire.Json) -> wire.Json:
        hints = {"ttlMs": HOUR, "cacheScope": "public", "resultType": "complete"}
        match message.get("method"):
            case "server/discover":
                return {"result": {"supportedVersions": [wire.MODERN], "capabilities": {"tools": {}}, **hints}}
            case "tools/list":
                self.lists += 1
                return {"result": {"tools": [tool(number) for number in range(TOOLS)], **hints}}
            case _:
                return {"error": {"code": -32601, "message": "Method not found"}}


@asynccontextmanager
async def open_services() -> AsyncIterator[Services]:
    """The server, on loopback. Its connections end with the block."""
    services = Services()
    async with served(services.serve) as services.port:
        yield services


@asynccontextmanager
async def many_services(folder: Path) -> AsyncIterator[tuple[Services, Gateway]]:
    """The server, and a gateway with a route over it and over it and over it."""
    async with open_services() as services:
        names = [f"service-{number}" for number in range(SERVICES)]
        text = "".join(http_service(name, services.port, f"/{name}") for name in names)
        async with running_gateway(text + route("/mcp", "", services=json.dumps(names)), folder) as gateway:
            yield services, gateway


@attrs.frozen
class Listing:
    """The list, asked for once: what of it was seen on the wire."""

    tools: int
    pages: int
    octets: int


@attrs.frozen
class Figures:
    """What a list costs the gateway, in one era."""

    cpu: float
    """Milliseconds each time, median over rounds."""
    pages: int
    size: float
    """KiB on the wire."""


class Client:
    """A keep-alive connection that asks for the list. It blocks, so it belongs in a thread."""

    def __init__(self, port: int, era: Era) -> None:
        self.socket: socket = dial(port)
        self.session = handshake(self.socket, "/mcp") if era == "legacy" else None
        self.first = self._request({})

    def list(self) -> Listing:
        """Ask for one page after the other. Answers are searched, not parsed."""
        tools = pages = octets = 0
        request: bytes | None = self.first
        while request is not None:
            answer = exchange(self.socket, request)
            if not answer.startswith(b"HTTP/1.1 200") or b'"result":' not in answer:
                raise RuntimeError(f"no list: {answer[:500]!r}")
            tools, pages, octets = tools + answer.count(MARK), pages + 1, octets + len(answer)
            found = answer.find(NEXT)
            start = found + len(NEXT)
            request = (
                None if found < 0 else self._request({"cursor": answer[start : answer.index(b'"', start)].decode()})
            )
        return Listing(tools, pages, octets)

    def lists(self, times: int) -> Listing:
        """The last of so many; all of them have everything."""
        for _ in range(times):
            listing = self.list()
            if listing.tools != SERVICES * TOOLS:
                raise RuntimeError(f"a list of {listing.tools} tools")
        return listing

    def _request(self, params: wire.Json) -> bytes:
        if self.session is None:
            return wire.modern("tools/list", params)
        return wire.legacy("tools/list", params, session=self.session)


async def measure(services: Services, gateway: Gateway, era: Era, times: int, rounds: int) -> Figures:
    """List so often in every round. Raises `RuntimeError` where a service was asked again: it would mean nothing."""
    client = await trio.to_thread.run_sync(Client, gateway.port, era)
    with client.socket:
        await _warm(client)
        before, spent = services.lists, list[float]()
        for _ in range(rounds):
            start = gateway.measured.cpu_seconds()
            listing = await trio.to_thread.run_sync(client.lists, times)
            spent.append((gateway.measured.cpu_seconds() - start) / times * 1000)
        if services.lists != before:
            raise RuntimeError(f"the services were asked {services.lists - before} times")
    return Figures(statistics.median(spent), listing.pages, listing.octets / 1024)


async def _warm(client: Client) -> None:
    """Wait until everything is listed, and then some, so that nothing is done for the first time."""
    with trio.fail_after(PATIENCE):
        listing = await trio.to_thread.run_sync(client.list)
        while listing.tools < SERVICES * TOOLS:
            await trio.sleep(0.1)
            listing = await trio.to_thread.run_sync(client.list)
    await trio.to_thread.run_sync(client.lists, 10)


async def figures(times: int, rounds: int) -> dict[Era, Figures]:
    """For clients of each era."""
    with tempfile.TemporaryDirectory() as folder:
        async with many_services(Path(folder)) as (services, gateway):
            return {era: await measure(services, gateway, era, times, rounds) for era in ERAS}


async def run(times: int, rounds: int) -> int:
    """Exit code."""
    found = await figures(times, rounds)
    for era, one in found.items():
        what = f"{SERVICES * TOOLS:,} tools, {one.size:.0f} KiB on {one.pages} pages"
        print(f"{era}: {one.cpu:.2f} ms of CPU per list of {what}")
    return int(any(one.cpu >= BUDGET for one in found.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser("bench.lists")
    parser.add_argument("--times", type=int, default=200, help="lists per round (200)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per era (5)")
    options = parser.parse_args()
    sys.exit(trio.run(run, options.times, options.rounds))
