"""The file of the ledger: an SQLite database that nobody but its owner may use.

Several processes may have it open at once, as when a gateway starts while the one before it still drains. A process
that is killed loses nothing that `write` returned from; a machine that loses power may lose the last of it.

All of it blocks on the disk, and one thread at a time may use a `LedgerFile`.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger("gatewayd.sessions")

MARK = 0x67776C67
"""`application_id` of our files (SQLite, database file format): "gwlg"."""
FORMAT = 1
"""`user_version` of our files."""
PATIENCE = 2.0
"""Seconds that another process may keep the file to itself."""
MOST_ROWS = 200_000
"""Rows that a file is read of and cut to when it is opened, the newest sessions."""
LONGEST_ROW = 8192
"""Bytes of a sealed text that anybody reads."""
BROKEN = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""Primary result codes that speak of the content. SQLITE_ERROR: our statements do not fit the tables."""
COMPANIONS = ("", "-wal", "-shm")

Row = tuple[bytes, float, bytes | None]
"""Nonce of a session, when it began in seconds since 1970, and what it was told, sealed; None: it has ended."""

MAKE = (
    "CREATE TABLE sessions (nonce BLOB PRIMARY KEY, created REAL NOT NULL, told BLOB) WITHOUT ROWID",
    "CREATE INDEX age ON sessions (created)",
    f"PRAGMA application_id = {MARK}",
    f"PRAGMA user_version = {FORMAT}",
)
READ = f"""
    SELECT nonce, created, told FROM sessions
    WHERE typeof(nonce) = 'blob' AND typeof(created) = 'real' AND typeof(told) IN ('blob', 'null')
    AND length(nonce) <= 64 AND coalesce(length(told), 0) <= {LONGEST_ROW}
"""
CUT = f"""
    DELETE FROM sessions WHERE nonce IN
    (SELECT nonce FROM sessions ORDER BY created DESC LIMIT -1 OFFSET {MOST_ROWS})
"""
PUT = """
    INSERT INTO sessions VALUES (?, ?, ?)
    ON CONFLICT (nonce) DO UPDATE SET told = excluded.told WHERE sessions.told IS NOT NULL
"""
"""A session that has ended stays so, whatever another process still says of it."""
DROP_ENDED = "DELETE FROM sessions WHERE created < ? AND told IS NULL"
DROP_TOLD = "DELETE FROM sessions WHERE created < ? AND told IS NOT NULL"


class LedgerUnusable(Exception):
    """The file cannot be trusted, read, written or made; the message is the reason, for people."""


class LedgerDamaged(Exception):
    """What is there is no ledger, or none of ours; the message is the reason, for people."""


class LedgerFile:
    """An open file. `open_file` makes them; `close` ends them."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def write(self, rows: Iterable[Row], ended_before: float, told_before: float) -> None:
        """Forget old sessions, those that have ended and those that were told something, then put rows; all or nothing.

        Raises `LedgerUnusable`.
        """
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute(DROP_ENDED, (ended_before,))
                self._connection.execute(DROP_TOLD, (told_before,))
                self._connection.executemany(PUT, rows)
        except sqlite3.Error as error:
            raise LedgerUnusable(str(error)) from None

    def close(self) -> None:
        """Give it back."""
        with suppress(sqlite3.Error):
            self._connection.close()


def open_file(path: Path) -> tuple[LedgerFile, list[Row]]:
    """The file and what it says. It is made if there is none; one that is no ledger is set aside, with a warning.

    Raises `LedgerUnusable`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _claim(path)
        try:
            return _connect(path)
        except LedgerDamaged as error:
            log.warning("ledger set aside", path=str(path), reason=str(error))
            _set_aside(path)
            _claim(path)
            return _connect(path)
    except LedgerDamaged as error:
        raise LedgerUnusable(str(error)) from None
    except sqlite3.Error as error:
        raise LedgerUnusable(str(error)) from None
    except OSError as error:
        raise LedgerUnusable((error.strerror or "cannot be used").lower()) from None


def _claim(path: Path) -> None:
    """See to it that there is a file, and that it is ours alone: SQLite gives its companions the same mode."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    found = path.stat()  # opening it would take the locks of others in this process away when it is closed
    if (fault := fault_of(found)) is not None:
        raise LedgerUnusable(fault)


def fault_of(found: os.stat_result) -> str | None:
    """Why a file is not ours alone, and so must not be trusted; None where it is."""
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    if found.st_uid != os.geteuid():
        return "the file belongs to somebody else"
    if found.st_mode & 0o077:
        return "others than its owner can read or write the file: delete it, or chmod 600"
    return None


def _connect(path: Path) -> tuple[LedgerFile, list[Row]]:
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
        return LedgerFile(path, connection), list(connection.execute(READ))
    except sqlite3.Error as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in BROKEN:
            raise LedgerDamaged(str(error)) from None
        raise
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection) -> None:
    """Make or check the tables. Raises `sqlite3.Error`, `LedgerDamaged`."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _number(connection, "SELECT count(*) FROM sqlite_schema"):
            for statement in MAKE:
                connection.execute(statement)
        if _number(connection, "PRAGMA application_id") != MARK:
            raise LedgerDamaged("the file is something else")
        if _number(connection, "PRAGMA user_version") != FORMAT:
            raise LedgerDamaged("the file is of another version of the gateway")
        [(verdict,)] = connection.execute("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise LedgerDamaged("the file is damaged")
        connection.execute(CUT)
    connection.execute("PRAGMA journal_mode = WAL")  # which it stays: not before it is known to be ours
    connection.execute("PRAGMA synchronous = NORMAL")


def _number(connection: sqlite3.Connection, query: str) -> int:
    [(number,)] = connection.execute(query)
    return int(number)


def _set_aside(path: Path) -> None:
    """Rename it, so that people can look at it."""
    for companion in COMPANIONS:
        with suppress(FileNotFoundError):
            os.replace(f"{path}{companion}", f"{path}.broken{companion}")
