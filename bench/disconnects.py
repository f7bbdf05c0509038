"""A thousand clients that leave in the middle of a call, over an HTTP and a stdio upstream.

`python -m bench.disconnects` prints how soon the upstream knew, and what the gateway, the upstream and the
kernel still hold afterwards. Exit code 1 when something did not come back to rest, or the median took longer
than 100 ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio

from tests.support import wire
from tests.support.counting_server import open_counting_server
from tests.support.gateway import Gateway, http_service, route, running_gateway, stdio_service
from tests.support.storm import at_rest, storm, wait_at_rest

BUDGET = 0.1


async def disconnect(name: str, gateway: Gateway, in_flight: Callable[[], int], count: int) -> bool:
    """One by one for a tenth of them, then in waves of 50; whether all is well."""
    async with wire.connect(gateway.address) as client:
        await client.ask(wire.modern("tools/call", wire.call("echo", text="warm")))
    await storm(gateway.address, in_flight, calls=50, at_once=50)
    before = await at_rest(gateway)
    delays = sorted(await storm(gateway.address, in_flight, calls=count // 10))
    await storm(gateway.address, in_flight, calls=count - count // 10, at_once=50)
    after = await wait_at_rest(gateway, before)
    median, slowest = (statistics.median(delays) * 1000, delays[-1] * 1000)
    print(f"{name}: upstream knew after {median:.1f} ms (median), {slowest:.1f} ms (slowest of {len(delays)})")
    print(f"  before: {before}\n  after:  {after}\n  in flight: {in_flight()}")
    return after == before and median < BUDGET * 1000


async def over_http(count: int, folder: Path) -> bool:
    """The upstream is a server in this process."""
    async with open_counting_server() as server:
        config = http_service("web", server.port) + route("/mcp", "web")
        async with running_gateway(config, folder) as gateway:
            return await disconnect("HTTP", gateway, lambda: server.script.counters.in_flight, count)


async def over_stdio(count: int, folder: Path) -> bool:
    """The upstream is a child of the gateway."""
    stats = folder / "stats.json"
    command = (sys.executable, "-m", "tests.support.counting_stdio", "--stats", str(stats))

    def in_flight() -> int:
        value: int = json.loads(stats.read_text())["in_flight"]
        return value

    config = stdio_service("pipe", *command, per='"shared"') + route("/mcp", "pipe")
    async with running_gateway(config, folder) as gateway:
        return await disconnect("stdio", gateway, in_flight, count)


async def both(count: int) -> int:
    """Exit code."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        return int(not all([await over_http(count, Path(one)), await over_stdio(count, Path(two))]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser("bench.disconnects")
    parser.add_argument("--count", type=int, default=1000, help="clients per upstream (1000)")
    sys.exit(trio.run(both, parser.parse_args().count))
