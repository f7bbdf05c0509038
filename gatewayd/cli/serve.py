"""`gatewayd --config FILE`: the gateway itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

from gatewayd.cli.output import complain, print_diagnostics
from gatewayd.daemon.configuration import Configuration
from gatewayd.daemon.notify import take_notifier
from gatewayd.daemon.root import Daemon
from gatewayd.dsl import compile_file
from gatewayd.net.sockets import CannotListen
from gatewayd.observe import log
from gatewayd.routes.table import Table


def serve(path: Path) -> int:
    """Run the daemon. Diagnostics of the first compilation are for the person who started it."""
    outcome = compile_file(path, environ=os.environ)
    print_diagnostics(outcome.diagnostics)
    if outcome.table is None:
        return 2
    table = outcome.table
    log.configure(table.log, sys.stderr)
    failed = False
    try:
        trio.run(_run, path, table)
    except* CannotListen as group:
        failed = True
        for error in _leaves(group):
            complain(str(error))
    return int(failed)


async def _run(path: Path, table: Table) -> None:
    notifier = take_notifier(os.environ)
    try:
        await Daemon(Configuration(path, dict(os.environ)), notifier).run(table)
    finally:
        notifier.close()


def _leaves(group: BaseExceptionGroup[CannotListen]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
