"""The identity of one request in logs and traces, ours and those of the systems before and behind us."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import msgspec

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")

_KNOWN_FLAGS = 0x03
"""`sampled` and `random-trace-id`. The other bits are sent as zero (W3C Trace Context, trace-flags)."""
_NEW_TRACE_FLAGS = "01"
"""`sampled`. With `00`, upstreams that follow their caller's decision (most do) would record nothing."""


class Correlation(msgspec.Struct, frozen=True, gc=False):
    """What a request is called: in our logs, in error answers, and in the headers of the upstream request."""

    request_id: str
    """`X-Request-Id`: the client's, where it is fit for a log, or else ours. At most 64 ASCII characters."""
    traceparent: str
    """The header to send on (W3C Trace Context): the client's trace, or a new one, with our span as the parent."""
    continued: bool
    """Whether the trace is the client's: then its `tracestate` goes with it."""


def _random_hex() -> Iterator[str]:
    """Endless: 64 random bits as 16 hexadecimal digits. One system call serves many requests."""
    while True:
        block = os.urandom(4096).hex()
        yield from (block[start : start + 16] for start in range(0, len(block), 16))


_pool = _random_hex()


def from_headers(request_id: bytes | None, traceparent: bytes | None) -> Correlation:
    """Continue what the client began; begin anew where a header is malformed, missing, or repeated (None)."""
    fit = _REQUEST_ID.fullmatch(request_id or b"")
    name = fit[0].decode("ascii") if fit else next(_pool)
    known = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if known is None:
        return Correlation(name, f"00-{next(_pool)}{next(_pool)}-{next(_pool)}-{_NEW_TRACE_FLAGS}", False)
    flags = int(known[2], 16) & _KNOWN_FLAGS
    return Correlation(name, f"00-{known[1].decode('ascii')}-{next(_pool)}-{flags:02x}", True)
