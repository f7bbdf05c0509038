"""Many servers behind one address: the processes, the text of the configuration, and what clients do with it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import mcp_types as types
import trio
from mcp import Client

from tests.support import wire
from tests.support.gateway import Gateway, http_service, route, running_gateway, stdio_service
from tests.support.many_server import TOOLS
from tests.support.processes import PATIENCE, free_port, running
from tests.support.sdk_user import Era

COMMAND = (sys.executable, "-m", "tests.support.many_server")
LIAR = (sys.executable, "-m", "tests.support.lying_server", "legacy")

LONG = '{ connect = "20s" }'
"""For a server on a pipe to start, when many do at once."""

SLOW = 100.0
"""Seconds that the slow server takes for everything: longer than the tests."""

OWN = tuple(body.__name__ for body in TOOLS)
"""The tools of every server, in their order."""


@attrs.frozen
class One:
    """A server on the SDK."""

    name: str
    era: Era
    port: int | None = None
    """None: it is on a pipe."""
    slow: float = 0.0

    @property
    def command(self) -> tuple[str, ...]:
        """How it is started."""
        where = () if self.port is None else ("--http", str(self.port))
        return (*COMMAND, "--name", self.name, "--era", self.era, "--slow", str(self.slow), *where)

    @property
    def about(self) -> str:
        """The URI that nobody else has."""
        return f"demo://{self.name}/about"

    @property
    def template(self) -> str:
        """Its template."""
        return f"demo://{self.name}/{{id}}"

    def service(self, **keys: str) -> str:
        """TOML of the service. `keys` are TOML values."""
        if self.port is None:
            return stdio_service(self.name, *self.command, timeout=LONG, **keys)
        return http_service(self.name, self.port, **keys)

    async def wait(self) -> None:
        """Wait until one over HTTP listens. Bounded."""
        with trio.fail_after(PATIENCE):
            while not await self._answers():
                await trio.sleep(0.05)

    async def _answers(self) -> bool:
        assert self.port is not None
        try:
            await (await trio.open_tcp_stream("127.0.0.1", self.port)).aclose()
        except OSError:
            return False
        return True


def web(name: str, era: Era, slow: float = 0.0) -> One:
    """A server over HTTP, on a port that is free."""
    return One(name, era, free_port(), slow)


def over(servers: Iterable[One | str], path: str = "/mcp", **keys: str) -> str:
    """TOML of a route over these, in this order. `keys` are TOML values."""
    names = [server if isinstance(server, str) else server.name for server in servers]
    return route(path, "", services=json.dumps(names), **keys)


@asynccontextmanager
async def listening(servers: Iterable[One], folder: Path) -> AsyncGenerator[None]:
    """The processes of those that are not on pipes, when all of them listen; they log into the folder."""
    web_ones = [server for server in servers if server.port is not None]
    async with AsyncExitStack() as stack:
        for server in web_ones:
            await stack.enter_async_context(running(server.command, folder / f"{server.name}.log"))
        for server in web_ones:
            await server.wait()
        yield


@asynccontextmanager
async def gateway_over(
    servers: Sequence[One], folder: Path, head: str = "", also: str = "", **keys: str
) -> AsyncGenerator[Gateway]:
    """A gateway with `/mcp` over servers that are started with it. `keys` are TOML values of the route.

    `head` is TOML that comes first, and may belong to `[gateway]`; `also` comes last.
    """
    text = head + "".join(server.service() for server in servers) + over(servers, **keys) + also
    async with listening(servers, folder), running_gateway(text, folder) as gateway:
        yield gateway


@attrs.frozen
class World:
    """Twelve servers behind `/mcp`: nine that live, and three that do not do what they should."""

    gateway: Gateway
    live: tuple[One, ...]
    first: float
    """Seconds that the first list took."""
    begun: dict[str, Any]
    """What `/services` said after that."""

    @property
    def url(self) -> str:
        """Of the one address."""
        return self.gateway.url()

    @property
    def kinds(self) -> tuple[One, ...]:
        """One of each era and transport; none of them is the first of the list."""
        return self.live[-4:]


def nine() -> tuple[One, ...]:
    """Those that live: both eras and both transports, mixed."""
    return (
        web("legacy-web-1", "legacy"),
        One("legacy-pipe-1", "legacy"),
        web("modern-web-1", "modern"),
        One("modern-pipe-1", "modern"),
        web("legacy-web-2", "legacy"),
        web("modern-web-2", "modern"),
        One("modern-pipe-2", "modern"),
        web("legacy-web-3", "legacy"),
        One("legacy-pipe-2", "legacy"),
    )


@asynccontextmanager
async def open_world(folder: Path) -> AsyncGenerator[World]:
    """Start everything, and ask for the list once; it ends with the block."""
    live, slow, dead = nine(), web("slow", "modern", SLOW), web("dead", "modern")
    order: list[One | str] = [live[0], dead, live[1], slow, live[2], "liar", *live[3:]]
    services = "".join(one.service() for one in (*live, slow, dead)) + stdio_service("liar", *LIAR, timeout=LONG)
    async with listening((*live, slow), folder), running_gateway(services + over(order), folder) as gateway:
        start = trio.current_time()
        await list_once(gateway)
        first = trio.current_time() - start
        yield World(gateway, live, first, await services_of(gateway))


async def list_once(gateway: Gateway, path: str = "/mcp") -> list[str]:
    """The names of the tools on the first page, as a client sees them that can do nothing. Bounded."""
    with trio.fail_after(PATIENCE):
        async with wire.connect(gateway.address) as client:
            reply = await client.ask(wire.modern("tools/list", path=path))
    return [tool["name"] for tool in reply.json()["result"]["tools"]]


async def services_of(gateway: Gateway) -> dict[str, Any]:
    """What `/services` says, by service."""
    reply = await gateway.ask_admin("/services")
    return {service["name"]: service for service in reply.json()["services"]}


async def tools_of(client: Client) -> dict[str, types.Tool]:
    """All tools, in their order."""
    page = await client.list_tools()
    found = {tool.name: tool for tool in page.tools}
    while page.next_cursor is not None:
        page = await client.list_tools(cursor=page.next_cursor)
        found |= {tool.name: tool for tool in page.tools}
    return found


async def has_tools(client: Client, *names: str) -> dict[str, types.Tool]:
    """Wait until all of these are listed: all tools that are. Raises `trio.TooSlowError`."""
    with trio.fail_after(PATIENCE):
        found = await tools_of(client)
        while not found.keys() >= set(names):
            await trio.sleep(0.1)
            found = await tools_of(client)
    return found


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool says that succeeds."""
    result = await client.call_tool(tool, arguments)
    [block] = result.content
    assert isinstance(block, types.TextContent)
    assert not result.is_error, block.text
    said: dict[str, Any] = json.loads(block.text)
    return said


async def read(client: Client, uri: str) -> str:
    """The text of a resource, which comes back under the name that it was asked for."""
    [contents] = (await client.read_resource(uri)).contents
    assert isinstance(contents, types.TextResourceContents)
    assert contents.uri == uri
    return contents.text
