"""What a front offers for the answer to one HTTP request, and how JSON-RPC answers are put on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import trio

from gatewayd.protocol.eventstream import comment, encode_event

Field = tuple[bytes, bytes]

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

    __slots__ = ("_fields", "_http", "_streaming", "finished", "keeps_alive")

    def __init__(self, http: Reply) -> None:
        self._http = http
        self._fields: tuple[Field, ...] = ()
        self._streaming = False
        self.keeps_alive = False
        """Whether silence is to be filled: set by who knows that an event stream is a fit answer."""
        self.finished = False
        """Whether the final answer went out, or began to."""

    def add_field(self, name: bytes, value: bytes) -> None:
        """Add a field to the head, which must not have been sent yet."""
        self._fields += ((name, value),)

    async def stream(self) -> None:
        """Commit to an event stream now."""
        if not self._streaming:
            await trio.lowlevel.checkpoint_if_cancelled()  # a stream that was committed to has a head
            self._streaming = True
            await self._http.start(200, (*EVENT_STREAM, *self._fields))

    async def event(self, message: bytes) -> None:
        """Send a message that is not the final one."""
        await self.stream()
        await self._http.write(encode_event(message))

    async def keep_alive(self) -> None:
        """Send a comment, so that nobody on the way takes the silence for death."""
        if not self.finished:
            await self.stream()
            await self._http.write(comment())

    async def finish(self, message: bytes, status: int = 200) -> None:
        """Send the final message; `status` counts only where no stream has begun."""
        await self._begin_last()
        if self._streaming:
            await self._http.write(encode_event(message))
            await self._http.end()
        else:
            await self._http.send(status, (JSON, *self._fields), message)

    async def accept(self, status: int = 202) -> None:
        """An answer without a body: 202 where a notification or an answer was taken."""
        await self._begin_last()
        await self._http.send(status, self._fields, b"")

    async def finish_without_answer(self) -> None:
        """End the stream with no final message: what the legacy eras want after a cancellation."""
        await self._begin_last()
        await self.stream()
        await self._http.end()

    async def _begin_last(self) -> None:
        """From here on the call is not ended any more, as long as its client reads: see `Call.end`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.finished = True

    @property
    def streaming(self) -> bool:
        """Whether an event stream has begun."""
        return self._streaming
