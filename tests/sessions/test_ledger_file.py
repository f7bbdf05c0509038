"""The ledger's file: that nobody else has it, that several may write it, and that nothing of it stops a start."""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog.testing

from gatewayd.sessions import ledger_file as ledger_module
from gatewayd.sessions.ledger_file import LedgerUnusable, Row, open_file

ROWS: list[Row] = [(b"a", 1.0, None), (b"b", 2.0, b"sealed"), (b"c", 3.0, b"text")]
NEVER = -math.inf


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """In a folder that is still to be made."""
    return tmp_path / "state/session.ledger"


def content(path: Path) -> list[Row]:
    file, rows = open_file(path)
    file.close()
    return sorted(rows)


def write(path: Path, rows: list[Row], ended_before: float = NEVER, told_before: float = NEVER) -> None:
    file, _ = open_file(path)
    file.write(rows, ended_before, told_before)
    file.close()


def test_what_was_written_is_read(path: Path) -> None:
    write(path, ROWS)
    assert content(path) == ROWS
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == [path.name]


def test_nobody_else_can_read_it_at_any_time(path: Path) -> None:
    before = os.umask(0)
    try:
        file, _ = open_file(path)
        file.write(ROWS, NEVER, NEVER)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()} == {0o600}
    assert len(os.listdir(path.parent)) == 3
    file.close()


def test_a_session_that_has_ended_stays_so(path: Path) -> None:
    write(path, ROWS)
    write(path, [(b"a", 1.0, b"told"), (b"b", 2.0, b"other"), (b"c", 3.0, None)])
    assert content(path) == [(b"a", 1.0, None), (b"b", 2.0, b"other"), (b"c", 3.0, None)]


def test_the_old_ones_are_forgotten_each_kind_for_itself(path: Path) -> None:
    write(path, ROWS)
    write(path, [(b"d", 0.5, b"new")], ended_before=5.0, told_before=3.0)
    assert content(path) == [(b"c", 3.0, b"text"), (b"d", 0.5, b"new")]


def test_it_is_cut_when_it_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, ROWS)
    monkeypatch.setattr(ledger_module, "CUT", ledger_module.CUT.replace(str(ledger_module.MOST_ROWS), "2"))
    assert content(path) == ROWS[1:]


def test_all_of_a_write_or_nothing(path: Path) -> None:
    file, _ = open_file(path)
    bad: Row = (b"x", 1.0, None)
    with pytest.raises(LedgerUnusable):
        file.write([*ROWS, (b"y", None, None), bad], NEVER, NEVER)  # type: ignore[list-item]
    file.write([bad], NEVER, NEVER)
    file.close()
    assert content(path) == [bad]


def test_what_is_no_row_is_not_read(path: Path) -> None:
    write(path, ROWS)
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO sessions VALUES (7, 1.0, NULL)")
        other.execute("INSERT INTO sessions VALUES (?, 1.0, ?)", (b"d", "text"))
        other.execute("INSERT INTO sessions VALUES (?, 1.0, ?)", (b"e", b"x" * 10_000))
        other.execute("INSERT INTO sessions VALUES (?, 1.0, ?)", (b"f" * 100, None))
        other.execute("INSERT INTO sessions VALUES (?, 'x', ?)", (b"g", None))
    other.close()
    assert content(path) == ROWS


def noise(path: Path) -> None:
    path.write_bytes(b"no database, but long enough to look like one" * 100)


def cut_short(path: Path) -> None:
    write(path, [(b"%d" % number, 1.0, b"x" * 500) for number in range(100)])
    os.truncate(path, path.stat().st_size // 2)


def scribbled(path: Path) -> None:
    write(path, [(b"%d" % number, 1.0, b"x" * 500) for number in range(100)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)


def other_database(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE precious (x)")
    other.close()


def newer(path: Path) -> None:
    write(path, ROWS)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 2")
    other.close()


def other_tables(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA application_id = {ledger_module.MARK}")
        other.execute(f"PRAGMA user_version = {ledger_module.FORMAT}")
        other.execute("CREATE TABLE sessions (x)")
    other.close()


@pytest.mark.parametrize("damage", [noise, cut_short, scribbled, other_database, newer, other_tables])
def test_what_is_no_ledger_is_set_aside(path: Path, damage: Callable[[Path], None]) -> None:
    path.parent.mkdir(mode=0o700)
    damage(path)
    path.chmod(0o600)
    before = path.read_bytes()
    with structlog.testing.capture_logs() as logs:
        assert content(path) == []
    [event] = logs
    assert (event["event"], event["log_level"], event["path"]) == ("ledger set aside", "warning", str(path))
    assert path.with_name("session.ledger.broken").read_bytes() == before
    write(path, ROWS)
    assert content(path) == ROWS


def test_one_that_was_deleted_is_made_anew_whatever_is_left_of_it(path: Path) -> None:
    file, _ = open_file(path)
    file.write(ROWS, NEVER, NEVER)
    path.unlink()
    assert content(path) == []
    file.close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_one_that_others_can_use_is_not_used(path: Path, mode: int) -> None:
    write(path, ROWS)
    path.chmod(mode)
    with pytest.raises(LedgerUnusable, match="chmod 600"):
        open_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_one_of_somebody_else_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, ROWS)
    somebody = os.geteuid() + 1
    monkeypatch.setattr("os.geteuid", lambda: somebody)
    with pytest.raises(LedgerUnusable, match="somebody else"):
        open_file(path)


def test_what_is_no_file_keeps_nobody_waiting(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(LedgerUnusable, match="regular"):
        open_file(path)


def test_where_there_can_be_none(path: Path) -> None:
    path.parent.touch()
    with pytest.raises(LedgerUnusable, match=r"not a directory|file exists"):
        open_file(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_folder_that_is_closed_to_us(path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    with pytest.raises(LedgerUnusable, match="permission denied"):
        open_file(path)


def test_one_that_another_keeps_to_itself_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "PATIENCE", 0.1)
    file, _ = open_file(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnusable, match="locked"):
        open_file(path)
    with pytest.raises(LedgerUnusable, match="locked"):
        file.write(ROWS, NEVER, NEVER)
    other.execute("ROLLBACK")
    other.close()
    file.write(ROWS, NEVER, NEVER)
    file.close()
    assert content(path) == ROWS


WRITER = """
import sys
from pathlib import Path
from gatewayd.sessions.ledger_file import open_file
for number in range(100):
    file, _ = open_file(Path(sys.argv[1]))
    file.write([(b"%s-%d" % (sys.argv[2].encode(), number), 1.0, None)], -1.0, -1.0)
    if number % 3:
        file.close()
"""


@pytest.mark.slow
def test_several_processes_may_write_at_once(path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(number)]) for number in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    assert len(content(path)) == 400
    assert os.listdir(path.parent) == [path.name]
