"""What a child process prints, as log entries: bounded in length and in rate, and unable to forge entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import attrs
import structlog
import trio

log = structlog.get_logger("gatewayd.upstreams")

LINE = 8 * 1024
"""Bytes of one line that are logged: a long traceback line fits, a dumped payload does not."""
RATE = 100
"""Lines per second that are logged for one stream; a log that drowns is no log."""
WINDOW = 1.0
CHUNK = 64 * 1024
"""Bytes per read: what a Linux pipe holds."""
SHORTEST_SECRET = 6
"""Shorter values occur in ordinary text, and hiding them would give away where."""


def escape(text: str) -> str:
    """`text` with backslash escapes for all that is not printable: line breaks, ESC, bidirectional marks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class LogLines:
    """Cuts a stream of bytes into printable lines. No I/O; keeps at most `LINE` bytes.

    `secrets` are values that the stream's author was given; they are replaced wherever they occur in a line.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(s.encode() for s in secrets if len(s) >= SHORTEST_SECRET)
        self._part = b""
        self._lost = 0

    def feed(self, data: bytes, most: int) -> tuple[list[str], int]:
        """The first `most` lines that `data` completes, and how many more it completed."""
        *complete, rest = data.split(b"\n", most)
        skipped = rest.count(b"\n")
        lines = [self._finish(piece) for piece in complete]
        if skipped:
            self._part, self._lost, rest = b"", 0, rest[rest.rindex(b"\n") + 1 :]
        self._keep(rest)
        return lines, skipped

    def end(self) -> str | None:
        """The unfinished last line, if there is one."""
        return self._finish(b"") if self._part else None

    def _keep(self, piece: bytes) -> None:
        room = LINE - len(self._part)
        self._part += piece[:room]
        self._lost += max(0, len(piece) - room)

    def _finish(self, piece: bytes) -> str:
        self._keep(piece)
        line, lost = self._part.removesuffix(b"\r"), self._lost
        self._part, self._lost = b"", 0
        for secret in self._secrets:
            line = line.replace(secret, b"***")
        text = escape(line.decode("utf-8", "backslashreplace"))
        return f"{text} [{lost} more bytes]" if lost else text


@attrs.define
class Rarely:
    """Says when something that may happen by the thousand is worth a log entry: once per `every` seconds."""

    every: float = 10.0
    total: int = 0
    _reported: int = 0
    _next: float = -math.inf

    def count(self, now: float) -> int:
        """Count one occurrence. Returns how many to report now; 0: stay silent, a later report has it."""
        self.total += 1
        if now < self._next:
            return 0
        fresh, self._reported, self._next = self.total - self._reported, self.total, now + self.every
        return fresh


async def log_lines(stream: trio.abc.ReceiveStream, lines: LogLines, emit: Callable[[str], None]) -> None:
    """Read `stream` to its end and `emit` its lines: `RATE` per second, then one entry for what was left out.

    Never stops reading, so the writer is never blocked by its log.
    """
    window, shown, suppressed = trio.current_time(), 0, 0
    while True:
        data = None
        with trio.move_on_at(window + WINDOW if suppressed else math.inf):
            data = await _read(stream)
        if data is not None:
            texts, skipped = lines.feed(bytes(data), RATE - shown)
            shown += len(texts)
            suppressed += skipped
            for text in texts:
                emit(text)
        if data == b"" or trio.current_time() >= window + WINDOW:
            if suppressed:
                emit(f"suppressed {suppressed} lines")
            window, shown, suppressed = trio.current_time(), 0, 0
        if data == b"":
            break
    if (last := lines.end()) is not None:
        emit(last)


async def _read(stream: trio.abc.ReceiveStream) -> bytes | bytearray:
    try:
        return await stream.receive_some(CHUNK)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""
