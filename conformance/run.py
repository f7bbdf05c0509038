"""Runs the official suite through the gateway in every cell, and prints what came of it.

`python -m conformance.run` is what `make conformance` runs once the suite is installed. A cell is the era of the client
and the era of the upstream; each is run with the upstream behind HTTP and behind a pipe, and where both speak the same
era also without the gateway, so that a fault of the upstream is seen as one. Then the upstream becomes part of virtual
servers: alone, and beside others. The exit code is 1 if anything failed that `expected-failures.toml` does not explain,
or passed that it does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import attrs
import trio

from conformance import client, everything, expected
from conformance.cells import CELLS, REVISIONS, TRANSPORTS, Cell, Route, Transport, endpoint
from conformance.expected import Failure, Verdict
from conformance.suite import NotInstalled, challenge, serve
from tests.support.processes import ROOT

RESULTS = ROOT / "build/conformance/results"
ROLES = ("server", "client")
HEAD = """\
| the gateway as | client-upstream | transport | route | scenarios | checks | warnings |
|---|---|---|---|---|---|---|"""


@attrs.frozen
class Row:
    """A line of the table: the gateway as a server of clients, or as a client of upstreams."""

    role: str
    cell: str
    transport: Transport
    route: Route
    verdict: Verdict | None
    note: str = ""

    def __str__(self) -> str:
        start = f"| {self.role} | {self.cell} | {self.transport} | {self.route if self.transport != 'direct' else ''} |"
        if self.verdict is None:
            return f"{start} not run: {self.note} | | |"
        found, expected_ones = self.verdict, sum(bool(failure.reason) for failure in self.verdict.failures)
        of_them = f" ({expected_ones} expected)" if expected_ones else ""
        checks = f"{found.checks - found.checks_failed} of {found.checks}"
        warnings = str(len(found.warnings) or "")
        return f"{start} {found.passed} of {found.scenarios} | {checks}{of_them} | {warnings} |"

    @property
    def good(self) -> bool:
        """Nothing to complain of, as far as it could be run."""
        return self.verdict is None or self.verdict.good


async def rows(options: argparse.Namespace) -> list[Row]:
    """Run what was asked for. Every line is printed as soon as it is known."""
    entries, found = expected.load(), list[Row]()
    source = await everything.obtain()
    for cell in CELLS:
        if options.cell and cell.name not in options.cell:
            continue
        for way, transport in ways(cell, options):
            found += await server_rows(cell, transport, way, source, entries, options)
        if "client" in options.role and not cell.everything and ("transparent", "http") in asked(options):
            found += await client_rows(cell, entries, options)
    return found


def asked(options: argparse.Namespace) -> list[tuple[Route, Transport]]:
    """The routes that were asked for, each with its transports."""
    return [
        (way, transport)
        for way, usual in TRANSPORTS.items()
        for transport in options.transport or usual
        if way in options.route and (transport != "direct" or way == "transparent")
    ]


def ways(cell: Cell, options: argparse.Namespace) -> list[tuple[Route, Transport]]:
    """What of that a cell is run with, if the gateway is to be a server at all."""
    if "server" not in options.role:
        return []
    return [
        (way, transport)
        for way, transport in asked(options)
        if not (transport == "direct" and cell.client != cell.upstream)
        if not (way != "transparent" and cell.everything)
    ]


async def server_rows(
    cell: Cell,
    transport: Transport,
    way: Route,
    source: Path | None,
    entries: tuple[expected.Expected, ...],
    options: argparse.Namespace,
) -> list[Row]:
    """The suite as a client of the gateway, or of the upstream where there is none."""
    if cell.everything and source is None:
        return [show(Row("server", cell.name, transport, way, None, "the everything server could not be had"), options)]
    folder = empty(f"{cell.name}-{transport}" if way == "transparent" else f"{cell.name}-{transport}-{way}")
    async with endpoint(cell, transport, folder, source if cell.everything else None, way) as url:
        scenarios = await serve(url, REVISIONS[cell.client], options.scenario, folder)
    if options.scenario and not scenarios:
        return []  # of the other revision
    name = f"{cell.name}-direct" if transport == "direct" else cell.name
    return [show(Row("server", cell.name, transport, way, expected.judge(name, scenarios, entries)), options)]


async def client_rows(cell: Cell, entries: tuple[expected.Expected, ...], options: argparse.Namespace) -> list[Row]:
    """The suite as an upstream of the gateway."""
    names = [name for name in client.SCENARIOS[cell.upstream] if name in (options.scenario or [name])]
    if not names:
        return []
    folder = empty(f"{cell.name}-client")
    command = f"{sys.executable} -m conformance.client --mode {cell.client} --upstream {cell.upstream}"
    scenarios = [await challenge(command, REVISIONS[cell.upstream], name, folder) for name in names]
    verdict = expected.judge(f"{cell.name}-client", scenarios, entries)
    return [show(Row("client", cell.name, "http", "transparent", verdict), options)]


def empty(name: str) -> Path:
    """A folder for the results of a run, without those of the last one."""
    folder = RESULTS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def show(row: Row, options: argparse.Namespace) -> Row:
    """Print a line, and below it what is wrong; with `--verbose` also what is excused or a warning."""
    print(row, flush=True)
    if row.verdict is None:
        return row
    for failure in row.verdict.failures:
        if not failure.reason or options.verbose:
            print(told("FAILED" if not failure.reason else "expected", failure))
    for entry in row.verdict.stale:
        print(f"    PASSED, but expected to fail: {entry.scenario}:{entry.check}")
    for warning in row.verdict.warnings if options.verbose else ():
        print(told("warning", warning))
    return row


def told(what: str, failure: Failure) -> str:
    """A failure in one line."""
    because = f" [{failure.reason}]" if failure.reason else ""
    return f"    {what} {failure.scenario}:{failure.check}: {failure.message}{because}"


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser("conformance.run", description="Run the official suite through the gateway.")
    parser.add_argument("--cell", action="append", choices=[cell.name for cell in CELLS], help="this one (all)")
    parser.add_argument(
        "--transport", action="append", choices=TRANSPORTS["transparent"], help="towards the upstream (what is usual)"
    )
    parser.add_argument(
        "--route", action="append", choices=tuple(TRANSPORTS), help="what is made of the upstream (all)"
    )
    parser.add_argument("--scenario", action="append", default=[], help="this one alone (all of the revision)")
    parser.add_argument("--role", action="append", choices=ROLES, help="what the gateway is to the suite (both)")
    parser.add_argument("--verbose", action="store_true", help="say more: expected failures, and warnings")
    options = parser.parse_args()
    options.role, options.route = options.role or ROLES, options.route or tuple(TRANSPORTS)
    print(HEAD)
    try:
        found = trio.run(rows, options)
    except NotInstalled as missing:
        print(f"\n{missing}", file=sys.stderr)
        return 2
    print(f"\nResults, and what everybody logged: {RESULTS.relative_to(ROOT)}")
    return int(not all(row.good for row in found))


if __name__ == "__main__":
    sys.exit(main())
