"""What a modern request says about its client, and the legacy requests that it becomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gatewayd import __version__
from gatewayd.bridge.asking import FORM, INPUT_RESPONSES, REQUEST_STATE, URL
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import Request, RpcError
from gatewayd.protocol.jsontext import encode_members, members, members_if_any, string, text
from gatewayd.protocol.versions import (
    LEGACY,
    LOG_LEVELS,
    META,
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_LOG_LEVEL,
    META_VERSION,
    PROGRESS_TOKEN,
)

_ENVELOPE: Final = frozenset({META_VERSION, META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_LOG_LEVEL})
"""What no legacy server knows. Trace context, the progress token and keys of vendors go on."""
_ROUNDS: Final = frozenset({REQUEST_STATE, INPUT_RESPONSES})
_CONTEXT_SINCE: Final = frozenset({"2025-06-18", "2025-11-25"})
"""Revisions in which `completion/complete` has a `context`."""
_SAMPLING_PARTS: Final = ("context", "tools")


class ClientRequest(msgspec.Struct, frozen=True):
    """A modern request under our id, decoded as far as the bridge has to know it."""

    id: int
    method: str
    params: Mapping[str, bytes]
    """With `_meta`."""
    meta: Mapping[str, bytes]
    capabilities: bytes
    """What the client declared, as JSON text."""
    progress: bool
    """Whether the client wants to hear of progress; then our id is the token."""
    log_level: str | None
    """The least severe log messages that the client wants; None: it wants none."""


def read_request(message: Request) -> ClientRequest:
    """A request that `check_modern` has passed, as the exchange sends it on. Raises `RpcError` for a bad log level."""
    params = members(message.params or b"{}")
    meta = members(params.get(META, b"{}"))
    level = meta.get(META_LOG_LEVEL)
    named = None if level is None else string(level)
    if level is not None and named not in LOG_LEVELS:
        raise RpcError(INVALID_PARAMS, "Invalid params: there is no such log level")
    return ClientRequest(
        int(message.id),
        message.method,
        params,
        meta,
        meta.get(META_CLIENT_CAPABILITIES, b"{}"),
        PROGRESS_TOKEN in meta,
        named,
    )


def lowered(request: ClientRequest, version: str) -> Request:
    """The request as a server of a legacy revision knows it: without the envelope, rounds of input and tasks."""
    params = {name: raw for name, raw in request.params.items() if name not in _ROUNDS}
    if request.method == "completion/complete" and version not in _CONTEXT_SINCE:
        params.pop("context", None)
    if request.method == "tools/call":
        params.pop("task", None)  # means nothing in the modern era, and another thing in the legacy ones
    meta = {name: raw for name, raw in request.meta.items() if name not in _ENVELOPE}
    params.pop(META, None)
    if meta:
        params[META] = encode_members(meta)
    return Request(request.id, request.method, encode_members(params))


def bridgeable(capabilities: bytes) -> bytes:
    """The client capabilities to declare in a session: what the client declared and the gateway can bridge.

    One spelling for each meaning: clients that can do the same may share a session.
    """
    declared = members_if_any(capabilities)
    kept: dict[str, bytes] = {}
    if "elicitation" in declared:
        modes = members_if_any(declared["elicitation"])
        # An empty object means forms, which is also all that 2025-06-18 knows.
        both = (FORM, URL) if FORM in modes else (URL,)
        kept["elicitation"] = _flags(both if URL in modes else ())
    if "sampling" in declared:
        parts = members_if_any(declared["sampling"])
        kept["sampling"] = _flags([part for part in _SAMPLING_PARTS if part in parts])
    if "roots" in declared:
        kept["roots"] = b"{}"
    return encode_members(kept)


def initialize_params(capabilities: bytes) -> bytes:
    """The params of `initialize` for a session of our own. `capabilities` as `bridgeable` returns them."""
    info = b'{"name":"gatewayd","version":%b}' % text(__version__)
    return encode_members({"protocolVersion": text(LEGACY[0]), "capabilities": capabilities, "clientInfo": info})


def _flags(names: list[str] | tuple[str, ...]) -> bytes:
    return encode_members(dict.fromkeys(names, b"{}"))
