"""Cursors of merged lists: where a client is in which list, sealed for it. Pure.

Pages are cut from one merged list, so that what a service changes in the meantime moves nothing. A cursor whose list is
not kept any more is invalid, and the client starts again, as MCP wants (pagination, caching).
"""

from __future__ import annotations

import msgspec

from gatewayd.auth.keychain import Keychain
from gatewayd.catalog.kinds import Kind
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import RpcError
from gatewayd.protocol.jsontext import encode_elements, string
from gatewayd.virtual.merge import View

PURPOSE = "cursor"
MOST_ENTRIES = 1000
MOST_BYTES = 2 * 1024 * 1024
"""Of one page: many clients read the first one only, so that it is as large as can be borne."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """What a cursor says."""

    kind: str
    digest: bytes
    """Of the list."""
    start: int
    """Index of the next entry."""


def invalid_cursor() -> RpcError:
    """What a cursor is answered with that is none of ours, or of a list that is gone."""
    return RpcError(INVALID_PARAMS, "Invalid params: the cursor is not valid any more; list again from the start")


def read_cursor(keychain: Keychain, raw: bytes, kind: Kind, holder: str) -> Position:
    """The position that a cursor of `holder` means; `raw` is JSON text. Raises `RpcError`."""
    token = string(raw)
    payload = None if token is None else keychain.open(PURPOSE, token, holder)
    if payload is None:
        raise invalid_cursor()
    try:
        position = msgspec.msgpack.decode(payload, type=Position)
    except msgspec.DecodeError:  # of another version of the gateway
        raise invalid_cursor() from None
    if position.kind != kind.name:
        raise invalid_cursor()
    return position


def make_cursor(keychain: Keychain, position: Position, holder: str) -> str:
    """The cursor for a position."""
    return keychain.seal(PURPOSE, msgspec.msgpack.encode(position), holder)


def page(view: View, start: int) -> tuple[bytes, int | None]:
    """The entries from there on, as JSON text, and where the next page starts, if there is one."""
    end, size = start, 0
    for entry in view.entries[start : start + MOST_ENTRIES]:
        size += len(entry.raw)
        if size > MOST_BYTES and end > start:
            break
        end += 1
    entries = encode_elements(entry.raw for entry in view.entries[start:end])
    return entries, end if end < len(view.entries) else None
