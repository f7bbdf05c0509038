"""The answer to one HTTP/1.1 request, written to a stream."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from gatewayd.exchange.reply import Field
from gatewayd.protocol.http1 import LAST_CHUNK, RequestHead, chunk, encode_response_head

CLOSE: Field = (b"connection", b"close")
KEEP_ALIVE: Field = (b"connection", b"keep-alive")
CHUNKED: Field = (b"transfer-encoding", b"chunked")


class Http1Reply:
    """A `Reply` on a Trio stream.

    The call's own task and its keep-alive timer both write here; they take turns. A write that was cut short leaves
    the connection unusable, which `reusable` tells.
    """

    __slots__ = (
        "_chunked",
        "_cut",
        "_fields",
        "_head_only",
        "_stream",
        "_turn",
        "_writing",
        "complete",
        "reusable",
        "started",
        "writing_since",
        "wrote_at",
    )

    def __init__(self, stream: trio.abc.SendStream, head: RequestHead, fields: Iterable[Field], *, close: bool) -> None:
        self._stream = stream
        self._head_only = head.method == "HEAD"
        self._chunked = head.minor == 1
        self.reusable = head.keep_alive and not close
        """Whether another request may follow on the connection."""
        self._fields = tuple(fields)
        self._turn: trio.lowlevel.ParkingLot | None = None
        self._writing = False
        self._cut = False
        self.started = False
        self.complete = False
        """Whether the whole answer was written."""
        self.writing_since: float | None = None
        """Trio time when the write under way began; None when none is."""
        self.wrote_at = 0.0
        """Trio time of the last write of a stream."""

    async def send(self, status: int, fields: Iterable[Field], body: bytes) -> None:
        """See `Reply.send`."""
        self.started = True
        length = () if status == 204 else ((b"content-length", b"%d" % len(body)),)
        head = encode_response_head(status, (*fields, *self._fields, *length, *self._connection()))
        await self._write(head if self._head_only else head + body)
        self.complete = True

    async def start(self, status: int, fields: Iterable[Field]) -> None:
        """See `Reply.start`. HTTP/1.0 knows no chunks: there the end of the connection is the end of the stream."""
        self.started = True
        if not self._chunked:
            self.reusable = False
        framing = (CHUNKED,) if self._chunked else ()
        own = {name for name, _ in fields}
        rest = tuple(field for field in self._fields if field[0] not in own)
        await self._write(encode_response_head(status, (*fields, *rest, *framing, *self._connection())))

    async def write(self, data: bytes) -> None:
        """See `Reply.write`."""
        await self._write(chunk(data) if self._chunked else data)

    async def end(self) -> None:
        """See `Reply.end`."""
        if self._chunked:
            await self._write(LAST_CHUNK)
        self.complete = True

    def _connection(self) -> tuple[Field, ...]:
        if not self.reusable:
            return (CLOSE,)
        return () if self._chunked else (KEEP_ALIVE,)

    async def _write(self, data: bytes) -> None:
        while self._writing:
            if self._turn is None:
                self._turn = trio.lowlevel.ParkingLot()
            await self._turn.park()
        if self.complete:  # a keep-alive that waited while the last word was said
            return
        if self._cut:
            raise trio.BrokenResourceError("an earlier part was cut short: what follows would be taken for its rest")
        await trio.lowlevel.checkpoint_if_cancelled()
        self._writing = True
        now = trio.current_time()
        self.writing_since = now
        try:
            await self._stream.send_all(data)
            self.wrote_at = now
        except BaseException:
            self.reusable = False
            self._cut = True
            raise
        finally:
            self._writing = False
            self.writing_since = None
            if self._turn is not None:
                self._turn.unpark()
