"""MCP's HTTP headers: their names, and how a value that is not plain ASCII travels in one.

MCP 2026-07-28, Streamable HTTP: a value outside of visible ASCII and inner spaces is sent as
`=?base64?...?=`, the Base64 of its UTF-8. The markers are lower case and exact; a value with only one of them
is literal.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

PROTOCOL_VERSION: Final = b"mcp-protocol-version"
SESSION_ID: Final = b"mcp-session-id"
METHOD: Final = b"mcp-method"
NAME: Final = b"mcp-name"
PARAM_PREFIX: Final = b"mcp-param-"
LAST_EVENT_ID: Final = b"last-event-id"

_OPEN: Final = b"=?base64?"
_CLOSE: Final = b"?="
_PLAIN: Final = re.compile(rb"[\x20-\x7e]*")


class HeaderValueError(ValueError):
    """A header value that means nothing: neither plain nor correctly encoded."""


def encode_value(value: str) -> bytes:
    """The header value for `value`. Raises `HeaderValueError` for a lone surrogate."""
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise HeaderValueError("a lone surrogate cannot be sent") from None
    if _PLAIN.fullmatch(raw) and raw.strip(b" ") == raw and not _looks_encoded(raw):
        return raw
    return _OPEN + b64encode(raw) + _CLOSE


def decode_value(value: bytes) -> str:
    """What a header value stands for. `value` is without the white space that HTTP allows around it.

    Raises `HeaderValueError` for bytes outside of 0x20 to 0x7E, and for Base64 that is not written in the one
    canonical way or is not UTF-8.
    """
    if not _PLAIN.fullmatch(value):
        raise HeaderValueError("a header value holds more than visible ASCII")
    if not _looks_encoded(value) or len(value) < len(_OPEN + _CLOSE):
        return value.decode("ascii")
    inner = value[len(_OPEN) : -len(_CLOSE)]
    try:
        raw = b64decode(inner, validate=True)
        if b64encode(raw) != inner:
            raise HeaderValueError("a header value is not canonical Base64")
        return raw.decode()
    except (Base64Error, UnicodeDecodeError):
        raise HeaderValueError("a header value is not Base64 of UTF-8") from None


def _looks_encoded(value: bytes) -> bool:
    return value.startswith(_OPEN) and value.endswith(_CLOSE)
