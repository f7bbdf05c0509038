"""What a sealed session id says: enough to go on with a session in a process that has never seen it.

Route and principal are not in it: the seal is bound to them, so an id that is presented elsewhere does not open.
"""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from gatewayd.auth.keychain import Keychain
from gatewayd.auth.principal import Principal
from gatewayd.protocol.jsontext import encode_members, members, members_if_any, string, text
from gatewayd.routes.table import HttpTarget, Members, Service, StdioTarget

PURPOSE = "session"
NONCE = 12
"""Bytes that tell two sessions apart."""
LONGEST_INITIALIZE = 1024
"""Bytes of `initialize` params that are kept as they are; the id travels in a header of every request."""
LONGEST_NAME = 128
LONGEST_UPSTREAM = 512
"""Characters of an upstream's session id; a longer one is not remembered, and a new session is opened instead."""
CAPABILITIES = ("roots", "sampling", "elicitation")
"""What a server adapts to most."""


class Memo(msgspec.Struct, frozen=True, array_like=True):
    """One session, in short."""

    created: float
    """Seconds since 1970."""
    nonce: bytes
    version: str
    """The revision that client and gateway agreed on."""
    initialize: bytes
    """Params of the client's `initialize`: what the session is opened with again when the upstream has lost it."""
    upstream: str | None
    """The upstream's id of its session."""
    target: bytes
    """Which upstream that is, as `target_of` says it: no other one must learn the id."""

    def seal(self, keychain: Keychain, principal: Principal, path: str) -> str:
        """The session id."""
        return keychain.seal(PURPOSE, msgspec.msgpack.encode(self), _holder(principal, path))


def new_memo(created: float, version: str, initialize: bytes, upstream: str | None, target: bytes) -> Memo:
    """The memo of a session that begins now. Raises `JsonError` where the params cannot be read."""
    known = upstream if upstream is not None and len(upstream) <= LONGEST_UPSTREAM else None
    return Memo(created, secrets.token_bytes(NONCE), version, shortened(initialize), known, target)


def target_of(service: Service) -> bytes:
    """The same for a service as long as it is in the same place."""
    match service.target:
        case HttpTarget(url=place):
            pass
        case StdioTarget(launch=launch):
            place = "\n".join(launch.command)
        case Members():
            place = ""
    return hashlib.sha256(f"{service.name}\n{place}".encode()).digest()[:8]


def read_memo(keychain: Keychain, ident: str, principal: Principal, path: str) -> Memo | None:
    """What a session id says; None for one that we did not make for this principal and path."""
    raw = keychain.open(PURPOSE, ident, _holder(principal, path))
    if raw is None:
        return None
    try:
        return msgspec.msgpack.decode(raw, type=Memo)
    except msgspec.DecodeError:  # of another version of the gateway
        return None


def shortened(initialize: bytes) -> bytes:
    """The params of `initialize`, without what servers can do without where they are long."""
    if len(initialize) <= LONGEST_INITIALIZE:
        return initialize
    params = members(initialize)
    info, declared = members_if_any(params.get("clientInfo")), members_if_any(params.get("capabilities"))
    kept = {name: declared[name] for name in CAPABILITIES if name in declared}
    return encode_members(
        {
            "protocolVersion": params.get("protocolVersion", b'""'),
            "capabilities": encode_members({n: raw if len(raw) <= LONGEST_NAME else b"{}" for n, raw in kept.items()}),
            "clientInfo": encode_members(
                {name: text((string(info.get(name, b'""')) or "")[:LONGEST_NAME]) for name in ("name", "version")}
            ),
        }
    )


def _holder(principal: Principal, path: str) -> str:
    return f"{path}\n{principal.key}"
