"""Invariant: any bytes decode to a message, or a batch, that survives encoding, or raise `RpcError`.

And nothing passes that the strict reading of the standard library's `json` refuses.
"""

from __future__ import annotations

import json
import sys

from gatewayd.protocol.codes import INVALID_REQUEST, PARSE_ERROR
from gatewayd.protocol.envelope import check_modern, classify
from gatewayd.protocol.jsonrpc import Message, Request, RpcError, decode, decode_batch, encode
from gatewayd.protocol.jsontext import is_array

MOST = 5
"""Messages of a batch here."""

TOKENS = (
    b'"jsonrpc":"2.0"', b'"id":1', b'"id":null', b'"method":"tools/call"', b'"params":{}', b'"result":{}',
    b'"error":{"code":1,"message":""}', b'"_meta":{}',
    b'"io.modelcontextprotocol/protocolVersion":"2026-07-28"',
    b'"io.modelcontextprotocol/clientCapabilities":{}', b"null", b"true", b"1.0", b"1e400", b"-0", b"01",
    b"NaN", b"9" * 70, b'""', b"{}", b"[]", b"[", b"]", b",", b"[" * 129, b"]" * 129, b" ", b"\t", b"\\u0069",
    b"\\ud83d\\ude00", b"\\ud800", b"\\udc00", b"\\\\", b"\\n", b"\\x", b"\xc3\xa9", b"\xc0\x80",
    b"\xef\xbb\xbf", b"\x01",
)  # fmt: skip


def target(data: bytes) -> None:
    """Decode, hold the outcome against a second parser, and go through era choice and modern checks."""
    if is_array(data):
        _batch(data)
    message = _outcome(data)
    if isinstance(message, RpcError):
        assert message.code in (PARSE_ERROR, INVALID_REQUEST), message
        assert decode(encode(message.failure())) == message.failure()
        return
    value = json.loads(data.decode(), parse_constant=_refuse, parse_int=str)
    json.dumps(value, ensure_ascii=False).encode()
    line = encode(message)
    assert b"\n" not in line
    assert b"\r" not in line
    assert encode(decode(line)) == line
    for version in (None, b"2026-07-28", b"2025-11-25"):
        try:
            classify("POST", version, session=False, message=message)
            if isinstance(message, Request):
                check_modern(message, version=version, method=message.method.encode(), name=b"echo")
        except RpcError as error:
            encode(error.failure())


def _batch(data: bytes) -> None:
    """Each element is what it would be alone, and there are as many as the second parser finds."""
    try:
        found = decode_batch(data, MOST)
    except RpcError as error:
        encode(error.failure())
        return
    values = json.loads(data.decode(), parse_constant=_refuse, parse_int=str)
    assert 0 < len(values) == len(found) <= MOST
    for message in found:
        encode(message.failure() if isinstance(message, RpcError) else message)


def _outcome(data: bytes) -> Message | RpcError:
    try:
        return decode(data)
    except RpcError as error:
        return error


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} passed")


if __name__ == "__main__":
    from driver import run

    sys.exit(run("jsonrpc", target, TOKENS))
