"""HTTP/1.1 without I/O, as a server and as a client: feed bytes, take heads and bodies.

Bytes of one message are consumed exactly, so what a peer sends behind it stays in the buffer. After an
`HttpError` a reader is dead: every later call raises the same refusal, and nothing that was received behind
it is ever read. Readers do not bound what is fed: stop feeding while `buffered` is more than you are ready
to hold.
"""

from __future__ import annotations

import enum
from typing import Final, NoReturn

import attrs

from gatewayd.protocol.http1_body import LAST_CHUNK, ChunkedBody, chunk
from gatewayd.protocol.http1_encode import encode_fields, encode_request_head, encode_response_head
from gatewayd.protocol.http1_head import (
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
    upstream_error,
)
from gatewayd.protocol.http1_syntax import Field, Fields, HeadScanner, HttpError

__all__ = [
    "END",
    "LAST_CHUNK",
    "End",
    "Field",
    "Fields",
    "HttpError",
    "RequestHead",
    "RequestReader",
    "ResponseHead",
    "ResponseReader",
    "chunk",
    "encode_fields",
    "encode_request_head",
    "encode_response_head",
]

_MAX_EMPTY_LINES: Final = 2  # RFC 9112 2.2: at least one before a request line should be ignored
_MAX_INTERIM: Final = 10


class End(enum.Enum):
    """The type of `END`, the mark behind the last byte of a body."""

    END = "END"


END: Final = End.END


@attrs.define
class RequestReader:
    """The requests of one client connection, in order. `max_head` bounds heads and trailers, in bytes."""

    max_head: int
    _buffer: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _scanner: HeadScanner = attrs.field(init=False)
    _empty_lines: int = attrs.field(default=0, init=False)
    _pending: RequestHead | None = attrs.field(default=None, init=False)
    _chunked: ChunkedBody | None = attrs.field(default=None, init=False)
    _received: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _refusal: HttpError | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._scanner = HeadScanner(self.max_head)

    @property
    def buffered(self) -> int:
        """Bytes that wait: of the body being read, of a pipelined request, or of a part of one."""
        return len(self._buffer)

    @property
    def started(self) -> bool:
        """Whether a byte of the next head has arrived; empty lines, which `next_head` skips, do not count."""
        return self._pending is None and len(self._buffer) > 0

    def feed(self, data: bytes | bytearray) -> None:
        """Store received bytes; after a refusal they are dropped."""
        if self._refusal is None:
            self._buffer += data

    def next_head(self) -> RequestHead | None:
        """The next head, or None while more data is needed. Raises `HttpError`.

        Raises `RuntimeError` while the body of the last head has not been taken with `next_body`.
        """
        if self._pending is not None:
            raise RuntimeError("the body of the last request was not taken")
        self._check()
        try:
            self._skip_empty_lines()
            end = self._scanner.find(self._buffer)
            if not end:
                return None
            head = parse_request_head(bytes(self._buffer[:end]))
        except HttpError as error:
            self._refuse(error)
        del self._buffer[:end]
        self._empty_lines = 0
        if head.length != 0:
            self._pending = head
            self._chunked = ChunkedBody(self.max_head) if head.chunked else None
        return head

    def next_body(self, limit: int) -> bytes | None:
        """The whole body of the last head once it is complete, None before that; b"" where there is no body.

        Raises `HttpError`: 413 as soon as the declared or received size exceeds `limit` bytes, 400 or 431
        for broken chunked coding.
        """
        self._check()
        if self._pending is None:
            return b""
        try:
            if self._chunked is not None:
                body = self._whole_chunked(self._chunked, limit)
            else:
                body = self._whole(self._pending.length or 0, limit)
        except HttpError as error:
            self._refuse(error)
        if body is not None:
            self._pending = self._chunked = None
        return body

    def _whole(self, length: int, limit: int) -> bytes | None:
        if length > limit:
            raise HttpError(413, "the body is too large")
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _whole_chunked(self, chunked: ChunkedBody, limit: int) -> bytes | None:
        self._received += chunked.read(self._buffer, limit)
        if not chunked.done:
            return None
        body, self._received = bytes(self._received), bytearray()
        return body

    def _skip_empty_lines(self) -> None:
        while self._buffer.startswith(b"\r\n"):
            self._empty_lines += 1
            if self._empty_lines > _MAX_EMPTY_LINES:
                raise HttpError(400, "empty lines before the request")
            del self._buffer[:2]

    def _check(self) -> None:
        if self._refusal is not None:
            raise HttpError(self._refusal.status, self._refusal.reason)

    def _refuse(self, error: HttpError) -> NoReturn:
        self._refusal = HttpError(error.status, error.reason)
        self._buffer = bytearray()
        self._received = bytearray()
        raise error


class _Phase(enum.Enum):
    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


