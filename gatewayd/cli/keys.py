"""`gatewayd keys`: the key file of the clients."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from gatewayd.auth import keyring
from gatewayd.cli.output import complain


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Define its actions."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key for a principal and print it once")
    add.add_argument("id", help="the principal that the key stands for")
    add.add_argument("--stdin", action="store_true", help="read a key that exists already instead of making one")
    add.set_defaults(run=_add_key)
    remove = actions.add_parser("remove", help="forget a principal's key; takes effect with the next reload")
    remove.add_argument("id", help="the principal")
    remove.set_defaults(run=_remove_key)
    show = actions.add_parser("list", help="list the principals that have a key")
    show.set_defaults(run=_list_keys)
    for action in (add, remove, show):
        action.add_argument("--file", type=Path, default=Path("keys.toml"), help="the key file (default: keys.toml)")


def _add_key(arguments: argparse.Namespace) -> int:
    key = sys.stdin.readline().strip() if arguments.stdin else keyring.new_key()
    try:
        keyring.add_key(arguments.file, arguments.id, key, now=datetime.now(UTC))
    except (keyring.KeyFileError, OSError) as error:
        complain(str(error))
        return 1
    if not arguments.stdin:
        print(key)
    print(f"added {arguments.id} to {arguments.file}; send SIGHUP to a running gateway", file=sys.stderr)
    return 0


def _remove_key(arguments: argparse.Namespace) -> int:
    try:
        keyring.remove_key(arguments.file, arguments.id)
    except (keyring.KeyFileError, OSError) as error:
        complain(str(error))
        return 1
    print(f"removed {arguments.id} from {arguments.file}; send SIGHUP to a running gateway", file=sys.stderr)
    return 0


def _list_keys(arguments: argparse.Namespace) -> int:
    try:
        for entry in keyring.list_keys(arguments.file):
            print(entry.id)
    except (keyring.KeyFileError, OSError) as error:
        complain(str(error))
        return 1
    return 0
