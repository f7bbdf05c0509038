"""`gatewayd check`: what is wrong with a configuration and, with `--live`, what clients will see."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from gatewayd.catalog.kinds import KINDS
from gatewayd.cli.asking import ask
from gatewayd.cli.live import as_json, as_text
from gatewayd.cli.output import complain, count, print_diagnostics
from gatewayd.daemon.survey import Survey
from gatewayd.dsl import Outcome, compile_file, render
from gatewayd.routes.suspicion import spell
from gatewayd.routes.table import Table


def check(arguments: argparse.Namespace) -> int:
    """Run it: 1 where there are errors in the file. Services that cannot be asked are no such thing."""
    outcome = compile_file(arguments.file, environ=os.environ)
    if arguments.format == "json":
        return _check_json(arguments, outcome)
    print_diagnostics(outcome.diagnostics, arguments.format)
    if outcome.table is None:
        return 1
    table = outcome.table
    size = f"{count(len(table.routes), 'route')}, {count(len(table.services), 'service')}"
    print(f"{arguments.file}: {size}, digest {table.digest[:12]}")
    if not arguments.live:
        return 0
    sys.stdout.flush()
    found = _ask(arguments, table)
    if found is None:
        return 1
    print("\n" + spell(as_text(found)), end="")
    return 0


def _check_json(arguments: argparse.Namespace, outcome: Outcome) -> int:
    text = render(outcome.diagnostics, "json")
    failed = outcome.table is None
    if arguments.live:
        found = None if outcome.table is None else _ask(arguments, outcome.table)
        answer: dict[str, Any] = {"diagnostics": json.loads(text), **as_json(found)}
        text = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
        failed = found is None
    sys.stdout.write(text)
    return int(failed)


def _ask(arguments: argparse.Namespace, table: Table) -> Survey | None:
    """Ask all services that a route leads to."""
    names = list(dict.fromkeys(name for route in table.routes.values() for name in route.services))
    found = ask(table, names, tuple(KINDS.values()), arguments)
    for answered in found.services if found is not None else ():
        if answered.error is not None:
            complain(f"warning: {answered.service} cannot be asked: {answered.error}")
    return found
