"""A client that goes away takes its call with it, all the way to the upstream, and leaves nothing behind."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.support import wire
from tests.support.counting_server import open_counting_server
from tests.support.gateway import Gateway, http_service, route, running_gateway, stdio_service
from tests.support.storm import at_rest, storm, wait_at_rest, wait_until

pytestmark = pytest.mark.slow

NOTICED = 0.1
"""Seconds within which the upstream must know. The median is judged: the machine may be busy."""


async def disconnect_one_by_one_and_together(gateway: Gateway, in_flight: Callable[[], int]) -> None:
    async with wire.connect(gateway.address) as client:
        assert (await client.ask(wire.modern("tools/call", wire.call("echo", text="warm")))).status == 200
    await storm(gateway.address, in_flight, calls=10, at_once=10)
    before = await at_rest(gateway)
    assert statistics.median(await storm(gateway.address, in_flight, calls=20)) < NOTICED
    await storm(gateway.address, in_flight, calls=80, at_once=40)
    assert await wait_at_rest(gateway, before) == before


async def test_an_http_upstream_sees_its_stream_closed(tmp_path: Path) -> None:
    async with open_counting_server() as server:
        config = http_service("web", server.port) + route("/mcp", "web")
        async with running_gateway(config, tmp_path) as gateway:
            await disconnect_one_by_one_and_together(gateway, lambda: server.script.counters.in_flight)
        assert (server.counters["started"], server.counters["finished"]) == (111, 1)
        assert server.counters["cancelled"] == 110


async def test_a_stdio_upstream_is_told_to_cancel(tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    command = (sys.executable, "-m", "tests.support.counting_stdio", "--stats", str(stats))

    def counter(name: str) -> int:
        value: int = json.loads(stats.read_text())[name]
        return value

    config = stdio_service("pipe", *command, per='"shared"') + route("/mcp", "pipe")
    async with running_gateway(config, tmp_path) as gateway:
        await disconnect_one_by_one_and_together(gateway, lambda: counter("in_flight"))
        assert (counter("started"), counter("finished")) == (111, 1)
        assert counter("cancelled") == counter("cancel_notifications") == 110


async def test_the_call_of_a_legacy_client_that_stays_away_is_cancelled_upstream(tmp_path: Path) -> None:
    """In the legacy eras a lost connection is no cancellation. Only a client that does not return gives its call up."""
    async with open_counting_server() as server:
        config = 'session = { resume = "1s" }\n' + http_service("web", server.port) + route("/mcp", "web")
        async with running_gateway(config, tmp_path) as gateway:
            async with wire.connect(gateway.address) as client:
                session = await wire.open_session(client)
                await client.send(wire.legacy("tools/call", wire.call("hang"), session=session))
                await wait_until(lambda: server.script.counters.in_flight == 1)
            left = trio.current_time()
            await wait_until(lambda: server.script.counters.in_flight == 0)
            assert trio.current_time() - left > 0.9
            assert server.counters["cancelled"] == server.counters["cancel_notifications"] == 1
            assert server.counters["abandoned"] == 0
