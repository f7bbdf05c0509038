"""A small MCP server to try the gateway on: `gatewayd demo`, or `gatewayd demo --http 127.0.0.1:8101`.

It stands on the official SDK, speaks both protocol eras, and has one of everything that a gateway must
carry: a plain call, a call with progress, a call that asks its user back, a resource, a resource template and
a prompt. On stdio it ends when its input does; over HTTP it listens on loopback only and ends on SIGTERM or
SIGINT.

Importing this module imports the SDK, which takes most of a second: import it only to run it.
"""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, cast

import anyio
import hypercorn.config
import hypercorn.trio
import trio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel, Field

import gatewayd

LONGEST_SLEEP = 60.0
"""Seconds that `slow` agrees to take: the demo is no tool for holding slots for hours."""

PROGRESS_EVERY = 0.1
"""Seconds between two progress notifications of `slow`."""

FAREWELL = 2.0
"""Seconds that open requests get after SIGTERM."""

server = MCPServer(
    "gatewayd-demo",
    title="gatewayd demo",
    version=gatewayd.__version__,
    instructions="A server to try a gateway on. Nothing here reads or changes anything outside this process.",
    log_level="ERROR",
)


@server.tool()
def echo(text: str) -> str:
    """Return the text as it came."""
    return text


@server.tool()
def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


@server.tool()
async def slow(seconds: Annotated[float, Field(ge=0, le=LONGEST_SLEEP)], ctx: Context[None]) -> str:
    """Take some time, and tell how far it got while doing so."""
    start = anyio.current_time()
    await ctx.report_progress(0, seconds, "started")
    while (left := start + seconds - anyio.current_time()) > 0:
        await anyio.sleep(min(left, PROGRESS_EVERY))
        await ctx.report_progress(min(anyio.current_time() - start, seconds), seconds)
    return f"took {seconds:g} s"


class Colour(BaseModel):
    """What `ask` wants to know."""

    colour: str = Field(description="Any colour will do")


def ask_colour(name: str) -> Elicit[Colour]:
    """The question of `ask`: a request to a legacy client, an `input_required` result to a modern one."""
    return Elicit(f"What is your favourite colour, {name}?", Colour)


@server.tool()
def ask(name: str, answer: Annotated[Colour, Resolve(ask_colour)]) -> str:
    """Ask the user for a colour, and say what was answered."""
    return f"{name} likes {answer.colour}"


@server.resource("demo://about", mime_type="text/plain")
def about() -> str:
    """What this server is."""
    return "The demo server that ships with gatewayd."


@server.resource("demo://greeting/{name}", mime_type="text/plain")
def greeting(name: str) -> str:
    """A greeting for whoever is named in the URI."""
    return f"Hello, {name}!"


@server.prompt()
def haiku(topic: str) -> str:
    """Ask a model for a haiku."""
    return f"Write a haiku about {topic}."


def loopback(address: str) -> tuple[str, int]:
    """Parse `HOST:PORT`, where HOST is a loopback address; an IPv6 one stands in brackets.

    Raises:
        ValueError: anything else.
    """
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"`{address}` is not HOST:PORT")
    if bare != "localhost" and not ipaddress.ip_address(bare).is_loopback:
        raise ValueError(f"`{bare}` is not a loopback address: the demo lets everybody in")
    return host, int(port)


async def serve_http(host: str, port: int) -> None:
    """Serve `http://HOST:PORT/mcp` until SIGTERM or SIGINT, and say on stderr where that is.

    Port 0: the system chooses.
    """
    config = hypercorn.config.Config()
    config.bind = [f"{host}:{port}"]
    config.graceful_timeout = FAREWELL
    config.accesslog = None
    config.errorlog = None
    app = server.streamable_http_app(host=host.strip("[]"))
    serve = cast(Any, hypercorn.trio).serve  # its signature is only partly typed

    async def told_to_stop() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                return

    async with trio.open_nursery() as nursery:
        binds: list[str] = await nursery.start(partial(serve, app, config, shutdown_trigger=told_to_stop))
        sys.stderr.write(f"demo MCP server on {binds[0]}/mcp\n")
        sys.stderr.flush()


def main(argv: Sequence[str]) -> int:
    """Run the demo server until its input ends (stdio) or a signal comes (HTTP).

    Returns the exit code: 0, or 2 for a bad `argv`.
    """
    parser = argparse.ArgumentParser("gatewayd demo", description="A small MCP server to try the gateway on.")
    parser.add_argument("--http", metavar="HOST:PORT", help="serve Streamable HTTP at /mcp there, not stdio")
    try:
        arguments = parser.parse_args(argv)
        address = loopback(arguments.http) if arguments.http is not None else None
    except SystemExit as error:
        return int(error.code or 0)
    except ValueError as error:
        sys.stderr.write(f"gatewayd demo: {error}\n")
        return 2
    if address is None:
        anyio.run(server.run_stdio_async, backend="trio")
    else:
        trio.run(serve_http, *address)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
