"""What a `requestState` of ours says, before it is sealed. Pure.

MCP 2026-07-28, multi round-trip requests: the client hands it back with the answers. It is bound to who was asked, what
was called, and for how long; that it works only once is a matter of whoever keeps the tickets.
"""

from __future__ import annotations

import hashlib

import msgspec

from gatewayd.bridge.asking import INPUT_RESPONSES, REQUEST_STATE
from gatewayd.bridge.modern_client.client_request import ClientRequest
from gatewayd.protocol.jsontext import encode_members
from gatewayd.protocol.versions import META

PURPOSE = "state"
"""What the keychain seals it for."""

_NOT_THE_CALL = frozenset({META, INPUT_RESPONSES, REQUEST_STATE})
"""Members of params that may differ between the call and its retry."""


class State(msgspec.Struct, frozen=True, array_like=True):
    """The contents of a token."""

    instance: str
    """The gateway that parked the call: tickets of others mean nothing."""
    ticket: str
    digest: str
    """Of the call, as `digest` makes it."""
    expires: float
    """On the clock of that gateway."""


def pack(state: State) -> bytes:
    """The payload of the token."""
    return msgspec.json.encode(state)


def unpack(payload: bytes) -> State | None:
    """What `pack` packed; None for anything else that was sealed for the same purpose."""
    try:
        return msgspec.json.decode(payload, type=State)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def bound_to(principal: str, service: str) -> str:
    """What a token is bound to: nobody else can use it, and nowhere else."""
    return f"{len(principal)}:{principal}{service}"


def digest(request: ClientRequest) -> str:
    """The same for a call and its retry, and for nothing else. White space and the order of params do not count."""
    params = {name: raw for name, raw in sorted(request.params.items()) if name not in _NOT_THE_CALL}
    called = hashlib.sha256(request.method.encode() + b"\n")
    called.update(msgspec.json.format(encode_members(params), indent=-1))
    return called.hexdigest()
