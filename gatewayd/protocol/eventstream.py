"""Server-sent events both ways (WHATWG HTML, section 9.2): bytes to events, events to bytes.

One departure from the browser's reading: an event that has no data but an `id` or a `retry` is reported, with
empty data. MCP 2025-11-25 opens streams with such an event, so that a client can resume before the first
message.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from gatewayd.protocol.limits import EVENT_BYTES, RETRY_DIGITS

_BOM: Final = b"\xef\xbb\xbf"
_RETRY: Final = re.compile(rb"[0-9]{1,%d}" % RETRY_DIGITS)
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_FORGES: Final = re.compile(r"[\r\n]")


@attrs.frozen
class Event:
    """One event. `id` and `retry` are what this very event carried, not what an earlier one left behind."""

    data: bytes
    event: str = "message"
    id: str | None = None
    retry: int | None = None
    """Milliseconds to wait before reconnecting."""


class EventTooLarge(Exception):
    """An event, or a line of one, exceeded `limit` bytes. The stream cannot be read any further."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event exceeds {limit} bytes")
        self.limit = limit


class EventReader:
    """Reads one event stream from its beginning. Memory stays below the limit plus one chunk."""

    def __init__(self, max_event: int = EVENT_BYTES) -> None:
        self._limit = max_event
        self._tail = bytearray()
        self._at_start = True
        self._after_cr = False
        self._data: list[bytes] = []
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with this chunk, in order.

        Raises `EventTooLarge`; events of the same chunk are lost with it, and the reader is of no further
        use.
        """
        if b"\r" in data or self._after_cr:
            data = self._with_line_feeds(data)
        if b"\n" not in data:
            self._tail += data
            self._check_size(len(self._tail))
            return []
        lines = data.split(b"\n")
        lines[0] = bytes(self._tail) + lines[0]
        self._tail = bytearray(lines.pop())
        found = [event for line in lines if (event := self._take(line)) is not None]
        self._check_size(len(self._tail))
        return found

    def finish(self) -> None:
        """The stream has ended: an event that is not complete is discarded, as the standard wants it."""
        self._tail.clear()
        self._reset()

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Every line end as LF.

        A CR at the end of a chunk ends its line at once; a LF after it belongs to it.
        """
        if not data:
            return data
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, line: bytes) -> Event | None:
        self._check_size(len(line))
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        # Comments keep a stream alive for hours: they do not add up.
        if line.startswith(b":"):
            return None
        self._size += len(line) + 1
        self._check_size(0)
        name, _, value = line.partition(b":")
        self._field(name, value.removeprefix(b" "))
        return None

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif name == b"retry" and _RETRY.fullmatch(value):
            self._retry = int(value)

    def _dispatch(self) -> Event | None:
        event = None
        if self._data or self._id is not None or self._retry is not None:
            event = Event(b"\n".join(self._data), self._event or "message", self._id, self._retry)
        self._reset()
        return event

    def _reset(self) -> None:
        self._data = []
        self._event = ""
        self._id = None
        self._retry = None
        self._size = 0

    def _check_size(self, more: int) -> None:
        if self._size + more > self._limit:
            raise EventTooLarge(self._limit)


def encode_event(
    data: bytes,
    *,
    event: str | None = None,
    id: str | None = None,  # noqa: A002 (the name that the field has on the wire)
    retry: int | None = None,
) -> bytes:
    """The bytes of one event. Each line of `data` becomes a data line, so a reader sees every line end as LF.

    Raises `ValueError` for what could forge another field: CR or LF in `event` or `id`, NUL in `id` (readers
    would ignore that id), a negative `retry`.
    """
    head = b""
    if event is not None:
        head += b"event: %b\n" % _one_line(event)
    if id is not None:
        if "\0" in id:
            raise ValueError("an event id cannot hold NUL")
        head += b"id: %b\n" % _one_line(id)
    if retry is not None:
        if retry < 0:
            raise ValueError("a retry time cannot be negative")
        head += b"retry: %d\n" % retry
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    return b"%bdata: %b\n\n" % (head, data)


def comment(text: str = "") -> bytes:
    """A comment, which every reader ignores: it keeps a silent stream alive.

    Raises `ValueError` for CR or LF.
    """
    return b": %b\n\n" % _one_line(text) if text else b":\n\n"


def _one_line(value: str) -> bytes:
    if _FORGES.search(value):
        raise ValueError("a line end cannot stand here")
    return value.encode()
