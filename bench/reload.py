"""200 calls in flight while SIGHUP is sent 50 times, every second time with a broken file.

Run as `python -m bench.reload`. Exit code 1 when a call failed or a child of the gateway was replaced.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from tests.support.counting_server import open_counting_server
from tests.support.gateway import http_service, route, running_gateway, stdio_service
from tests.support.reloading import reload_under_load, wait_route

STDIO = stdio_service("pipe", sys.executable, "-m", "tests.support.counting_stdio", per='"shared"')


async def run(calls: int, reloads: int, seconds: float) -> int:
    """Exit code."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_counting_server() as server:
            text = STDIO + http_service("web", server.port) + route("/web", "web") + route("/pipe", "pipe")
            async with running_gateway(text, Path(folder)) as gateway:
                await wait_route(gateway, "/pipe")
                before = gateway.measured.children()
                made = await reload_under_load(gateway, text, ("/web", "/pipe"), "web", calls, reloads, seconds)
                after = gateway.measured.children()
    print(f"{made.good} of {calls} calls came back whole during {reloads} reloads; children {before} -> {after}")
    for bad in made.bad[:5]:
        print(f"  failed: {bad[:300]}")
    return int(made.good != calls or before != after)


if __name__ == "__main__":
    parser = argparse.ArgumentParser("bench.reload")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the reloads are spread over")
    options = parser.parse_args()
    sys.exit(trio.run(run, options.calls, options.reloads, options.seconds))
