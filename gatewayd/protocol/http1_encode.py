"""HTTP/1.1 heads, values to bytes: nothing that is not one head can come out (RFC 9112 sections 2 to 5)."""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from gatewayd.protocol.http1_syntax import TOKEN, VALUE, Field

_NAMES: Final = re.compile(TOKEN + rb"*+")
_VALUES: Final = re.compile(VALUE + rb"*+")
_REQUEST_LINE: Final = re.compile(TOKEN + rb"++ [!\"$-~]++ HTTP/1\.1\r\n")
_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode("ascii") for s in HTTPStatus}


def encode_request_head(method: str, target: str, fields: Collection[Field]) -> bytes:
    """A whole head, empty line included. The caller chooses the framing fields.

    Raises `ValueError` when the method or a name is not a token, the target is not visible ASCII, or a
    value holds a control character: header injection is impossible by construction.
    """
    line = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
    if not _REQUEST_LINE.fullmatch(line):
        raise ValueError("method or target cannot be sent")
    return line + encode_fields(fields) + b"\r\n"


def encode_response_head(status: int, fields: Collection[Field]) -> bytes:
    """A whole head, empty line included; `status` is 100 to 599. Raises `ValueError` for anything else."""
    line = _STATUS_LINES.get(status)
    if line is None:
        if not 100 <= status <= 599:
            raise ValueError("status must be 100 to 599")
        line = b"HTTP/1.1 %d \r\n" % status
    return line + encode_fields(fields) + b"\r\n"


def encode_fields(fields: Collection[Field]) -> bytes:
    """The lines of some fields, without the empty one. Raises `ValueError` as `encode_request_head`."""
    names = [name for name, _ in fields]
    if b"" in names or not _NAMES.fullmatch(b"".join(names)):
        raise ValueError("a field name cannot be sent")
    if not _VALUES.fullmatch(b"".join([value for _, value in fields])):
        raise ValueError("a field value cannot be sent")
    return b"".join([b"%b: %b\r\n" % field for field in fields])
