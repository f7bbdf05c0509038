"""Fixtures: a gateway in front of a scripted server, which must be at rest after every test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.inprocess import InProcess, open_gateway, simple_table


@pytest.fixture
async def server() -> AsyncIterator[CountingServer]:
    """The upstream. Whatever happened, nothing runs on it in the end."""
    async with open_counting_server() as server:
        yield server
        with trio.fail_after(5):
            while server.script.counters.in_flight:
                await trio.sleep(0.01)


@pytest.fixture
async def gateway(server: CountingServer) -> AsyncIterator[InProcess]:
    """A gateway with default settings and one open route, `/mcp`."""
    async with open_gateway(simple_table(server.port)) as gateway:
        yield gateway
