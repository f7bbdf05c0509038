"""Single definitions of tools, prompts and resources: passed on, or quarantined with a reason. Pure.

Servers are not trusted to keep to the rules, and a client that trips over one tool loses all of them. What is passed on
can be read by every client, and shows nothing that its reader does not see.
"""

from __future__ import annotations

import re
from typing import Final, cast

import attrs
import msgspec

from gatewayd.catalog.kinds import TOOLS, Kind
from gatewayd.protocol.jsontext import JsonError, is_object, members, members_if_any, string
from gatewayd.protocol.param_headers import AnnotationError, read_annotations
from gatewayd.routes.suspicion import confusable, hidden, strip_hidden_json

MOST_BYTES: Final = 128 * 1024
"""Of one definition: a model that is given a longer one has room for nothing else."""
LONGEST_URI: Final = 8192
"""Characters; what is longer fits no header (`Mcp-Name`)."""
SHOWN: Final = 60
"""Characters of a bad name that are shown to people."""

_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,128}")
"""MCP 2025-11-25, tool names; and the slash, which the official conformance suite allows."""
_LONGEST_NAME: Final = 128
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S*")


@attrs.frozen
class Item:
    """A definition that may be passed on."""

    name: str
    """As its server uses it: a name, a URI or a URI template."""
    raw: bytes = attrs.field(repr=False)
    """Its JSON text."""
    note: str | None = None
    """What was done to it, if anything."""


@attrs.frozen
class Flaw:
    """A definition that is not passed on."""

    name: str
    """As far as it can be shown."""
    reason: str


def read_item(kind: Kind, raw: bytes) -> Item | Flaw:
    """Read one definition. Takes time for one of many escapes: a twentieth of a second at the worst."""
    if len(raw) > MOST_BYTES:
        return Flaw(_name_in(kind, raw) or "?", f"it takes more than {MOST_BYTES // 1024} KiB")
    cleaned = strip_hidden_json(raw)
    try:
        name, parts = string(members(raw).get(kind.key, b"null")), members(cleaned)
        if name is None:
            return Flaw("?", f'the string "{kind.key}" is missing')
        reason = _name_fault(kind, name) or (_tool_fault(parts, raw, cleaned) if kind is TOOLS else None)
    except JsonError as error:
        return Flaw(_name_in(kind, raw) or "?", error.reason)
    if reason is not None:
        return Flaw(shown(name), reason)
    return Item(name, cleaned, None if cleaned is raw else "hidden characters were taken out")


def repeated(item: Item) -> Flaw:
    """The flaw of a definition of which the name has been used already."""
    return Flaw(shown(item.name), "is listed twice")


def _name_in(kind: Kind, raw: bytes) -> str | None:
    name = string(members_if_any(raw).get(kind.key, b"null"))
    return None if name is None else shown(name)


def shown(name: str) -> str:
    """A name that may be anything, for people and logs."""
    cut = name if len(name) <= SHOWN else name[: SHOWN - 1] + "…"
    return "".join(c if c.isprintable() and not hidden(c) else f"\\u{ord(c):04x}" for c in cut)


def _name_fault(kind: Kind, name: str) -> str | None:
    if hidden(name) or any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "its name has hidden characters"
    match kind.name:
        case "tools" if not _TOOL_NAME.fullmatch(name):
            return "its name is not 1 to 128 letters, digits and `_-./`"
        case "prompts" if not 0 < len(name) <= _LONGEST_NAME:
            return f"its name is not 1 to {_LONGEST_NAME} characters long"
        case "prompts" if confusable(name):
            return "its name has letters that look like others"
        case "resources" if not _URI.fullmatch(name):
            return "its URI is none"
        case "resources" | "templates" if not 0 < len(name) <= LONGEST_URI:
            return f"its URI is not 1 to {LONGEST_URI} characters long"
        case _:
            return None


def _tool_fault(parts: dict[str, bytes], raw: bytes, cleaned: bytes) -> str | None:
    """What keeps a client, or the lock, from reading a tool. Raises `JsonError`."""
    try:
        if cleaned is not raw and _names(msgspec.json.decode(cleaned)) != _names(msgspec.json.decode(raw)):
            return "names of arguments differ in hidden characters only"
        msgspec.json.decode(cleaned)
        schema = members_if_any(parts.get("inputSchema"))
        if string(schema.get("type", b"null")) != "object":
            return 'it has no inputSchema of type "object"'
        read_annotations(parts["inputSchema"])
    except (msgspec.DecodeError, AnnotationError) as error:
        return f"it cannot be used: {error}"
    return None if is_object(parts.get("outputSchema", b"{}")) else "its outputSchema is no object"


def _names(value: object) -> int:
    """How many members all objects in a value have."""
    match value:
        case dict():
            inner = cast("dict[str, object]", value).values()
            return len(inner) + sum(map(_names, inner))
        case list():
            return sum(map(_names, cast("list[object]", value)))
        case _:
            return 0
