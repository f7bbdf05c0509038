"""What a front offers for the answer to one HTTP request, and how JSON-RPC answers are put on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import trio

from gatewayd.protocol.eventstream import comment, encode_event
from gatewayd.sessions.journal import Journal

Field = tuple[bytes, bytes]

RETRY: Final = 1000
"""Milliseconds after which a client whose stream broke off should come back."""
RETRY_LATER: Final = 3000
"""The same when the gateway stops: a restart takes about a second."""
JSON = (b"content-type", b"application/json")
EVENT_STREAM: tuple[Field, ...] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Reply(Protocol):
    """The way back to the client of one HTTP request: either `send` once, or `start`, `write`..., `end`.

    Each front brings its own. Nothing is sent before the first call. All methods wait for a client that reads
    slowly; the front cancels the call when it waits too long. Closing the connection is the front's business.
    """

    @property
    def started(self) -> bool:
        """Whether the status line is out, so that it is too late for another one."""
        ...

    async def send(self, status: int, fields: Iterable[Field], body: bytes) -> None:
        """Send a whole answer."""
        ...

    async def start(self, status: int, fields: Iterable[Field]) -> None:
        """Send the head of a streamed answer."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a part of the body. Writes of several tasks never interleave."""
        ...

    async def end(self) -> None:
        """End a streamed answer."""
        ...


class RpcReply:
    """One JSON-RPC answer on a `Reply`: a JSON object if nothing precedes it, otherwise an event stream.

    The decision is delayed until the first notification or keep-alive, so that errors which come first keep their
    HTTP status (MCP 2026-07-28, Streamable HTTP).
    """

    __slots__ = (
        "_fields",
        "_http",
        "_open_journal",
        "_primes",
        "_streaming",
        "comes_back",
        "finished",
        "journal",
        "keeps_alive",
    )

    def __init__(self, http: Reply) -> None:
        self._http = http
        self._fields: tuple[Field, ...] = ()
        self._streaming = False
        self._open_journal: Callable[[], Journal] | None = None
        self._primes = False
        self.journal: Journal | None = None
        """Where the messages of the stream are kept for a client that loses it; None before there is a stream."""
        self.keeps_alive = False
        """Whether silence is to be filled: set by who knows that an event stream is a fit answer."""
        self.comes_back = False
        """Whether the client of this standing stream understands when to come back (MCP 2025-11-25 has it first)."""
        self.finished = False
        """Whether the final answer went out, or began to."""

    def add_field(self, name: bytes, value: bytes) -> None:
        """Add a field to the head, which must not have been sent yet."""
        self._fields += ((name, value),)

    def record(self, open_journal: Callable[[], Journal], *, primes: bool) -> None:
        """If this becomes a stream, keep its messages in a journal.

        `primes`: begin with an event that has an id and no data, which only clients of 2025-11-25 understand.
        """
        self._open_journal, self._primes = open_journal, primes

    @property
    def opens_early(self) -> bool:
        """Whether the stream should begin before there is anything to say: its client could then come back for it."""
        return self._primes and not self._streaming and not self.finished

    async def stream(self) -> None:
        """Commit to an event stream now."""
        if not self._streaming:
            await trio.lowlevel.checkpoint_if_cancelled()  # a stream that was committed to has a head
            self._streaming = True
            journal = self._recording()
            await self._http.start(200, (*EVENT_STREAM, *self._fields))
            if journal is not None and self._primes:
                await self.prime(journal.place(journal.sent))

    async def prime(self, place: str, retry: int = RETRY) -> None:
        """Send the id of a place in the stream, without data, and how soon to come back when the stream is lost."""
        await self._http.write(encode_event(b"", id=place, retry=retry))

    async def event(self, message: bytes) -> None:
        """Send a message that is not the final one."""
        journal = self._recording()
        place = None if journal is None else journal.add(message)  # first: what is not sent can be asked for later
        await self.stream()
        await self._send_event(message, place, journal)

    async def replay(self, message: bytes, place: str) -> None:
        """Send a message of a stream that is kept elsewhere."""
        await self._http.write(encode_event(message, id=place))

    async def write(self, events: bytes) -> None:
        """Send events that are encoded already."""
        await self.stream()
        await self._http.write(events)

    async def end(self) -> None:
        """End the stream."""
        self.finished = True
        await self._http.end()

    async def pause(self, retry: int) -> bool:
        """Close the connection, but not the stream: its client comes back after so many milliseconds.

        False, and nothing is done, where the client would not (MCP 2025-11-25 has it first) or could not.
        """
        if self._open_journal is None or not self._primes:
            return False
        await self.stream()
        assert self.journal is not None
        await self.prime(self.journal.place(self.journal.last), retry)
        await self.end()
        return True

    async def keep_alive(self) -> None:
        """Send a comment, so that nobody on the way takes the silence for death."""
        if not self.finished:
            await self.stream()
            await self._http.write(comment())

    async def finish(self, message: bytes, status: int = 200) -> None:
        """Send the final message; `status` counts only where no stream has begun."""
        journal, place = self.journal, None
        if journal is not None:
            place = journal.add_last(message)
        await self._begin_last()
        if self._streaming:
            await self._send_event(message, place, journal)
            await self._http.end()
        else:
            await self._http.send(status, (JSON, *self._fields), message)

    async def accept(self, status: int = 202) -> None:
        """An answer without a body: 202 where a notification or an answer was taken."""
        await self._begin_last()
        await self._http.send(status, self._fields, b"")

    async def send_away(self) -> None:
        """End a stream whose client is to come back, and not too soon: the gateway is about to restart."""
        await self._begin_last()
        if self.comes_back:
            await self._http.write(encode_event(b"", retry=RETRY_LATER))
        await self._http.end()

    async def finish_without_answer(self) -> None:
        """End the stream with no final message: what the legacy eras want after a cancellation."""
        if self.journal is not None:
            self.journal.end()
        await self._begin_last()
        await self.stream()
        await self._http.end()

    def _recording(self) -> Journal | None:
        if self.journal is None and self._open_journal is not None:
            self.journal = self._open_journal()
        return self.journal

    async def _send_event(self, message: bytes, place: str | None, journal: Journal | None) -> None:
        await self._http.write(encode_event(message, id=place))
        if journal is not None:
            journal.mark_sent(journal.last)

    async def _begin_last(self) -> None:
        """From here on the call is not ended any more, as long as its client reads: see `Call.end`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.finished = True

    @property
    def streaming(self) -> bool:
        """Whether an event stream has begun."""
        return self._streaming
