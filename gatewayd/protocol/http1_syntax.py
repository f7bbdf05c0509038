"""HTTP/1.1 lines: where a head ends, what fields look like, what may be repeated (RFC 9112 sections 2, 5)."""

from __future__ import annotations

import re
from typing import Final

import attrs

Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]

MAX_FIELDS: Final = 100  # as Hypercorn and Apache; a head of empty fields must not become 16,000 objects

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]"
FIELD_LINES: Final = rb"((?:" + TOKEN + rb"++:" + VALUE + rb"*+\r\n)*+)"

# What no head may hold anywhere: control characters, LF without CR, CR without LF. Looking for it in every
# piece that arrives refuses a bare-LF head at once; it would never come to its CRLF CRLF and wait for the
# deadline.
_STRAY: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
ILLEGAL: Final = "illegal character in the message head"
MALFORMED: Final = "the message head is malformed"
_OVERLAP: Final = 3  # a CRLF CRLF may begin in the last three bytes already seen


class HttpError(Exception):
    """The peer's bytes are refused and its connection must be closed: nothing after them can be trusted.

    `status` is the HTTP status to answer with (as a server: 400, 413, 414, 417, 431, 501 or 505; as a client:
    always 502). `reason` is a fixed sentence of ours, fit for the client: it never holds bytes of the peer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


@attrs.define
class HeadScanner:
    """Finds the end of a head at the start of a growing buffer, in time linear in the bytes received.

    `limit` is the largest head in bytes, its empty line included.
    """

    limit: int
    _scanned: int = attrs.field(default=0, init=False)

    def find(self, buffer: bytearray) -> int:
        """The index just behind CRLF CRLF, or 0 while more data is needed.

        Raises `HttpError`: 400 for a byte that no head may hold, 431 when the limit is passed (414 when not
        even the first line ended). The outcome does not depend on how the bytes were cut into pieces.
        """
        end = buffer.find(b"\r\n\r\n", self._scanned, self.limit)
        if end >= 0:
            self._scanned = 0
            return end + 4
        if _STRAY.search(buffer, self._scanned, self.limit):
            raise HttpError(400, ILLEGAL)
        if len(buffer) >= self.limit:
            if buffer.find(b"\r\n", 0, self.limit) < 0:
                raise HttpError(414, "the request target is too long")
            raise HttpError(431, "the message head is too large")
        self._scanned = max(0, len(buffer) - _OVERLAP)
        return 0


def malformed(head: bytes) -> HttpError:
    """The 400 for a complete head or trailer section that does not match its grammar.

    It gives the reason that `HeadScanner` gives for the same bytes in smaller pieces.
    """
    return HttpError(400, ILLEGAL if _STRAY.search(head) else MALFORMED)


def split_fields(lines: bytes) -> Fields:
    """The fields of lines that match `FIELD_LINES`: names in lower case, values without OWS around."""
    pairs = (line.partition(b":") for line in lines.split(b"\r\n")[:-1])
    return tuple((name.lower(), value.strip()) for name, _, value in pairs)


def values_of(fields: Fields, name: bytes) -> list[bytes]:
    """Every occurrence of a field in order. `name` is in lower case."""
    return [value for key, value in fields if key == name]


def only_value(fields: Fields, name: bytes) -> bytes | None:
    """The value of a field that may occur once, or None. Raises `HttpError` 400 when it is repeated."""
    values = values_of(fields, name)
    if len(values) > 1:
        raise HttpError(400, "a field that may occur once is repeated")
    return values[0] if values else None
