"""What is run: upstreams, transports, and the gateway with its route between them and the suite."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import attrs
import trio

from conformance import everything
from tests.support import wire
from tests.support.gateway import http_service, route, running_gateway, stdio_service
from tests.support.processes import PATIENCE, free_port, running

Era = Literal["legacy", "modern"]
Transport = Literal["direct", "http", "stdio"]
"""Towards the upstream; `direct` has no gateway."""
Route = Literal["transparent", "single", "several"]
"""To the upstream as it is; to a virtual server made of it alone; to one that is made of it and of others."""

REVISIONS: dict[Era, str] = {"legacy": "2025-11-25", "modern": "2026-07-28"}
TRANSPORTS: dict[Route, tuple[Transport, ...]] = {
    "transparent": ("direct", "http", "stdio"),
    "single": ("http",),
    "several": ("stdio",),
}
"""What is run unless somebody asks for more: to a virtual server all transports are alike."""

FIXTURE = (sys.executable, "-m", "conformance.fixture")
DEMO = (sys.executable, "-m", "gatewayd", "demo")

KEYS: dict[Route, dict[str, str]] = {"transparent": {}, "single": {}, "several": {"prefix": '""'}}
"""Of the upstream's service."""

LISTED = b'"test_simple_text"'
"""The name of a tool that every upstream has."""


@attrs.frozen
class Cell:
    """A client of one era, and an upstream of one."""

    client: Era
    upstream: Era
    everything: bool = False
    """The upstream is the SDK's everything server, which speaks the client's era and the other."""

    @property
    def name(self) -> str:
        """As `--cell` and the file of expected failures have it."""
        return f"{self.client}-{'everything' if self.everything else self.upstream}"


CELLS = (
    Cell("legacy", "legacy", everything=True),
    Cell("modern", "modern", everything=True),
    Cell("legacy", "legacy"),
    Cell("modern", "modern"),
    Cell("modern", "legacy"),
    Cell("legacy", "modern"),
)


@asynccontextmanager
async def endpoint(
    cell: Cell, transport: Transport, folder: Path, source: Path | None, way: Route = "transparent"
) -> AsyncIterator[str]:
    """The URL for the suite. The processes behind it log into `folder`, which exists, and end with the block.

    `source` is where the everything server is, if the cell needs it.
    """
    if transport == "stdio":
        command = [*FIXTURE, "--era", cell.upstream]
        if source is not None:
            command = [sys.executable, "-m", everything.__name__, str(source)]
        async with gateway(stdio_service("upstream", *command, **KEYS[way]), folder, way) as url:
            if cell.client == "modern" or way != "transparent":
                await warm(url)
            yield url
        return
    async with upstream(cell, folder, source) as port:
        if transport == "direct":
            yield f"http://127.0.0.1:{port}/mcp"
            return
        async with gateway(http_service("upstream", port, **KEYS[way]), folder, way) as url:
            if way != "transparent":
                await warm(url)
            yield url


async def warm(url: str) -> None:
    """Ask for a client that can be asked, until the tools of the upstream are listed.

    The suite gives the first call of such a client 600 ms to be answered. If the upstream is legacy it has a process of
    its own, for capabilities are told but once, and Python takes longer than that to start one. And a virtual server
    lists what is there.
    """
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    with trio.fail_after(PATIENCE):
        async with wire.connect((address.hostname, address.port)) as client:
            listing = wire.modern("tools/list", capabilities={"elicitation": {}})
            reply = await client.ask(listing)
            while LISTED not in reply.body:
                await trio.sleep(0.1)
                reply = await client.ask(listing)


@asynccontextmanager
async def upstream(cell: Cell, folder: Path, source: Path | None) -> AsyncIterator[int]:
    """The upstream over HTTP: its port, when it listens."""
    port = free_port()
    command, env = [*FIXTURE, "--era", cell.upstream, "--http", str(port)], {}
    if source is not None:
        command = [sys.executable, "-m", everything.PACKAGE, "--port", str(port), "--log-level", "WARNING"]
        env = {"PYTHONPATH": str(source)}
    log = folder / "upstream.log"
    async with running(command, log, env) as process:
        with trio.move_on_after(PATIENCE):
            await _listens(port, process)
        if process.poll() is not None:
            raise RuntimeError(f"the upstream did not get ready:\n{log.read_text()}")
        yield port


async def _listens(port: int, process: trio.Process) -> None:
    while process.poll() is None:
        try:
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        except OSError:
            await trio.sleep(0.05)
        else:
            return


@asynccontextmanager
async def gateway(service: str, folder: Path, way: Route = "transparent") -> AsyncIterator[str]:
    """A gateway with that service, called `upstream`: the URL of its route."""
    text = '[log]\nlevel = "debug"\n\n' + service + routed(way)
    async with running_gateway(text, folder) as running_one:
        yield running_one.url()


def routed(way: Route) -> str:
    """TOML of the route, and of the services that share it. The tools and prompts of the upstream keep their names."""
    match way:
        case "transparent":
            return route("/mcp", "upstream")
        case "single":
            return route("/mcp", "upstream", conflicts='"prefix"')
        case "several":
            others = ("before", "after")
            services = json.dumps([others[0], "upstream", others[1]])
            demos = "".join(stdio_service(other, *DEMO, per='"shared"') for other in others)
            return demos + route("/mcp", "upstream", services=services)
