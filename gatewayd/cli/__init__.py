"""The command line: arguments to exit code.

0: well. 1: no, or it failed. 2: what was given cannot be used, so trying again is of no use (systemd is told that).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gatewayd import __version__
from gatewayd.cli.asking import add_asking
from gatewayd.cli.check import check
from gatewayd.cli.keys import add_keys
from gatewayd.cli.lock import lock
from gatewayd.cli.serve import serve
from gatewayd.dsl.reference import schema

EXAMPLES = """examples:
  gatewayd --config gateway.toml         run the gateway
  gatewayd check gateway.toml            say what is wrong with a configuration
  gatewayd check gateway.toml --live     ask the services, and show what clients will see
  gatewayd lock gateway.toml             approve of the tools as they are now
  gatewayd keys add alice                make a client key; it is shown once
  gatewayd demo                          the MCP server that the example configuration uses
"""

LOCK = """\
Ask the services what tools they have, show what is different from the lock file, and write it anew: that approves of
all that was shown. With names, only of those. Routes with `lock = "enforce"` keep everything else from their clients.
"""
LOCK_EXAMPLES = """examples:
  gatewayd lock gateway.toml             approve of everything
  gatewayd lock gateway.toml --check     only show what is different; exit code 1 if anything is
  gatewayd lock gateway.toml github      approve of the tools of one service
  gatewayd lock gateway.toml github:search_issues
                                         approve of one tool, by the name that its server uses

The lock file is `tools.lock` beside FILE, unless `lock_file` in `[gateway]` names another. It belongs in version
control. A service that cannot be asked keeps what the file says of it.
"""
CHECK = """\
Compile a configuration and print everything that is wrong with it: what a start or a reload would say. With --live also
ask the services, as the gateway would, and show for each route what its clients will see: how many tools, about how
many tokens they take, and what is quarantined, withheld or in conflict.
"""
LIVE = "also ask the services, and show for each route what its clients will see"


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
    return serve(arguments.config)


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
    long = argparse.RawDescriptionHelpFormatter
    about = "compile a configuration and print what is wrong with it"
    _add_check(commands.add_parser("check", help=about, description=CHECK, formatter_class=long))
    about = "show what has become of tools, and approve of it"
    _add_lock(commands.add_parser("lock", help=about, description=LOCK, epilog=LOCK_EXAMPLES, formatter_class=long))
    add_keys(commands.add_parser("keys", help="make, list and remove client keys"))
    schema_parser = commands.add_parser("schema", help="print the JSON Schema of the configuration, for editors")
    schema_parser.set_defaults(run=_schema)
    commands.add_parser("demo", help="run a small MCP server to try the gateway with")
    return parser


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration")
    parser.add_argument(
        "--format",
        choices=("full", "concise", "json"),
        default="full",
        help="source lines and hints (default), a line for each fault, or JSON on standard output",
    )
    parser.add_argument("--live", action="store_true", help=LIVE)
    add_asking(parser)
    parser.set_defaults(run=check)


def _add_lock(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the configuration")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="SERVICE[:TOOL]",
        help="approve of these alone (default: every service of the routes that have a lock, or all if none has)",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if there are changes")
    add_asking(parser)
    parser.set_defaults(run=lock)


def _schema(arguments: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return 0


def _demo(words: Sequence[str]) -> int:
    from gatewayd import demo  # the SDK takes a second to import, and nothing else needs it

    return demo.main(words)
