"""What a sealed session id cannot say, because it came later: that the session has ended, and what it was told.

Everything is answered from memory. A file keeps it for the processes that come after: changes that come together are
written together, some milliseconds later. What sessions were told is sealed in it; in plain are only the random nonces
of session ids, when those sessions began, and whether they have ended.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import structlog
import trio

from gatewayd.auth.keychain import Keychain
from gatewayd.sessions.ledger_file import LedgerFile, LedgerUnusable, Row, open_file
from gatewayd.sessions.shelf import OVERHEAD, Shelf
from gatewayd.upstreams.told import Told

log = structlog.get_logger("gatewayd.sessions")

PURPOSE = "ledger"
MOST_ENDED = 100_000
"""Ended sessions that are remembered, so that their ids do not bring them back."""
MOST_TOLD = 32 * 1024 * 1024
"""Bytes of what all sessions were told."""
LONGEST_TOLD = 6000
"""Bytes of the subscriptions of one session: sealed, they are still a token that the keychain opens."""
LONGEST_HEAD = 5
"""Bytes before a string in MessagePack."""
OPENING = 10.0
"""Seconds until a gateway starts without its file."""
DELAY = 0.02
"""Seconds that a change waits for others to be written with."""
BATCH = 500
"""Changes of one transaction."""
RETRY = 5.0
"""Seconds until the file is tried again."""
FAREWELL = 3.0
"""Seconds for writing what is left."""
NOWHERE = "none of $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME is set"


class Ledger:
    """By the nonces of session ids; `created` is when a session began, in seconds since 1970.

    Bounded: of ended sessions and of what sessions were told, those that began first are forgotten first.
    """

    def __init__(self, keychain: Keychain) -> None:
        self._keychain = keychain
        self._ended = Shelf(MOST_ENDED * OVERHEAD)
        self._told = Shelf(MOST_TOLD)
        self._file: LedgerFile | None = None
        """None: nothing is kept for later processes."""
        self._unwritten: dict[bytes, None] = {}
        self._changed = trio.Event()
        self._finishing = trio.Event()
        self._failing = False

    @property
    def kept(self) -> bool:
        """Whether there is a file, so that somebody has to `keep` it."""
        return self._file is not None

    def ended(self, nonce: bytes) -> bool:
        """Whether a session has ended for good."""
        return nonce in self._ended

    def told(self, nonce: bytes) -> Told:
        """What a session was told, as far as it is known."""
        content = self._told.get(nonce)
        return Told() if content is None else msgspec.msgpack.decode(content, type=Told)

    def end(self, nonce: bytes, created: float) -> None:
        """A session has ended for good."""
        self._told.drop(nonce)
        self._ended.put(nonce, created)
        self._note(nonce)

    def tell(self, nonce: bytes, created: float, told: Told) -> None:
        """A session was told something. Of very many subscriptions the newest are remembered."""
        if nonce not in self._ended:
            self._told.put(nonce, created, _packed(told))
            self._note(nonce)

    def expire(self, before: float) -> None:
        """Forget sessions that began before that time: their ids open no more."""
        self._ended.expire(before)
        self._told.expire(before)
        if self._behind:
            self._changed.set()

    def load(self, path: Path) -> None:
        """Learn what a file says, and have it kept from now on. Blocks on the disk. Raises `LedgerUnusable`."""
        self._file, rows = open_file(path)
        for nonce, created, sealed in rows:
            if sealed is None:
                self._ended.put(nonce, created)
            elif (content := self._unsealed(nonce, sealed)) is not None:
                self._told.put(nonce, created, content)

    async def keep(self, scope: trio.CancelScope) -> None:
        """Write what changes until `finish`, in that scope, then close the file. What cannot be written is tried on."""
        assert self._file is not None
        with scope:
            while not self._finishing.is_set():
                await self._changed.wait()
                await _pause(DELAY, self._finishing)
                self._changed = trio.Event()
                if not await self._write(self._file):
                    self._changed.set()
                    await _pause(RETRY, self._finishing)
            await self._write(self._file)
            await _in_thread(self._file.close)

    def finish(self) -> None:
        """Write the rest, and no more."""
        self._finishing.set()
        self._changed.set()

    @property
    def _behind(self) -> bool:
        """Whether the file has to change."""
        return bool(self._unwritten) or max(self._ended.forgotten, self._told.forgotten) > -math.inf

    def _note(self, nonce: bytes) -> None:
        if self._file is not None:
            self._unwritten[nonce] = None
            self._changed.set()

    async def _write(self, file: LedgerFile) -> bool:
        """Write all that is not written; whether it could be."""
        while self._behind:
            batch = list(itertools.islice(self._unwritten, BATCH))
            rows = [row for nonce in batch if (row := self._row(nonce)) is not None]
            for nonce in batch:  # before it is written: what changes meanwhile has to be written again
                del self._unwritten[nonce]
            ended_before, told_before = self._ended.cut(), self._told.cut()
            try:
                await _in_thread(partial(file.write, rows, ended_before, told_before))
            except LedgerUnusable as error:
                self._unwritten.update(dict.fromkeys(batch))
                self._ended.uncut(ended_before)
                self._told.uncut(told_before)
                if not self._failing:
                    _warn(file.path, error)
                self._failing = True
                return False
            self._failing = False
        return True

    def _row(self, nonce: bytes) -> Row | None:
        """What the file should say of a session; None where it was forgotten again."""
        if nonce in self._ended:
            return nonce, self._ended.created(nonce), None
        content = self._told.get(nonce)
        if content is None:
            return None
        return nonce, self._told.created(nonce), self._keychain.seal(PURPOSE, content, nonce.hex()).encode()

    def _unsealed(self, nonce: bytes, sealed: bytes) -> bytes | None:
        """What a session was told, in a form that can be decoded; None where our keys do not say."""
        content = self._keychain.open(PURPOSE, sealed.decode("latin-1"), nonce.hex())
        try:
            return None if content is None else _packed(msgspec.msgpack.decode(content, type=Told))
        except msgspec.DecodeError:  # of another version of the gateway
            return None


@asynccontextmanager
async def open_ledger(path: Path | None, keychain: Keychain) -> AsyncGenerator[Ledger]:
    """A ledger that is kept in a file as long as the block lasts, which includes the last change before its end.

    Where there can be no file, a warning, and one that ends with the block. Leaving takes `FAREWELL` seconds at most.
    """
    ledger = await _opened(path, keychain)
    if not ledger.kept:
        yield ledger
        return
    keeping = trio.CancelScope(shield=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.keep, keeping)
        try:
            yield ledger
        finally:
            ledger.finish()
            keeping.deadline = trio.current_time() + FAREWELL


async def _opened(path: Path | None, keychain: Keychain) -> Ledger:
    ledger = Ledger(keychain)
    try:
        if path is None:
            raise LedgerUnusable(NOWHERE)
        with trio.move_on_after(OPENING):
            await _in_thread(partial(ledger.load, path))
            return ledger
        raise LedgerUnusable(f"the file could not be opened within {OPENING:g} seconds")
    except LedgerUnusable as error:
        _warn(path, error)
        return Ledger(keychain)  # what was loaded of the other one may be half of it


def _warn(path: Path | None, error: LedgerUnusable) -> None:
    shown = None if path is None else str(path)
    log.warning("ended sessions may come back after a restart", path=shown, reason=str(error))


async def _in_thread(deed: Callable[[], None]) -> None:
    """Let a thread wait for the disk. Cancelled, it is left to itself."""
    await trio.to_thread.run_sync(deed, abandon_on_cancel=True)


async def _pause(seconds: float, unless: trio.Event) -> None:
    with trio.move_on_after(seconds):
        await unless.wait()


def _packed(told: Told) -> bytes:
    """As much of it as may be remembered: the newest subscriptions."""
    room, kept = LONGEST_TOLD, list[str]()
    for uri in reversed(told.uris):
        room -= len(uri.encode()) + LONGEST_HEAD
        if room < 0:
            break
        kept.append(uri)
    return msgspec.msgpack.encode(Told(told.level, tuple(reversed(kept))))
