"""HTTP/1.1 bodies: chunked coding both ways, stricter than RFC 9112 section 7.1."""

from __future__ import annotations

import re
import sys
from typing import Final

import attrs

from gatewayd.protocol.http1_syntax import FIELD_LINES, HeadScanner, HttpError, malformed, split_fields

LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a chunked body, without trailers."""

_MAX_SIZE_LINE: Final = 256  # bytes with CRLF; extensions mean nothing to us, real ones stay under 100
_MAX_EXCESS: Final = 16 * 1024  # framing bytes beyond the credit of `_size`; the figures of Go's net/http
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8}+)(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_SIZE_LINE_BEGUN: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,8}+(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?)?")
_NO_TRAILERS: Final = frozenset({b"content-length", b"host", b"transfer-encoding"})  # RFC 9110 6.5.1
_TRAILERS: Final = re.compile(rb"\r\n" + FIELD_LINES + rb"\r\n")


def chunk(data: bytes) -> bytes:
    """One chunk; nothing at all for empty data, which would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


@attrs.define
class ChunkedBody:
    """Takes one chunked body off the start of a buffer, not a byte more.

    Chunk extensions are bounded and ignored; trailers, at most `max_trailers` bytes, are validated and
    discarded.
    """

    max_trailers: int
    done: bool = attrs.field(default=False, init=False)
    """Whether the body and its trailers are complete."""
    # What is left of the current chunk, its CRLF included; 0: a size line comes next.
    _left: int = attrs.field(default=0, init=False)
    _ending: bool = attrs.field(default=False, init=False)  # the last size line has been read
    _declared: int = attrs.field(default=0, init=False)
    _excess: int = attrs.field(default=0, init=False)
    _scanner: HeadScanner = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._scanner = HeadScanner(self.max_trailers)

    def read(self, buffer: bytearray, limit: int = sys.maxsize) -> bytearray:
        """The data that has arrived; it and its framing are removed from `buffer`.

        Raises `HttpError`: 413 as soon as the chunks announce more than `limit` bytes in all, 400 for broken
        framing, 431 for large trailers.
        """
        data = bytearray()
        at, size = 0, len(buffer)
        while at < size and not self._ending:
            if not self._left:
                end = self._size(buffer, at, limit)
                if end == at:
                    break
                at = end
            else:
                piece = buffer[at : at + self._left]
                data += self._strip_end(piece)
                at += len(piece)
                self._left -= len(piece)
        del buffer[:at]
        if self._ending and not self.done:
            self._trailers(buffer)
        return data

    def _size(self, buffer: bytearray, at: int, limit: int) -> int:
        """Read a size line at `at`; returns the index behind it, or `at` while it is incomplete."""
        line = _SIZE_LINE.match(buffer, at, at + _MAX_SIZE_LINE)
        if line is None:
            if len(buffer) - at < _MAX_SIZE_LINE and _SIZE_LINE_BEGUN.fullmatch(buffer, at):
                return at
            raise HttpError(400, "a chunk size is malformed")
        size = int(line[1], 16)
        end = line.end()
        # Credit: 16 bytes of framing per chunk and 2 per byte of data. One-byte chunks pass, one-byte chunks
        # with long extensions do not (CVE-2023-39326).
        self._excess = max(0, self._excess + end - at + 2 - 16 - 2 * size)
        if self._excess > _MAX_EXCESS:
            raise HttpError(400, "more chunk framing than data")
        if not size:
            self._ending = True
            return end - 2  # its CRLF stays: then CRLF CRLF ends the trailers even where there are none
        self._declared += size
        if self._declared > limit:
            raise HttpError(413, "the body is too large")
        self._left = size + 2
        return end

    def _strip_end(self, piece: bytearray) -> bytearray:
        """The data in a piece of the current chunk, once what belongs to its CRLF was checked and cut off."""
        data = max(0, self._left - 2)
        end = b"\r\n" if self._left > 1 else b"\n"
        if not end.startswith(piece[data:]):
            raise HttpError(400, "chunk data does not end where its size says")
        return piece[:data]

    def _trailers(self, buffer: bytearray) -> None:
        end = self._scanner.find(buffer)
        if not end:
            return
        section = bytes(buffer[:end])
        match = _TRAILERS.fullmatch(section)
        if match is None:
            raise malformed(section)
        if any(name in _NO_TRAILERS for name, _ in split_fields(match[1])):
            raise HttpError(400, "a trailer is about framing or routing")
        del buffer[:end]
        self.done = True
