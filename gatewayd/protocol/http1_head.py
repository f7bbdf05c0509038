"""HTTP/1.1 heads: one complete head to a checked value, with its framing decided (RFC 9112 sections 3 to 6).

Two parsers must agree on the head of a request: a regular expression, stricter than the RFC, and llhttp, which makes
the fields. For responses the expression is enough: nobody behind us could read the same bytes another way.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)
from msgspec.structs import force_setattr

from gatewayd.protocol.http1_syntax import (
    FIELD_LINES,
    ILLEGAL,
    MALFORMED,
    MAX_FIELDS,
    TOKEN,
    VALUE,
    Fields,
    HttpError,
    malformed,
    only_value,
    split_fields,
    values_of,
)

MAX_TARGET: Final = 8192  # RFC 9112 section 3 asks for at least 8000 octets of request line

# "#" is left out of the target: a fragment is never sent, and proxies disagree on where such a path ends.
_REQUEST: Final = re.compile(
    rb"(" + TOKEN + rb"{1,32}+) ([!\"$-~]{1,8192}+) HTTP/1\.([01])\r\n" + FIELD_LINES + rb"\r\n"
)
_RESPONSE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: " + VALUE + rb"*+)?\r\n" + FIELD_LINES + rb"\r\n")
_REQUEST_LINE: Final = re.compile(TOKEN + rb"++ ([^ ]++) HTTP/([0-9]\.[0-9])\r\n")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._\-]{1,255})(?::[0-9]{1,5})?")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_CODINGS: Final = re.compile(TOKEN + rb"++(?:[ \t]*+,[ \t]*+" + TOKEN + rb"++)*+")
_FRAMING: Final = frozenset({b"connection", b"content-length", b"expect", b"host", b"transfer-encoding"})


class RequestHead(msgspec.Struct, frozen=True):
    """The head of a request that is fit to be routed. Field names are in lower case.

    `target` is as sent, never decoded: "/..." (origin-form), or "*" of OPTIONS. `length` is the declared
    size of the body in bytes, 0 without body, None when it is chunked. `expect_continue`: the client waits
    for "100 Continue" before the body.
    """

    method: str
    target: str
    fields: Fields
    length: int | None
    chunked: bool
    keep_alive: bool
    expect_continue: bool
    minor: int = 1
    """0 for HTTP/1.0, which knows no chunks."""
    last: dict[bytes, bytes] = {}
    """The fields by name; of a repeated one the last. For `get`, which is asked a dozen times per request."""

    def __post_init__(self) -> None:
        force_setattr(self, "last", dict(self.fields))

    def __repr__(self) -> str:
        """Without target and fields: people put secrets there."""
        return f"<RequestHead {self.method} length={self.length} chunked={self.chunked}>"

    @property
    def path(self) -> str:
        """The target up to its query."""
        return self.target.partition("?")[0]

    def get(self, name: bytes) -> bytes | None:
        """The value of a field that may occur once, or None. Raises `HttpError` 400 when it is repeated."""
        if len(self.last) == len(self.fields):
            return self.last.get(name)
        return only_value(self.fields, name)

    def values(self, name: bytes) -> list[bytes]:
        """Every occurrence of a field in order."""
        return values_of(self.fields, name) if name in self.last else []


class ResponseHead(msgspec.Struct, frozen=True):
    """The head of a final (not 1xx) response.

    `length` is the size of the body in bytes, 0 where this answer has none (HEAD, 204, 304), None when it is
    chunked or, with `chunked` False, ends with the connection.
    """

    status: int
    fields: Fields
    length: int | None
    chunked: bool
    keep_alive: bool

    def __repr__(self) -> str:
        """Without fields: there may be secrets in them."""
        return f"<ResponseHead {self.status} length={self.length} chunked={self.chunked}>"

    def get(self, name: bytes) -> bytes | None:
        """The value of a field that may occur once, or None. Raises `HttpError` 502 when it is repeated."""
        try:
            return only_value(self.fields, name)
        except HttpError as error:
            raise upstream_error(error) from error

    def values(self, name: bytes) -> list[bytes]:
        """Every occurrence of a field in order."""
        return values_of(self.fields, name)


def upstream_error(error: HttpError) -> HttpError:
    """A refusal of an upstream's bytes, as the client of the gateway gets to see it."""
    return HttpError(502, f"the upstream's answer is refused: {error.reason}")


def parse_request_head(head: bytes) -> RequestHead:
    """Parse one complete head, its empty line included. Raises `HttpError` with the status to answer."""
    match = _REQUEST.fullmatch(head)
    if match is None:
        raise _why_refused(head)
    method = match[1].decode("ascii")
    target = match[2].decode("ascii")
    # Absolute-form is refused although RFC 9112 3.2.2 wants servers to take it: its authority would overrule
    # Host, and routing on one name only leaves nothing to disagree on. We are no forward proxy either.
    if (target[0] != "/" and (target != "*" or method != "OPTIONS")) or method == "CONNECT":
        raise HttpError(400, "the request target must be a path")
    fields = _llhttp_fields(head)
    minor = match[3]
    if fields is None:
        _request_framing(split_fields(match[4]), minor)  # may know better why: 501 for a coding, for instance
        raise HttpError(400, MALFORMED)
    length, chunked, keep_alive, expects = _request_framing(fields, minor)
    return RequestHead(method, target, fields, length, chunked, keep_alive, expects, int(minor))