@attrs.define
class ResponseReader:
    """The responses of one upstream connection. Every `HttpError` it raises has status 502.

    For each request: `expect`, then `next_head` until it answers, then `next_chunk` until `END`; then
    `complete` says whether the connection may carry another request.
    """

    max_head: int
    _buffer: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _scanner: HeadScanner = attrs.field(init=False)
    _phase: _Phase = attrs.field(default=_Phase.IDLE, init=False)
    _method: str = attrs.field(default="", init=False)
    _interim: int = attrs.field(default=0, init=False)
    _body: ChunkedBody | int | None = attrs.field(default=0, init=False)
    _reusable: bool = attrs.field(default=True, init=False)
    _eof: bool = attrs.field(default=False, init=False)
    _refusal: HttpError | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._scanner = HeadScanner(self.max_head)

    @property
    def complete(self) -> bool:
        """Whether the connection may carry another request.

        It may when the last answer was taken to its `END` and allows reuse, and the upstream has neither sent
        anything behind it nor closed.
        """
        idle = self._phase is _Phase.IDLE and not self._buffer and not self._eof
        return idle and self._reusable and self._refusal is None

    @property
    def receiving(self) -> bool:
        """Whether the body of an answer was begun and not yet taken to its `END`."""
        return self._phase is _Phase.BODY

    @property
    def buffered(self) -> int:
        """Bytes that wait to be taken."""
        return len(self._buffer)

    @property
    def started(self) -> bool:
        """Whether a byte has come since `expect`; if not, the upstream may never have seen the request."""
        return self._phase is _Phase.BODY or self._interim > 0 or len(self._buffer) > 0

    def expect(self, method: str) -> None:
        """Announce a request that is about to be sent; an answer to HEAD has no body.

        Raises `HttpError` when the connection cannot carry it (see `complete`), `RuntimeError` while the
        last answer has not been taken to its `END`.
        """
        if self._phase is not _Phase.IDLE:
            raise RuntimeError("the last answer was not taken to its end")
        self._check()
        if not self.complete:
            self._refuse(HttpError(400, "the connection cannot be used again"))
        self._method = method
        self._interim = 0
        self._phase = _Phase.HEAD

    def feed(self, data: bytes | bytearray) -> None:
        """Store received bytes; after a refusal they are dropped."""
        if self._refusal is None:
            self._buffer += data

    def feed_eof(self) -> None:
        """Note that the upstream will send no more."""
        self._eof = True

    def next_head(self) -> ResponseHead | None:
        """The final head, or None while more data is needed; up to 10 interim (1xx) heads are skipped.

        Raises `HttpError` for anything but one well-formed head (so for 101, and for an interim head that
        declares a body or closes), and for a close before it ends.
        """
        if self._phase is not _Phase.HEAD:
            raise RuntimeError("no answer is expected")
        self._check()
        try:
            head = self._final_head()
        except HttpError as error:
            self._refuse(error)
        if head is not None:
            self._phase = _Phase.BODY
            self._reusable = head.keep_alive
            self._body = ChunkedBody(self.max_head) if head.chunked else head.length
        return head

    def next_chunk(self) -> bytes | End | None:
        """Bytes of the body as they came, None while more data is needed, `END` behind the last.

        Raises `HttpError` for broken framing, and for a close before the end that the framing promised.
        """
        if self._phase is not _Phase.BODY:
            raise RuntimeError("no body is being received")
        self._check()
        try:
            return self._piece()
        except HttpError as error:
            self._refuse(error)

    def _final_head(self) -> ResponseHead | None:
        while end := self._scanner.find(self._buffer):
            head = parse_response_head(bytes(self._buffer[:end]), self._method)
            del self._buffer[:end]
            if head.status >= 200:
                return head
            self._interim += 1
            if head.status == 101 or not head.keep_alive or self._interim > _MAX_INTERIM:
                raise HttpError(400, "unwanted interim answers")
        if self._eof:
            raise HttpError(400, "closed before its end")
        return None

    def _piece(self) -> bytes | End | None:
        data, done = self._take()
        if data:
            return data
        if done:
            self._phase = _Phase.IDLE
            return END
        if self._eof:
            raise HttpError(400, "closed before its end")
        return None

    def _take(self) -> tuple[bytes, bool]:
        """(bytes to hand out, whether the body ends with them)."""
        if isinstance(self._body, ChunkedBody):
            data = bytes(self._body.read(self._buffer))
            return data, self._body.done
        size = len(self._buffer) if self._body is None else min(self._body, len(self._buffer))
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if self._body is None:
            return data, self._eof
        self._body -= size
        return data, not self._body

    def _check(self) -> None:
        if self._refusal is not None:
            raise HttpError(self._refusal.status, self._refusal.reason)

    def _refuse(self, error: HttpError) -> NoReturn:
        refusal = upstream_error(error)
        self._refusal = HttpError(refusal.status, refusal.reason)
        self._buffer = bytearray()
        raise refusal from error
