"""The command line: arguments to exit code.

0: well. 1: no, or it failed. 2: what was given cannot be used, so trying again is of no use (systemd is told that).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

from gatewayd import __version__
from gatewayd.auth import keyring
from gatewayd.daemon.configuration import Configuration
from gatewayd.daemon.notify import take_notifier
from gatewayd.daemon.root import Daemon
from gatewayd.dsl import Outcome, Style, compile_file, render
from gatewayd.dsl.reference import schema
from gatewayd.net.sockets import CannotListen
from gatewayd.observe import log
from gatewayd.routes.table import Table

EXAMPLES = """examples:
  gatewayd --config gateway.toml         run the gateway
  gatewayd check gateway.toml            say what is wrong with a configuration
  gatewayd keys add alice                make a client key; it is shown once
  gatewayd demo                          the MCP server that the example configuration uses
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["demo"]:
        return _demo(words[1:])
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.run is not None:
        return int(arguments.run(arguments))
    if arguments.config is None:
        parser.print_help(sys.stderr)
        return 2
    return _serve(arguments.config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gatewayd",
        description="A gateway for the Model Context Protocol: reverse proxy and security layer.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gatewayd {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="run the gateway with this configuration")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_check(commands.add_parser("check", help="compile a configuration and print what is wrong with it"))
    _add_keys(commands.add_parser("keys", help="make, list and remove client keys"))
    schema_parser = commands.add_parser("schema", help="print the JSON Schema of the configuration, for editors")
    schema_parser.set_defaults(run=_schema)
    commands.add_parser("demo", help="run a small MCP server to try the gateway with")
    return parser


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--format", choices=("full", "concise", "json"), default="full")
    parser.set_defaults(run=_check)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key for a principal and print it once")
    add.add_argument("id", help="the principal that the key stands for")
    add.add_argument("--stdin", action="store_true", help="read a key that exists already instead of making one")
    add.set_defaults(run=_add_key)
    remove = actions.add_parser("remove", help="forget a principal's key; takes effect with the next reload")
    remove.add_argument("id")
    remove.set_defaults(run=_remove_key)
    show = actions.add_parser("list", help="list the principals that have a key")
    show.set_defaults(run=_list_keys)
    for action in (add, remove, show):
        action.add_argument("--file", type=Path, default=Path("keys.toml"), help="the key file (default: keys.toml)")


def _check(arguments: argparse.Namespace) -> int:
    outcome = compile_file(arguments.file, environ=os.environ)
    if arguments.format == "json":
        sys.stdout.write(render(outcome.diagnostics, "json"))
        return 0 if outcome.table is not None else 1
    _print_diagnostics(outcome, arguments.format)
    if outcome.table is None:
        return 1
    table = outcome.table
    print(f"{arguments.file}: {len(table.routes)} routes, {len(table.services)} services, digest {table.digest[:12]}")
    return 0


def _print_diagnostics(outcome: Outcome, style: Style = "full") -> None:
    if not outcome.diagnostics:
        return
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print(render(outcome.diagnostics, style, colour=colour), file=sys.stderr)
    errors = sum(diagnostic.severity == "error" for diagnostic in outcome.diagnostics)
    warnings = len(outcome.diagnostics) - errors
    print(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", file=sys.stderr)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _add_key(arguments: argparse.Namespace) -> int:
    key = sys.stdin.readline().strip() if arguments.stdin else keyring.new_key()
    try:
        keyring.add_key(arguments.file, arguments.id, key, now=datetime.now(UTC))
    except (keyring.KeyFileError, OSError) as error:
        print(f"gatewayd: {error}", file=sys.stderr)
        return 1
    if not arguments.stdin:
        print(key)
    print(f"added {arguments.id} to {arguments.file}; send SIGHUP to a running gateway", file=sys.stderr)
    return 0


def _remove_key(arguments: argparse.Namespace) -> int:
    try:
        keyring.remove_key(arguments.file, arguments.id)
    except (keyring.KeyFileError, OSError) as error:
        print(f"gatewayd: {error}", file=sys.stderr)
        return 1
    print(f"removed {arguments.id} from {arguments.file}; send SIGHUP to a running gateway", file=sys.stderr)
    return 0


def _list_keys(arguments: argparse.Namespace) -> int:
    try:
        for entry in keyring.list_keys(arguments.file):
            print(entry.id)
    except (keyring.KeyFileError, OSError) as error:
        print(f"gatewayd: {error}", file=sys.stderr)
        return 1
    return 0


def _schema(arguments: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return 0


def _demo(words: Sequence[str]) -> int:
    from gatewayd import demo  # the SDK takes a second to import, and nothing else needs it

    return demo.main(words)


def _serve(path: Path) -> int:
    """Run the daemon. Diagnostics of the first compilation are for the person who started it."""
    outcome = compile_file(path, environ=os.environ)
    _print_diagnostics(outcome)
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
            print(f"gatewayd: {error}", file=sys.stderr)
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