def parse_response_head(head: bytes, method: str) -> ResponseHead:
    """Parse one complete head of an answer to `method`, 1xx included. Raises `HttpError` as for a request."""
    match = _RESPONSE.fullmatch(head)
    if match is None:
        raise malformed(head)
    if head.count(b"\r\n") - 2 > MAX_FIELDS:
        raise HttpError(431, "too many fields")
    fields = split_fields(match[3])
    status, minor = int(match[2]), match[1]
    framing = _framing_fields(fields)
    length, chunked = _body_length(framing, minor)
    keep_alive = _keep_alive(framing, minor)
    if method != "HEAD" and status not in (204, 304) and status >= 200:
        return ResponseHead(status, fields, length, chunked, keep_alive and (chunked or length is not None))
    # HEAD and 304 may declare the length GET would have had; 1xx and 204 must declare nothing (RFC 9110 8.6).
    # Where it is anybody's guess whether a body follows, the connection is not used again.
    of_get = status >= 200 and status != 204
    return ResponseHead(status, fields, 0, False, keep_alive and not chunked and (of_get or not length))


class _Collector:
    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.rstrip()))


def _llhttp_fields(head: bytes) -> Fields | None:
    """The fields as llhttp reads them, or None where it refuses the head or counts its lines differently."""
    lines = head.count(b"\r\n") - 2
    if lines > MAX_FIELDS:
        raise HttpError(431, "too many fields")
    collector = _Collector()
    try:
        HttpRequestParser(collector).feed_data(head)
    except HttpParserUpgrade:
        pass  # we never switch protocols: Upgrade is a field like any other
    except HttpParserInvalidMethodError:
        raise HttpError(501, "unknown method") from None
    except HttpParserError:
        return None
    return tuple(collector.fields) if len(collector.fields) == lines else None


def _why_refused(head: bytes) -> HttpError:
    error = malformed(head)
    line = _REQUEST_LINE.match(head)
    if error.reason == ILLEGAL or line is None:
        return error
    if line[2] not in (b"1.0", b"1.1"):
        return HttpError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if len(line[1]) > MAX_TARGET:
        return HttpError(414, "the request target is too long")
    return error


def _framing_fields(fields: Fields) -> dict[bytes, list[bytes]]:
    framing: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if name in _FRAMING:
            framing.setdefault(name, []).append(value)
    return framing


def _request_framing(fields: Fields, minor: bytes) -> tuple[int | None, bool, bool, bool]:
    framing = _framing_fields(fields)
    _check_host(framing.get(b"host", []), minor)
    length, chunked = _body_length(framing, minor)
    if length is None and not chunked:
        length = 0
    expects = False
    if b"expect" in framing and minor == b"1":  # RFC 9110 10.1.1: from HTTP/1.0 it is ignored
        if [value.lower() for value in framing[b"expect"]] != [b"100-continue"]:
            raise HttpError(417, "only 100-continue can be expected")
        expects = length != 0
    return length, chunked, _keep_alive(framing, minor), expects


def _check_host(hosts: list[bytes], minor: bytes) -> None:
    if len(hosts) != 1 and (hosts or minor == b"1"):
        raise HttpError(400, "exactly one Host field is required")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise HttpError(400, "the Host field is malformed")


def _body_length(framing: dict[bytes, list[bytes]], minor: bytes) -> tuple[int | None, bool]:
    """(declared length or None, whether chunked): RFC 9112 6.3, ambiguities refused instead of resolved."""
    lengths = framing.get(b"content-length")
    codings = framing.get(b"transfer-encoding")
    if codings is not None:
        if lengths is not None:
            raise HttpError(400, "Content-Length and Transfer-Encoding exclude each other")
        if minor == b"0":
            raise HttpError(400, "Transfer-Encoding does not exist in HTTP/1.0")
        _check_codings(codings)
        return None, True
    if lengths is None:
        return None, False
    # Repeated equal lengths may be merged (RFC 9110 8.6); refusing them too leaves nothing to interpret.
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise HttpError(400, "Content-Length must be one number")
    return int(lengths[0]), False


def _check_codings(codings: list[bytes]) -> None:
    value = codings[0].lower()
    if len(codings) == 1 and value == b"chunked":
        return
    if len(codings) > 1 or not _CODINGS.fullmatch(value):
        raise HttpError(400, "Transfer-Encoding is malformed")
    if [name.strip() for name in value.split(b",")].count(b"chunked") > 1:
        raise HttpError(400, "Transfer-Encoding is malformed")
    raise HttpError(501, "the only transfer coding is chunked")


def _keep_alive(framing: dict[bytes, list[bytes]], minor: bytes) -> bool:
    values = framing.get(b"connection")
    if values is None:
        return minor == b"1"
    options = {option.strip().lower() for value in values for option in value.split(b",")}
    return b"close" not in options and (minor == b"1" or b"keep-alive" in options)
