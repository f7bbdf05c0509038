"""What a server may ask its client for, and which capability the client must have declared before it may.

MCP 2025-11-25 and 2026-07-28 use the same vocabulary: the client's capabilities name `elicitation` (an empty object
means forms, `url` has to be named), `sampling` (with `tools` where the model may be given tools) and `roots`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gatewayd.protocol.jsontext import JsonError, encode_members, members, string

ELICIT: Final = "elicitation/create"
SAMPLE: Final = "sampling/createMessage"
ROOTS: Final = "roots/list"

ASKING: Final[Mapping[str, str]] = MappingProxyType({ELICIT: "elicitation", SAMPLE: "sampling", ROOTS: "roots"})
"""Method to capability."""

INPUT_REQUESTS: Final = "inputRequests"
INPUT_RESPONSES: Final = "inputResponses"
REQUEST_STATE: Final = "requestState"
"""Members in which the modern era asks, and is answered: multi round-trip requests."""

FORM: Final = "form"
URL: Final = "url"

_TOOLS: Final = "tools"
_WITH_TOOLS: Final = frozenset({_TOOLS, "toolChoice"})


def mode(params: bytes | None) -> str:
    """The mode of an elicitation, a form unless it says otherwise. Raises `JsonError` where it cannot be read."""
    named = members(params or b"{}").get("mode")
    if named is None:
        return FORM
    said = string(named)
    if said is None:
        raise JsonError('"mode" is not a string')
    return said


def needed(method: str, params: bytes | None) -> bytes:
    """The client capabilities, as JSON text, that this question takes: what -32021 names as required.

    `method` is one of `ASKING`. Params that cannot be read take what none at all would take. Raises `KeyError` for
    another method.
    """
    try:
        part = _part(method, params)
    except JsonError:
        part = _part(method, None)
    return encode_members({ASKING[method]: b"{}" if part is None else encode_members({part: b"{}"})})


def declares(capabilities: bytes, method: str, params: bytes | None) -> bool:
    """Whether a client with these capabilities may be asked this. False for everything that cannot be read."""
    name = ASKING.get(method)
    if name is None:
        return False
    try:
        declared = members(capabilities).get(name)
        if declared is None:
            return False
        parts = members(declared)
        part = _part(method, params)
    except JsonError:
        return False
    if part is None or (part == FORM and URL not in parts):
        return True
    return part in parts


def _part(method: str, params: bytes | None) -> str | None:
    """The member of the capability that the question takes; None: the capability alone is enough."""
    if method == ELICIT:
        return mode(params)
    if method == SAMPLE and _WITH_TOOLS & members(params or b"{}").keys():
        return _TOOLS
    return None
