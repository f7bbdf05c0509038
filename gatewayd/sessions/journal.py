"""What was said on a session's event streams, kept for a client that lost its connection.

An event id is a cursor of one stream (MCP 2025-11-25, resumability): `TAG-STREAM-NUMBER-REQUEST`. The tag belongs to
one life of one session, so that an id of another session, or from before a restart, is never taken for one of ours.
The request says whose answer the stream carries: when all else is gone, the client can still be told about that call.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs
import trio

from gatewayd.protocol.jsonrpc import Id

OVERHEAD: Final = 256
"""Bytes that keeping an event costs beside its text."""
LONGEST_REQUEST: Final = 64
"""Bytes of a request's id that event ids have room for."""
LAG: Final = 64 * 1024
"""Bytes that a connected client may be behind before its upstream has to wait."""

_EVENT_ID: Final = re.compile(r"([A-Za-z0-9_]{8})([A-Za-z0-9_]{4})-([0-9]{1,15})-([0-9]{1,15})-([gu]|i-?[0-9]+|s.*)")


@attrs.define(eq=False)
class Budget:
    """Bytes that the events of all sessions take together, and how many they may take."""

    most: int
    taken: int = 0


@attrs.frozen
class Place:
    """Where an event id points to."""

    journal: Journal | None
    """None: what followed is not kept any more."""
    number: int
    standing: bool
    """Whether it was on the stream that belongs to no request."""
    request: Id | None
    """Whose answer the stream carries; None for the standing one, or where the id was too long to say."""


