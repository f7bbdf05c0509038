"""Lines on their way into a child's standard input, which may stop reading at any byte.

A pipe is written by nobody but its outbox, so that a cancelled caller never leaves half a line in it. What
the pipe takes at once is written at once; the rest waits here, in order, each line with a deadline of its
own. A line whose deadline passes before its first byte is withdrawn. One that is half written cannot be: its
owner is told, its rest stays, because without it the child could make no sense of the next line.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from itertools import islice

import attrs
import trio

WRITE_DEADLINE = 10.0
"""Seconds that one line may wait for a child that does not read."""
STUCK = 60.0
"""Seconds without a byte taken after which the child is given up.

As long as the default deadline of a call: a server that does one thing at a time may not read for that long.
"""

Expire = Callable[[bool], None]
"""Called when a line's deadline has passed; told whether a part of the line was written."""


@attrs.define(eq=False)
class Letter:
    """One line that waits. `rest` is what is still to be written of it."""

    rest: memoryview
    deadline: float
    expire: Expire | None
    begun: bool = False


class Outbox:
    """The one writer of a pipe.

    `fd` must be non-blocking and stays the caller's; `limit` bounds the bytes that wait.
    """

    def __init__(self, fd: int, limit: int) -> None:
        self._fd = fd
        self._limit = limit
        self._letters: deque[Letter] = deque()
        self._bytes = 0
        self._progress = -math.inf
        self._work = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self.broken = False
        """The child closed its end, or was given up: nothing can be written any more."""

    @property
    def waiting(self) -> int:
        """Bytes that wait for the child."""
        return self._bytes

    def fits(self, size: int) -> bool:
        """Whether `size` more bytes may be put now. An empty or broken outbox has room for everything."""
        return self.broken or not self._bytes or self._bytes + size <= self._limit

    async def wait_room(self, size: int) -> bool:
        """Wait until `size` more bytes fit; False when that took longer than `WRITE_DEADLINE`."""
        if self.fits(size):
            return True
        with trio.move_on_after(WRITE_DEADLINE):
            while not self.fits(size):
                await self._room.park()
            return True
        return False

    def put(self, line: bytes, expire: Expire | None = None) -> Letter | None:
        """Write `line`, or what the pipe takes of it, and keep the rest. None when all of it is on its way.

        Does nothing when broken. The limit is the business of `wait_room` and of callers that may not wait.
        """
        taken = 0
        if not self._letters:
            taken = self._write(line)
            if taken == len(line) or self.broken:
                return None
            self._progress = trio.current_time()
        deadline = trio.current_time() + WRITE_DEADLINE
        letter = Letter(memoryview(line)[taken:], deadline, expire, begun=taken > 0)
        self._letters.append(letter)
        self._bytes += len(letter.rest)
        self._work.unpark()
        return letter

    def withdraw(self, letter: Letter) -> bool:
        """Take a line back. False when some of it is written already."""
        letter.expire = None
        if letter.begun:
            return False
        self._drop(letter)
        return True

    async def run(self) -> None:
        """Write what waits, as the child takes it. Returns when the outbox is broken."""
        while not self.broken:
            if not self._letters:
                await self._work.park()
                continue
            with trio.move_on_at(self._next_deadline()):
                await trio.lowlevel.wait_writable(self._fd)
                self._flush()
            self._expire(trio.current_time())

    def _next_deadline(self) -> float:
        """Deadlines grow along the queue, except that a half-written first line has none once it is late."""
        return min(self._progress + STUCK, *(letter.deadline for letter in islice(self._letters, 2)))

    def _flush(self) -> None:
        while self._letters and not self.broken:
            letter = self._letters[0]
            if letter.rest:
                taken = self._write(letter.rest)
                if not taken:
                    return
                self._progress = trio.current_time()
                letter.begun, letter.rest = True, letter.rest[taken:]
                self._release(taken)
            if not letter.rest:
                self._letters.popleft()

    def _write(self, data: bytes | memoryview) -> int:
        if self.broken:
            return 0
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._break()
            return 0

    def _break(self) -> None:
        self.broken = True
        self._letters.clear()
        self._bytes = 0
        self._room.unpark_all()
        self._work.unpark_all()

    def _drop(self, letter: Letter) -> None:
        """Free what a line holds; its empty place in the queue is passed over when its turn comes."""
        self._release(len(letter.rest))
        letter.rest = memoryview(b"")

    def _release(self, size: int) -> None:
        self._bytes -= size
        self._room.unpark_all()

    def _expire(self, now: float) -> None:
        if self._letters and now >= self._progress + STUCK:
            self._break()
        late = [letter for letter in self._letters if letter.deadline <= now]
        if late:
            self._letters = deque(letter for letter in self._letters if letter.begun or letter.deadline > now)
        for letter in late:
            expire, letter.expire, letter.deadline = letter.expire, None, math.inf
            if not letter.begun:
                self._drop(letter)
            if expire is not None:
                expire(letter.begun)
