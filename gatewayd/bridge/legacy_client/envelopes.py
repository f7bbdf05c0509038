"""A legacy client in the words of the modern era: what it said once in `initialize`, said with every request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from gatewayd.bridge.asking import FORM, INPUT_RESPONSES, REQUEST_STATE, URL
from gatewayd.bridge.changes import LISTS
from gatewayd.protocol.jsonrpc import Request
from gatewayd.protocol.jsontext import JsonError, encode_members, is_object, members, string, text
from gatewayd.protocol.versions import (
    LEGACY,
    LOG_LEVELS,
    META,
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_LOG_LEVEL,
    META_RELATED_TASK,
    META_SERVER_INFO,
    META_VERSION,
    MODERN,
    PROGRESS_TOKEN,
)

FORMS_ONLY: Final = "2025-06-18"
"""The first revision with elicitation; it has forms and nothing else."""
NEWEST: Final = LEGACY[0]
NOT_SHOWN: Final = frozenset({"extensions", "tasks"})
"""Server capabilities that need an understanding which does not cross eras."""
NOT_PASSED: Final = frozenset({INPUT_RESPONSES, REQUEST_STATE, "task"})
"""Params that mean something in one era only, and there nothing that the client may decide."""

_OWN: Final = frozenset(
    {META_VERSION, META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_LOG_LEVEL, META_RELATED_TASK, PROGRESS_TOKEN}
)
"""Members of `_meta` that are the gateway's to write."""


@attrs.frozen
class Client:
    """A legacy client, as far as a modern server learns of it."""

    version: str
    """The legacy revision that it speaks."""
    capabilities: bytes
    """What it declared and the bridge can carry, as modern client capabilities."""
    info: bytes | None = None
    """Its `clientInfo`, as JSON text."""


@attrs.frozen
class Promises:
    """What a server can tell unasked."""

    lists: frozenset[str] = frozenset()
    """Which lists may change: `tools`, `prompts`, `resources`."""
    updates: bool = False
    """Whether single resources can be subscribed to."""

    @property
    def any(self) -> bool:
        """Whether there is anything at all."""
        return bool(self.lists) or self.updates


def client_of(message: Request) -> Client:
    """The client that sent this `initialize`, of which the version is one of `LEGACY`. Raises `JsonError`."""
    params = members(message.params or b"{}")
    version = string(params.get("protocolVersion", b"null"))
    if version not in LEGACY:
        raise JsonError("the protocol version is no legacy one")
    info = params.get("clientInfo")
    capabilities = _bridgeable(version, members(params.get("capabilities", b"{}")))
    return Client(version, capabilities, info if info is not None and is_object(info) else None)


def modern_meta(client: Client, level: str | None = None) -> dict[str, bytes]:
    """The `_meta` that every modern request has."""
    meta = {META_VERSION: text(MODERN[0]), META_CLIENT_CAPABILITIES: client.capabilities}
    if client.info is not None:
        meta[META_CLIENT_INFO] = client.info
    if level is not None:
        meta[META_LOG_LEVEL] = text(level)
    return meta


def modern_params(params: Mapping[str, bytes], client: Client, level: str | None, ident: int) -> dict[str, bytes]:
    """The params of a client's request, with the envelope; a progress token becomes `ident`. Raises `JsonError`."""
    meta = members(params.get(META, b"{}"))
    kept = {name: value for name, value in meta.items() if name not in _OWN}
    if PROGRESS_TOKEN in meta:
        kept[PROGRESS_TOKEN] = b"%d" % ident
    passed = {name: value for name, value in params.items() if name not in NOT_PASSED}
    return {**passed, META: encode_members({**kept, **modern_meta(client, level)})}


def initialize_result(discovered: bytes, client: Client, service: str) -> bytes:
    """The answer to `initialize` from a `server/discover` result. `service` names who does not say its name.

    Raises `JsonError` where the result cannot be read.
    """
    parts = members(discovered)
    shown = {
        "protocolVersion": text(client.version),
        "capabilities": _shown(parts.get("capabilities", b"{}"), client.version),
        "serverInfo": _identity(members(parts.get(META, b"{}")).get(META_SERVER_INFO), service),
    }
    instructions = parts.get("instructions", b"null")
    if string(instructions) is not None:
        shown["instructions"] = instructions
    return encode_members(shown)


def promises(discovered: bytes) -> Promises:
    """What a `server/discover` result promises to tell. Raises `JsonError` where it cannot be read."""
    capabilities = members(members(discovered).get("capabilities", b"{}"))

    def promised(name: str, what: str = "listChanged") -> bool:
        raw = capabilities.get(name, b"{}")
        return is_object(raw) and members(raw).get(what) == b"true"

    return Promises(frozenset(filter(promised, LISTS)), promised("resources", "subscribe"))


def level_of(message: Request) -> str | None:
    """The level that `logging/setLevel` asks for; None where it is none. Raises `JsonError`."""
    level = string(members(message.params or b"{}").get("level", b"null"))
    return level if level in LOG_LEVELS else None


def _bridgeable(version: str, declared: Mapping[str, bytes]) -> bytes:
    """Capabilities that mean the same in the client's revision and in the modern one."""
    passed: dict[str, bytes] = {}
    for name, raw in declared.items():
        if not is_object(raw):
            continue
        if name == "roots":
            passed[name] = b"{}"
        elif name == "sampling":
            passed[name] = _parts(raw, ("context", "tools") if version == NEWEST else ())
        elif name == "elicitation" and version == FORMS_ONLY:
            passed[name] = b"{}"
        elif name == "elicitation" and version == NEWEST:
            passed[name] = _parts(raw, (FORM, URL))
        elif name == "experimental":
            passed[name] = raw
    return encode_members(passed)


def _parts(raw: bytes, names: tuple[str, ...]) -> bytes:
    return encode_members({name: value for name, value in members(raw).items() if name in names and is_object(value)})


def _shown(raw: bytes, version: str) -> bytes:
    hidden = NOT_SHOWN if version != LEGACY[-1] else NOT_SHOWN | {"completions"}
    return encode_members({name: value for name, value in members(raw).items() if name not in hidden})


def _identity(info: bytes | None, service: str) -> bytes:
    if info is not None and is_object(info):
        parts = members(info)
        if all(string(parts.get(name, b"null")) is not None for name in ("name", "version")):
            return info
    return encode_members({"name": text(service), "version": b'"unknown"'})
