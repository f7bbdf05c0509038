"""Two thousand legacy sessions opened, used and abandoned, over an HTTP and a stdio upstream.

`python -m bench.sessions` prints what the gateway holds before, with all sessions open, and after they have expired.
Exit code 1 when tree, descriptors or processes are not back at rest, or memory is not within 10 % of where it was.
A first round brings memory to its working level, so that the second one shows what stays behind.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from tests.support import wire
from tests.support.counting_server import open_counting_server
from tests.support.gateway import Gateway, http_service, route, running_gateway, stdio_service
from tests.support.storm import at_rest, wait_at_rest

TERMS = 'session = { idle = "15s", resume = "1s" }\n'
PROCESS = stdio_service("pipe", sys.executable, "-m", "tests.support.counting_stdio", timeout='{ idle = "2s" }')
MOST_GROWTH = 1.1


async def round_of(gateway: Gateway, count: int) -> None:
    """Open sessions in waves, use each one, hold its stream for a moment, and go without a word."""
    for first in range(0, count, 100):
        async with AsyncExitStack() as stack:
            for number in range(first, min(first + 100, count)):
                path = ("/web", "/pipe")[number % 2]
                client = await stack.enter_async_context(wire.connect(gateway.address))
                session = await wire.open_session(client, path)
                await client.ask(wire.legacy("tools/call", wire.call("echo", text="x"), session=session, path=path))
                await client.send(wire.get_stream(session, path))
                await client.head()


async def run(count: int) -> int:
    """Exit code."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_counting_server() as server:
            text = TERMS + PROCESS + http_service("web", server.port) + route("/web", "web") + route("/pipe", "pipe")
            async with running_gateway(text, Path(folder)) as gateway:
                empty = await at_rest(gateway)
                await round_of(gateway, count)
                await wait_at_rest(gateway, empty)
                before, memory_before = await at_rest(gateway), gateway.measured.resident_bytes()
                await round_of(gateway, count)
                full, memory_full = await at_rest(gateway), gateway.measured.resident_bytes()
                after = await wait_at_rest(gateway, before)
                memory_after = gateway.measured.resident_bytes()
    for when, held, memory in (
        ("before", before, memory_before),
        ("open", full, memory_full),
        ("after", after, memory_after),
    ):
        print(f"{when:>7}: {memory / 1024**2:.1f} MiB, {held}")
    return int(after != before or before != empty or memory_after > memory_before * MOST_GROWTH)


if __name__ == "__main__":
    parser = argparse.ArgumentParser("bench.sessions")
    parser.add_argument("--count", type=int, default=2000, help="sessions per round (2000)")
    sys.exit(trio.run(run, parser.parse_args().count))
