"""`gatewayd lock`: the tools as they are now, reviewed and approved."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gatewayd.catalog.kinds import TOOLS
from gatewayd.cli.approval import Unknown, approved, check_tools, choose, review
from gatewayd.cli.asking import ask
from gatewayd.cli.output import complain, count, print_diagnostics, tell
from gatewayd.daemon.survey import UNREAD, Answered
from gatewayd.dsl import Code, compile_file, render
from gatewayd.dsl.lockchanges import changes
from gatewayd.dsl.lockfile import BrokenLock, Entries, load_lock
from gatewayd.dsl.locktext import render_lock
from gatewayd.routes.table import Table


def lock(arguments: argparse.Namespace) -> int:
    """Run it: 1 where a service cannot be asked, or with `--check` where there are changes; 2 for bad input."""
    outcome = compile_file(arguments.file, environ=os.environ)
    print_diagnostics([found for found in outcome.diagnostics if found.code != Code.NO_LOCK])
    if outcome.table is None or outcome.lock is None:
        return 2
    try:
        return _lock(arguments, outcome.table, outcome.lock)
    except BrokenLock as error:
        print(render(error.diagnostics), file=sys.stderr)
    except Unknown as error:
        complain(str(error))
    return 2


def _lock(arguments: argparse.Namespace, table: Table, path: Path) -> int:
    """Raises `BrokenLock` and `Unknown`, with nothing written."""
    old, choice = load_lock(path), choose(arguments.names, table)
    found = ask(table, tuple(choice.tools), (TOOLS,), arguments)
    if found is None:
        return 1
    check_tools(choice, old, found.services)
    new = approved(choice, old, found.services, table.services)
    different = changes(old, new)
    sys.stdout.write(review(different, old, found.services))
    sys.stdout.flush()
    well = _tell_of(found.services)
    if not different and (arguments.check or path.exists()):
        tell(f"{path}: nothing has changed")
        return int(not well)
    if arguments.check:
        tell(f"{path}: {count(len(different), 'change')}; `gatewayd lock {arguments.file}` approves of them")
        return 1
    return int(not (_write(path, new) and well))


def _tell_of(answers: Sequence[Answered]) -> bool:
    """Name the services that could not be asked, and what cannot be locked; whether all could."""
    for answered in answers:
        unfit = [remark for remark in answered.quarantined if remark.name != UNREAD]
        if answered.error is not None:
            complain(f"{answered.service} cannot be asked: {answered.error}; the lock keeps what it has of it")
        elif not answered.whole:
            reason = ", ".join(remark.text for remark in answered.quarantined if remark.name == UNREAD)
            complain(f"{answered.service}: {reason}; the lock keeps what it has of the rest")
        if unfit:
            said = count(len(unfit), "tool")
            tell(f"{answered.service}: {said} quarantined, and not in the lock; `gatewayd check --live` says why")
    return all(answered.whole for answered in answers)


def _write(path: Path, new: Entries) -> bool:
    """Write the lock file and say so; whether that worked."""
    try:
        replace(path, render_lock(new))
    except OSError as error:
        complain(f"cannot write {path}: {error.strerror}")
        return False
    tools = sum(map(len, new.values()))
    tell(f"{path}: {count(tools, 'tool')} of {count(len(new), 'service')}; send SIGHUP to a running gateway")
    return True


def replace(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old content or the new one, also after a power cut.

    It keeps its mode; a new one gets the usual mode of new files. Links are followed. Raises `OSError`, and then the
    file is what it was.
    """
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            os.fchmod(file.fileno(), _mode(target))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        unwanted = os.umask(0o077)  # there is no other way to ask for it
        os.umask(unwanted)
        return 0o666 & ~unwanted
