"""Gateways in front of real MCP servers."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.support.gateway import Gateway, http_service, route, running_gateway, stdio_service
from tests.support.processes import PATIENCE, free_port, running

DEMO = (sys.executable, "-m", "gatewayd.demo")


@pytest.fixture
async def demo_port() -> AsyncIterator[int]:
    """The port of a demo server over HTTP."""
    port = free_port()
    async with running([*DEMO, "--http", f"127.0.0.1:{port}"]):
        await wait_listening(port)
        yield port


@pytest.fixture
async def demo_gateway(demo_port: int, tmp_path: Path) -> AsyncIterator[Gateway]:
    """`/http/mcp` leads to a demo server over HTTP, `/stdio/mcp` to one over stdio."""
    services = http_service("web", demo_port) + stdio_service("pipe", *DEMO, per=json.dumps("shared"))
    async with running_gateway(services + route("/http/mcp", "web") + route("/stdio/mcp", "pipe"), tmp_path) as gateway:
        yield gateway


async def wait_listening(port: int) -> None:
    """Wait until something listens there."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return
