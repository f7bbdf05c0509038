"""Newline framing for stdio: one message per line."""

from __future__ import annotations

import attrs

from gatewayd.protocol.limits import LINE_BYTES


@attrs.frozen
class Overlong:
    """A line that exceeded the limit and was dropped while it arrived."""

    size: int
    """Bytes of the whole line, without its LF."""


class LineReader:
    """Splits a byte stream into lines. Memory stays below the limit plus one chunk, whatever arrives.

    The end of a line is LF; a CR before it is tolerated. Blank lines are skipped. A last line without LF is
    never reported: its sender died in the middle of it.
    """

    def __init__(self, max_line: int = LINE_BYTES) -> None:
        self._limit = max_line
        self._line = bytearray()
        self._dropped = 0

    def feed(self, data: bytes) -> list[bytes | Overlong]:
        """The lines that are complete with this chunk, in order, without their line ends. Raises nothing."""
        *ended, rest = data.split(b"\n")
        found: list[bytes | Overlong] = []
        for part in ended:
            self._keep(part)
            if (line := self._end()) is not None:
                found.append(line)
        self._keep(rest)
        return found

    def _keep(self, part: bytes) -> None:
        if self._dropped:
            self._dropped += len(part)
        elif len(self._line) + len(part) > self._limit:
            self._dropped = len(self._line) + len(part)
            self._line = bytearray()
        else:
            self._line += part

    def _end(self) -> bytes | Overlong | None:
        if self._dropped:
            size, self._dropped = self._dropped, 0
            return Overlong(size)
        line = bytes(self._line).removesuffix(b"\r")
        self._line.clear()
        return line if line and not line.isspace() else None
