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
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Final

import attrs
import trio

from gatewayd.protocol.jsonrpc import Id
from gatewayd.sessions.budget import Budget

OVERHEAD: Final = 256
"""Bytes that keeping an event costs beside its text."""
LONGEST_REQUEST: Final = 64
"""Bytes of a request's id that event ids have room for."""
NOTHING: Final = "u"
"""In place of the request in an event id: it is too long to be said, or answered."""
LAG: Final = 64 * 1024
"""Bytes that a connected client may be behind before its upstream has to wait."""
MOST_STREAMS: Final = 1000
"""Streams of one session that are known; of more, those that have ended are forgotten, the oldest first."""

_COUNT: Final = "([1-9][0-9]{0,14})"
_EVENT_ID: Final = re.compile(rf"([0-9a-f]{{8}})([0-9a-f]{{8}})-{_COUNT}-(0|{_COUNT})-([gu]|i-?[0-9]+|s.*)")


@attrs.frozen
class Place:
    """Where an event id points to."""

    journal: Journal | None
    """None: what followed is not kept any more."""
    number: int
    standing: bool
    """Whether it was on the stream that belongs to no request."""
    request: Id | None
    """Whose answer the stream carries; None for the standing one, where the id was too long to say, and behind it."""
    beyond: str = attrs.field(default="", eq=False)
    """An event id for the end of this stream: who names it is waiting for nothing."""


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
        self.final: int | None = None
        """Number of the event that answers the request."""
        self.ended_at: float | None = None
        """Trio time from which on nothing follows any more."""
        self._store = store
        self._events: deque[tuple[float, bytes]] = deque()
        self._unsent = 0
        self._given = 0
        """Number up to which the follower has been given the events."""
        self._follower: object | None = None
        self._watch: Callable[[bool], None] | None = None
        self._changed = trio.Event()

    @property
    def followed(self) -> bool:
        """Whether a connection carries it."""
        return self._follower is not None

    @property
    def held(self) -> bool:
        """Whether a connection still has to carry the oldest event: none that is connected loses what it waits for."""
        return self.followed and self.first > self._given

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

    def add_last(self, message: bytes) -> str:
        """Keep the message that answers the request, after which nothing follows; returns its event id."""
        self.final = self.last + 1
        place = self.add(message)
        self.end()
        return place

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
        self._given = 0
        self._tell()
        return follower

    def leave(self, follower: object) -> None:
        """Carry it no longer."""
        if self._follower is follower:
            self._follower = None
            self._store.make_room()
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
            self._given = after
            if after > self.sent:  # so the client says
                self.mark_sent(after)
            self._store.make_room()
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
        while self.followed and self._unsent > (0 if self._store.crowded else LAG):
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
        return self.first <= self.sent and self._events[0][0] < before and not self.held

    def _tell(self) -> None:
        if self._watch is not None:
            self._watch(self.followed)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Store:
    """The journals of one session of `owner`, within `most` bytes, and within what all sessions may take."""

    def __init__(self, tag: str, life: str, most: int, budget: Budget, owner: Hashable) -> None:
        self.most = most
        self.taken = 0
        self._tag = tag
        self._life = life
        self._budget = budget
        self._owner = owner
        self._journals: dict[int, Journal] = {}
        self._order: deque[Journal] = deque()
        """Whose event came when: the oldest first."""
        self._streams = 0
        self._cleared = False

    @property
    def crowded(self) -> bool:
        """Whether more is kept than may be, because connections still have to carry it."""
        return self.taken > self.most or self._budget.crowded_by(self._owner)

    def open(self, request: Id | None, *, standing: bool = False) -> Journal:
        """A new stream."""
        self._streams += 1
        journal = Journal(self, self._streams, request, standing=standing)
        if not self._cleared:
            self._forget_stream()
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
        """Forget everything, and keep nothing from now on."""
        self._cleared = True
        for journal in list(self._journals.values()):
            self.close(journal)

    def keep(self, journal: Journal, size: int) -> None:
        """Count an event that was added; the oldest ones make room for it. A forgotten stream keeps none."""
        if self._journals.get(journal.stream) is not journal:
            journal.drop_oldest()
            return
        self._order.append(journal)
        self._count(size + OVERHEAD)
        self.make_room()

    def make_room(self) -> None:
        """Forget the oldest events until no more is kept than may be, or only what connections still have to carry."""
        while self.taken > self.most and self.drop_oldest():
            pass
        self._budget.make_room(self._owner, self)

    def drop_oldest(self) -> bool:
        """Forget the oldest event that no connection still has to carry; False where there is none."""
        oldest = next((journal for journal in self._order if not journal.held), None)
        if oldest is None:
            return False
        self._order.remove(oldest)
        self._release(oldest.drop_oldest())
        return True

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
        if number == journal.final:  # who has this waits for nothing more
            request = NOTHING
        return f"{self._tag}{self._life}-{journal.stream}-{number}-{request}"

    def locate(self, event_id: str) -> Place | None:
        """What an event id points to; None for one that this session never gave out."""
        match = _EVENT_ID.fullmatch(event_id)
        if match is None or match[1] != self._tag:
            return None
        stream, number = int(match[3]), int(match[4])
        beyond = f"{match[1]}{match[2]}-{stream}-{number}-{NOTHING}"
        journal = self._journals.get(stream) if match[2] == self._life else None
        if journal is not None:
            if number > journal.last or self.event_id(journal, number) != event_id:
                return None
            known = journal if number >= journal.first - 1 else None
            return Place(known, number, journal.standing, journal.request, beyond)
        if match[2] == self._life and stream > self._streams:
            return None
        return Place(None, number, match[6] == "g", _request(match[6]), beyond)

    def _forget_stream(self) -> None:
        if len(self._journals) >= MOST_STREAMS:
            known = self._journals.values()
            ended = next((journal for journal in known if journal.ended_at is not None and not journal.followed), None)
            if ended is not None:
                self.close(ended)

    def _release(self, size: int) -> None:
        self._count(-size - OVERHEAD)

    def _count(self, change: int) -> None:
        self.taken += change
        self._budget.count(self._owner, self, change)


def _request_text(request: Id | None) -> str:
    if isinstance(request, int):
        written = f"i{request}"
        return written if len(written) <= LONGEST_REQUEST else NOTHING
    raw = (request or "").encode()
    if request is None or len(raw) > LONGEST_REQUEST:
        return NOTHING
    return "s" + urlsafe_b64encode(raw).decode()


def _request(written: str) -> Id | None:
    request: Id | None = None
    if written.startswith("i") and len(written) <= LONGEST_REQUEST:
        request = int(written[1:])
    elif written.startswith("s"):
        with suppress(Base64Error, UnicodeError):
            request = urlsafe_b64decode(written[1:].encode()).decode()
    return request if _request_text(request) == written else None
