"""What the commands have in common that ask services: options, progress, and an end when somebody interrupts."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import AsyncIterator, Collection, Sequence

import trio

from gatewayd.catalog.kinds import Kind
from gatewayd.cli.output import complain, count, tell
from gatewayd.daemon.survey import Answered, Survey, survey
from gatewayd.dsl.diagnostics import Fault
from gatewayd.dsl.literals import duration
from gatewayd.observe import log
from gatewayd.routes.table import Log, Table


def add_asking(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    group = parser.add_argument_group("where services are asked")
    group.add_argument(
        "--timeout",
        type=_patience,
        default=30.0,
        metavar="DURATION",
        help="how long each service has for its answer, such as 30s (the default) or 2m",
    )
    group.add_argument(
        "--verbose", action="store_true", help="log on standard error what happens meanwhile, words of servers included"
    )


def ask(table: Table, names: Collection[str], kinds: Sequence[Kind], arguments: argparse.Namespace) -> Survey | None:
    """Ask services; None where SIGINT or SIGTERM came first. What was opened is closed in either case."""
    log.configure(Log("info" if arguments.verbose else "error", "console"), sys.stderr)
    tell(f"asking {count(len(names), 'service')}...")
    found = trio.run(_ask, table, names, kinds, arguments.timeout)
    if found is None:
        complain("interrupted")
    elif not arguments.verbose and any(answered.error is not None for answered in found.services):
        tell("what is in the way of those that do not answer: `--verbose` shows more of it")
    return found


async def _ask(table: Table, names: Collection[str], kinds: Sequence[Kind], timeout: float) -> Survey | None:
    found: Survey | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, signals, nursery.cancel_scope)
            found = await survey(table, names, kinds, timeout, _progress)
            nursery.cancel_scope.cancel()
    return found


async def _obey(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


def _progress(answered: Answered) -> None:
    """A line for those who watch; others have no use for it."""
    if sys.stderr.isatty():
        said = count(len(answered.tools), "tool") if answered.error is None else answered.error
        tell(f"  {answered.service}: {said} ({answered.seconds:.1f} s)")


def _patience(text: str) -> float:
    try:
        seconds = duration(text)
    except Fault as fault:
        raise argparse.ArgumentTypeError(fault.message) from None
    if not seconds:
        raise argparse.ArgumentTypeError("nobody answers in no time")
    return seconds
