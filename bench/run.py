"""What the gateway costs beside the cheapest server on the same stack: prints a Markdown table of ratios.

`python -m bench.run` starts the upstream, the gateway in front of it and a load generator, each a process,
and measures by turns: directly, through the gateway, directly... so that a busy machine disturbs both
alike. The upstream is the baseline too: what a call costs it in the direct rounds is what Trio and
httptools cost by themselves. CPU is read from the kernel's counters of each process. Compare ratios between
machines, never milliseconds.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import attrs
import msgspec
import trio

from bench import lists
from bench.load import PAYLOAD, Outcome, Spec
from tests.support import wire
from tests.support.gateway import DAEMON, Gateway, http_service, route, running_gateway
from tests.support.processes import ROOT, Measured, free_port, port_of, running

Era = Literal["modern", "legacy"]
ERAS: tuple[Era, ...] = ("modern", "legacy")

EXAMPLE = ROOT / "gateway.toml.example"
VIRTUAL = "/all/mcp"
SETTLE = 1.0
"""Seconds of rest before memory is read."""


@attrs.frozen
class Sides:
    """The two ways to the same tool."""

    upstream: Measured
    upstream_port: int
    gateway: Gateway


@attrs.frozen
class Sample:
    """One round on one side."""

    outcome: Outcome
    cpu: float
    """CPU microseconds per call of the process under test: of the upstream directly, of the gateway through
    it.
    """


@attrs.frozen
class Row:
    """A line of the table."""

    what: str
    direct: str
    gateway: str
    compared: str
    budget: str = ""
    kept: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "kept", False: "**missed**", None: ""}[self.kept]
        return f"| {self.what} | {self.direct} | {self.gateway} | {self.compared} | {self.budget} | {verdict} |"


async def load(spec: Spec) -> Outcome:
    """Run the load generator. Raises `RuntimeError` when a call failed: the figures would mean nothing."""
    command = [sys.executable, "-m", "bench.load", msgspec.json.encode(spec).decode()]
    with trio.fail_after(spec.seconds + 30):
        finished = await trio.run_process(command, capture_stdout=True, cwd=ROOT)
    outcome = msgspec.json.decode(finished.stdout, type=Outcome)
    if outcome.errors:
        raise RuntimeError(f"{outcome.errors} of {outcome.calls} calls failed: {spec}")
    return outcome


async def measure(process: Measured, spec: Spec) -> Sample:
    """One round, with the CPU that `process` used for it."""
    before = process.cpu_seconds()
    outcome = await load(spec)
    return Sample(outcome, (process.cpu_seconds() - before) / outcome.calls * 1e6)


async def by_turns(sides: Sides, spec: Spec, rounds: int) -> tuple[list[Sample], list[Sample]]:
    """Direct and gateway samples, taken alternately; the side that begins alternates too."""
    direct: list[Sample] = []
    through: list[Sample] = []
    for number in range(rounds):
        turns = [
            (direct, sides.upstream, sides.upstream_port),
            (through, sides.gateway.measured, sides.gateway.port),
        ]
        for samples, process, port in turns if number % 2 == 0 else reversed(turns):
            samples.append(await measure(process, msgspec.structs.replace(spec, port=port)))
    return direct, through


def middle(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    """The median over rounds."""
    return statistics.median(value(sample) for sample in samples)


async def calls_rows(sides: Sides, era: Era, calls: int, rounds: int) -> list[Row]:
    """CPU and throughput with 16 connections, latency with one."""
    busy, busy_through = await by_turns(sides, Spec(0, era, connections=16, calls=calls), rounds)
    cpu, cpu_through = (middle(samples, lambda s: s.cpu) for samples in (busy, busy_through))
    rate, rate_through = (middle(samples, lambda s: s.outcome.rate) for samples in (busy, busy_through))
    alone, alone_through = await by_turns(sides, Spec(0, era, connections=1, calls=calls // 2), rounds)
    rows = [
        Row(
            f"CPU per call, 16 connections, {era}",
            f"{cpu:.0f} µs",
            f"{cpu_through:.0f} µs",
            f"{cpu_through / cpu:.2f} times",
            "4 times",
            cpu_through <= 4 * cpu,
        ),
        Row(
            f"calls per second, 16 connections, {era}",
            f"{rate:,.0f}",
            f"{rate_through:,.0f}",
            f"{rate_through / rate:.2f} times",
        ),
    ]
    rows += _latency_rows(era, alone, alone_through)
    cpu, cpu_through = (middle(samples, lambda s: s.cpu) for samples in (alone, alone_through))
    ratio = f"{cpu_through / cpu:.2f} times"
    rows.append(Row(f"CPU per call, 1 connection, {era}", f"{cpu:.0f} µs", f"{cpu_through:.0f} µs", ratio))
    return rows


def _latency_rows(era: Era, direct: list[Sample], through: list[Sample]) -> list[Row]:
    rows: list[Row] = []
    values: list[tuple[str, float, Callable[[Sample], float]]] = [
        ("p50", 1.0, lambda sample: sample.outcome.p50),
        ("p99", 5.0, lambda sample: sample.outcome.p99),
    ]
    for name, budget, value in values:
        before, after = middle(direct, value), middle(through, value)
        rows.append(
            _added(f"latency {name}, 1 connection, {era}", before, after, budget),
        )
    return rows


def _added(what: str, direct: float, through: float, budget: float) -> Row:
    added = through - direct
    return Row(
        what,
        f"{direct:.2f} ms",
        f"{through:.2f} ms",
        f"{added:+.2f} ms",
        f"below {budget:g} ms",
        added < budget,
    )


async def stream_row(sides: Sides, era: Era, calls: int, rounds: int) -> Row:
    """From the request to the first event of an answer that is a stream."""
    direct, through = await by_turns(sides, Spec(0, era, "streams", calls=calls // 5), rounds)
    first, first_through = (middle(samples, lambda s: s.outcome.p50) for samples in (direct, through))
    return _added(f"first event of a stream, p50, {era}", first, first_through, 2.0)


async def memory_row(sides: Sides, sessions: int) -> Row:
    """Resident memory per idle legacy session with an open stream, and whether all of them could be held."""
    await trio.sleep(SETTLE)
    before = sides.gateway.measured.resident_bytes()
    spec = Spec(sides.gateway.port, "legacy", "sessions", calls=sessions)
    command = [sys.executable, "-m", "bench.load", msgspec.json.encode(spec).decode()]
    async with running(command) as holder:
        assert holder.stdout is not None
        with trio.fail_after(120):
            said = await holder.stdout.receive_some()
        if not said:
            raise RuntimeError(f"{sessions} sessions could not be opened")
        await trio.sleep(SETTLE)
        each = (sides.gateway.measured.resident_bytes() - before) / sessions / 1024
    what = f"memory per idle legacy session with a stream ({sessions})"
    return Row(what, "", f"{each:.1f} KiB", "", "below 40 KiB", each < 40)


async def virtual_row(sides: Sides, era: Era, calls: int, rounds: int) -> Row:
    """A call through a route of two services, beside the same call through a route that shows its service as it is."""
    plain, virtual = list[Sample](), list[Sample]()
    for _ in range(rounds):
        for samples, path in ((plain, "/mcp"), (virtual, VIRTUAL)):
            spec = Spec(sides.gateway.port, era, path=path, connections=16, calls=calls)
            samples.append(await measure(sides.gateway.measured, spec))
    cpu, cpu_virtual = (middle(samples, lambda s: s.cpu) for samples in (plain, virtual))
    what = f"CPU per call, route of two services beside one, {era}"
    return Row(what, f"{cpu:.0f} µs", f"{cpu_virtual:.0f} µs", f"{cpu_virtual / cpu:.2f} times")


async def list_rows(times: int, rounds: int) -> list[Row]:
    """What a route over many services spends on a list that has not changed."""
    found = await lists.figures(times, rounds)
    what, budget = f"CPU per list of {lists.SERVICES * lists.TOOLS:,} tools", f"below {lists.BUDGET:g} ms"
    return [
        Row(f"{what}, {era}", "", f"{one.cpu:.2f} ms", f"{one.size:.0f} KiB", budget, one.cpu < lists.BUDGET)
        for era, one in found.items()
    ]


async def cold_start_row(rounds: int) -> Row:
    """From the start of the daemon with the example file to readiness: the best of several."""
    what, budget = "cold start with the example file", "below 1.5 s"
    if not EXAMPLE.exists():
        return Row(what, "", "no example file", "", budget)
    times = [await _cold_start() for _ in range(rounds)]
    return Row(what, "", f"{min(times):.2f} s", "", budget, min(times) < 1.5)


async def _cold_start() -> float:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / EXAMPLE.name
        config.write_text(elsewhere(EXAMPLE.read_text()))
        host, _, port = tomllib.loads(config.read_text())["gateway"]["admin"].rpartition(":")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the example runs `gatewayd`
        start = time.perf_counter()
        async with running([*DAEMON, "--config", str(config)], env={"PATH": path}) as process:
            with trio.fail_after(30):
                while process.poll() is None:
                    if await is_ready((host, int(port))):
                        return time.perf_counter() - start
                    await trio.sleep(0.01)
    raise RuntimeError("the gateway ended before it was ready with the example file")


def elsewhere(config: str) -> str:
    """The same configuration on ports that are free: another gateway may have those of the example."""
    ports: dict[str, str] = {}
    return re.sub(
        r"127\.0\.0\.1:(\d+)",
        lambda found: f"127.0.0.1:{ports.setdefault(found[1], str(free_port()))}",
        config,
    )


async def is_ready(admin: wire.Address) -> bool:
    """Whether `/readyz` says so."""
    try:
        async with wire.connect(admin) as client:
            reply = await client.ask(wire.http_request("GET", "/readyz", {"Connection": "close"}))
            return reply.status == 200
    except (OSError, trio.BrokenResourceError):
        return False


async def bench(options: argparse.Namespace) -> list[Row]:
    """Everything, in order."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        async with port_of("bench.upstream") as (port, upstream):
            text = http_service("bench", port, prefix='""') + http_service("more", port) + route("/mcp", "bench")
            text += route(VIRTUAL, "", services='["bench", "more"]')
            async with running_gateway(text, Path(folder)) as gateway:
                sides = Sides(upstream, port, gateway)
                for era in ERAS:
                    await by_turns(sides, Spec(0, era, connections=4, calls=500), 1)  # warm
                    rows += await calls_rows(sides, era, options.calls, options.rounds)
                    rows.append(await stream_row(sides, era, options.calls, options.rounds))
                    rows.append(await virtual_row(sides, era, options.calls // 2, options.rounds))
                rows.append(await memory_row(sides, options.sessions))
    rows += await list_rows(options.calls // 50, options.rounds)
    rows.append(await cold_start_row(min(options.rounds, 3)))
    return rows


def report(rows: list[Row], options: argparse.Namespace) -> str:
    """The table, and what one must know to read it."""
    machine = f"Python {platform.python_version()}, Trio {trio.__version__}, {os.cpu_count()} shared cores"
    head = f"| echo of {len(PAYLOAD)} letters | direct | gateway | compared | budget | |"
    rounds = f"medians of {options.rounds} interleaved rounds of {options.calls:,} calls."
    return "\n".join([f"{machine}; {rounds}", "", head, "|---|---|---|---|---|---|", *map(str, rows)])


def main() -> int:
    """Parse, run, print. Exit code 1 when a budget is missed and `--strict` was given."""
    parser = argparse.ArgumentParser("bench.run", description="Measure the gateway against its budgets.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per side (5)")
    parser.add_argument("--calls", type=int, default=10_000, help="calls per round (10000)")
    parser.add_argument("--sessions", type=int, default=500, help="idle sessions to hold (500)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 5000 calls")
    parser.add_argument("--strict", action="store_true", help="fail when a budget is missed")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.calls = 2, 5000
    rows = trio.run(bench, options)
    print(report(rows, options))
    return int(options.strict and any(row.kept is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