class Journal:
    """One stream. Whoever produces its messages adds them; whoever carries them to the client follows it."""

    def __init__(self, store: Store, stream: int, request: Id | None, *, standing: bool) -> None:
        self.request = request
        self.standing = standing
        self.stream = stream
        self.last = 0
        """Number of the newest event; they count from 1."""
        self.sent = 0
        """Number of the newest event that was written to a client."""
        self.ended_at: float | None = None
        """Trio time from which on nothing follows any more."""
        self._store = store
        self._events: deque[tuple[float, bytes]] = deque()
        self._unsent = 0
        self._follower: object | None = None
        self._watch: Callable[[bool], None] | None = None
        self._changed = trio.Event()

    @property
    def followed(self) -> bool:
        """Whether a connection carries it."""
        return self._follower is not None

    @property
    def first(self) -> int:
        """Number of the oldest event that is kept, or would be the next one."""
        return self.last + 1 - len(self._events)

    def place(self, number: int) -> str:
        """The event id of that number; 0 is the place before the first one."""
        return self._store.event_id(self, number)

    def add(self, message: bytes) -> str:
        """Keep a message; returns its event id."""
        self.last += 1
        self._events.append((trio.current_time(), message))
        self._unsent += len(message)
        self._store.keep(self, len(message))
        self._wake()
        return self.place(self.last)

    def end(self) -> None:
        """Nothing follows."""
        if self.ended_at is None:
            self.ended_at = trio.current_time()
            self._wake()

    def mark_sent(self, number: int) -> None:
        """A client was written everything up to that event."""
        while self.sent < number:
            self.sent += 1
            if self.sent >= self.first:
                self._unsent -= len(self._events[self.sent - self.first][1])
        self._wake()

    def follow(self) -> object:
        """Become the one who carries the stream to the client; whoever did so before stops."""
        self._follower = follower = object()
        self._tell()
        return follower

    def leave(self, follower: object) -> None:
        """Carry it no longer."""
        if self._follower is follower:
            self._follower = None
            self._tell()

    def watch(self, watch: Callable[[bool], None]) -> None:
        """Have `watch` called, at once and whenever it changes, with whether a connection carries the stream."""
        self._watch = watch
        self._tell()

    async def next(self, follower: object, after: int) -> tuple[int, bytes] | None:
        """The first event after number `after`, waiting for it: its number and message.

        None when nothing follows any more, or when somebody else follows now.
        """
        while self._follower is follower:
            if after < self.last:
                number = max(after + 1, self.first)
                if number <= self.last:
                    return number, self._events[number - self.first][1]
            if self.ended_at is not None:
                return None
            await self._changed.wait()
        return None

    async def wait_room(self) -> None:
        """Wait while a connected client is too far behind: a slow client slows its upstream, never our memory."""
        while self.followed and self._unsent > LAG:
            await self._changed.wait()

    def drop_oldest(self) -> int:
        """Forget the oldest event; returns its size."""
        number = self.first
        _, message = self._events.popleft()
        if number > self.sent:
            self._unsent -= len(message)
        return len(message)

    def has_old(self, before: float) -> bool:
        """Whether the oldest event was sent, and that long ago that no client comes back for it."""
        return bool(self._events) and self.first <= self.sent and self._events[0][0] < before

    def _tell(self) -> None:
        if self._watch is not None:
            self._watch(self.followed)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Store:
    """The journals of one session, within `most` bytes, and within what all sessions may take."""

    def __init__(self, tag: str, life: str, most: int, budget: Budget) -> None:
        self.most = most
        self.taken = 0
        self._tag = tag
        self._life = life
        self._budget = budget
        self._journals: dict[int, Journal] = {}
        self._order: deque[Journal] = deque()
        """Whose event came when: the oldest first."""
        self._streams = 0

    def open(self, request: Id | None, *, standing: bool = False) -> Journal:
        """A new stream."""
        self._streams += 1
        journal = Journal(self, self._streams, request, standing=standing)
        self._journals[self._streams] = journal
        return journal

    def close(self, journal: Journal) -> None:
        """Forget a stream. Who asks for it later is told that it is gone."""
        journal.end()
        if self._journals.pop(journal.stream, None) is not None:
            while journal.first <= journal.last:
                self._release(journal.drop_oldest())
            self._order = deque(other for other in self._order if other is not journal)

    def clear(self) -> None:
        """Forget everything."""
        for journal in list(self._journals.values()):
            self.close(journal)

    def keep(self, journal: Journal, size: int) -> None:
        """Count an event that was added; the oldest ones make room for it."""
        self._order.append(journal)
        self.taken += size + OVERHEAD
        self._budget.taken += size + OVERHEAD
        while self._order and (self.taken > self.most or self._budget.taken > self._budget.most):
            self._release(self._order.popleft().drop_oldest())

    def expire(self, before: float) -> None:
        """Forget what nobody comes back for: streams that ended before that time, events that were sent before."""
        for journal in list(self._journals.values()):
            if journal.ended_at is not None and journal.ended_at < before and not journal.followed:
                self.close(journal)
        while self._order and self._order[0].has_old(before):
            self._release(self._order.popleft().drop_oldest())

    def event_id(self, journal: Journal, number: int) -> str:
        """The id of an event."""
        request = "g" if journal.standing else _request_text(journal.request)
        return f"{self._tag}{self._life}-{journal.stream}-{number}-{request}"

    def locate(self, event_id: str) -> Place | None:
        """What an event id points to; None for one that this session never gave out."""
        match = _EVENT_ID.fullmatch(event_id)
        if match is None or match[1] != self._tag:
            return None
        number, request, standing = int(match[4]), _request(match[5]), match[5] == "g"
        if match[2] != self._life:
            return Place(None, number, standing, request)
        stream = int(match[3])
        journal = self._journals.get(stream)
        if journal is None:
            return Place(None, number, standing, request) if stream <= self._streams else None
        if number > journal.last or journal.standing != standing or (not standing and journal.request != request):
            return None
        return Place(journal if number >= journal.first - 1 else None, number, standing, request)

    def _release(self, size: int) -> None:
        self.taken -= size + OVERHEAD
        self._budget.taken -= size + OVERHEAD


def _request_text(request: Id | None) -> str:
    if isinstance(request, int):
        written = f"i{request}"
        return written if len(written) <= LONGEST_REQUEST else "u"
    raw = (request or "").encode()
    if request is None or len(raw) > LONGEST_REQUEST:
        return "u"
    return "s" + urlsafe_b64encode(raw).decode()


def _request(written: str) -> Id | None:
    if written.startswith("i") and len(written) <= LONGEST_REQUEST:
        return int(written[1:])
    if written.startswith("s"):
        try:
            return urlsafe_b64decode(written[1:].encode()).decode()
        except (Base64Error, UnicodeError):
            return None
    return None
