"""Answers of legacy servers as modern clients know them. Pure.

Only the named members change; whatever else a server says goes through as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gatewayd.bridge.modern_client.client_request import ClientRequest
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_PARAMS, RESOURCE_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure
from gatewayd.protocol.jsontext import (
    JsonError,
    elements,
    encode_elements,
    encode_members,
    members,
    members_if_any,
    string,
    text,
)
from gatewayd.protocol.versions import CACHEABLE, DISCOVER, META, META_SERVER_INFO, SUPPORTED

_RESERVED: Final = range(-32099, -32019)
"""Codes of MCP 2026-07-28: a legacy server does not mean what they mean."""
_NOT_BRIDGED: Final = frozenset({"tasks", "extensions"})
_NEEDS_STREAM: Final = ("listChanged", "subscribe")


class Greeting(msgspec.Struct, frozen=True):
    """What a server said in its `initialize` result."""

    version: str
    capabilities: Mapping[str, bytes]
    server_info: bytes | None
    instructions: bytes | None

    def offers(self, capability: str, part: str | None = None) -> bool:
        """Whether the server declared a capability, or a part of it as true."""
        declared = self.capabilities.get(capability)
        if declared is None or part is None:
            return declared is not None
        return members_if_any(declared).get(part) == b"true"


def read_greeting(result: bytes, version: str) -> Greeting:
    """Read an `initialize` result that settled on `version`. What is not as it should be counts as missing."""
    parts = members_if_any(result)
    info, instructions = parts.get("serverInfo", b""), parts.get("instructions", b"")
    return Greeting(
        version,
        members_if_any(parts.get("capabilities")),
        info if info.startswith(b"{") else None,
        instructions if string(instructions) is not None else None,
    )


def discovery(greeting: Greeting, *, stream: bool) -> bytes:
    """The `server/discover` result for a server that was greeted.

    `stream`: whether what it says unasked reaches the gateway; without that, clients must not wait for it.
    """
    capabilities = {name: raw for name, raw in greeting.capabilities.items() if name not in _NOT_BRIDGED}
    if not stream:
        capabilities = {name: _without(raw, _NEEDS_STREAM) for name, raw in capabilities.items()}
    result = {
        "supportedVersions": encode_elements(map(text, SUPPORTED)),
        "capabilities": encode_members(capabilities),
    }
    if greeting.instructions is not None:
        result["instructions"] = greeting.instructions
    return upgraded_result(DISCOVER, encode_members(result), greeting)


def upgraded_result(method: str, result: bytes, greeting: Greeting) -> bytes:
    """A result with what the modern era demands of one. Raises `JsonError` where it cannot be read."""
    parts = members(result)
    if method == "tools/list" and "tools" in parts:
        parts["tools"] = _tools(parts["tools"])
    parts["resultType"] = b'"complete"'
    if method in CACHEABLE:
        parts["ttlMs"] = b"0"
        parts["cacheScope"] = b'"private"'
    return encode_members(identified(parts, greeting))


def identified(parts: Mapping[str, bytes], greeting: Greeting) -> Mapping[str, bytes]:
    """The members of a result, with the server's name in `_meta`."""
    if greeting.server_info is None:
        return parts
    meta = {**members_if_any(parts.get(META)), META_SERVER_INFO: greeting.server_info}
    return {**parts, META: encode_members(meta)}


def upgraded_failure(failure: Failure, request: ClientRequest) -> Failure:
    """An error under the request's id, with the code that modern revisions use for it."""
    code, data = failure.code, failure.data
    if code == RESOURCE_NOT_FOUND:
        code = INVALID_PARAMS
        known = members_if_any(data)
        uri = request.params.get("uri")
        if uri is not None and request.method == "resources/read":
            data = encode_members({"uri": uri, **known})
    elif code in _RESERVED:
        code = INTERNAL_ERROR
    return Failure(request.id, code, failure.message, data)


def _tools(raw: bytes) -> bytes:
    """The tools that a modern client can use, without what only tasks of 2025-11-25 know."""
    return encode_elements(shown for tool in elements(raw) if (shown := _tool(tool)) is not None)


def _tool(raw: bytes) -> bytes | None:
    try:
        parts = members(raw)
        execution = members(parts.get("execution", b"{}"))
    except JsonError:
        return None
    if string(execution.get("taskSupport", b"null")) == "required":
        return None
    return _without(raw, ("execution",))


def _without(raw: bytes, names: tuple[str, ...]) -> bytes:
    """An object without some of its members; the same text where it has none of them."""
    parts = members_if_any(raw)
    if not parts.keys() & set(names):
        return raw
    return encode_members({name: value for name, value in parts.items() if name not in names})
