"""Tools as entries of a lock file, and entries as text: the same tools give the same text, line by line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from gatewayd.dsl.lockfile import VERSION, Entries
from gatewayd.dsl.model_lock import LockEntry
from gatewayd.dsl.terms import PinHash, Text
from gatewayd.routes.lock import Definition, pin
from gatewayd.routes.suspicion import spell

_HEAD = f"""\
# What the tools of each service looked like when somebody approved them. `gatewayd lock` writes this file.
version = {VERSION}
"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def entry(tool: Definition) -> LockEntry:
    """The entry of one tool. Nothing is expected of it but that it was JSON."""
    now, text = pin(tool), tool.get("description")
    return LockEntry(
        PinHash(now.description),
        PinHash(now.schema),
        PinHash(now.annotations),
        Text(text if isinstance(text, str) else ""),
        tuple(_arguments(tool)),
        tuple(_hints(_table(tool.get("annotations")))),
    )


def _table(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def arguments(tool: Definition) -> Mapping[str, object]:
    """What the schema of a tool says of each of its arguments; empty where it makes no sense."""
    return _table(_table(tool.get("inputSchema")).get("properties"))


def _arguments(tool: Definition) -> Iterator[Text]:
    required = _table(tool.get("inputSchema")).get("required")
    for name, inner in arguments(tool).items():
        optional = not isinstance(required, list) or name not in required
        yield Text(f"{name}{'?' if optional else ''}: {_type(_table(inner).get('type'))}")


def _type(kind: object) -> str:
    if isinstance(kind, list):
        return " | ".join(map(str, cast("list[object]", kind))) or "any"
    return kind if isinstance(kind, str) else "any"


def _hints(annotations: dict[str, Any]) -> Iterator[Text]:
    for name in sorted(annotations):
        yield Text(f"{name} = {json.dumps(annotations[name], ensure_ascii=False)}")


def render_lock(approved: Entries) -> str:
    """The text of a lock file, sorted by service and tool."""
    parts = [_HEAD]
    for service in sorted(approved):
        for name in sorted(approved[service]):
            parts.append("\n".join(_lines(service, name, approved[service][name])) + "\n")
    return "\n".join(parts)


def _lines(service: str, name: str, tool: LockEntry) -> Iterator[str]:
    yield f"[services.{_key(service)}.tools.{_key(name)}]"
    yield f'description = "sha256:{tool.description}"'
    yield f'schema      = "sha256:{tool.schema}"'
    yield f'annotations = "sha256:{tool.annotations}"'
    if tool.text:
        yield f"text        = {toml_string(tool.text)}"
    if tool.arguments:
        yield f"arguments   = {_array(tool.arguments)}"
    if tool.hints:
        yield f"hints       = {_array(tool.hints)}"


def _key(name: str) -> str:
    """A key on one line; of what is not ASCII one sees which characters it is."""
    if _BARE.fullmatch(name):
        return name
    spelled = toml_string(name)
    return re.sub(r"[^\x00-\x7f]", lambda match: f"\\U{ord(match[0]):08x}", spelled)


def _array(texts: tuple[Text, ...]) -> str:
    return "[" + ", ".join(map(toml_string, texts)) + "]"


def toml_string(text: str) -> str:
    """A TOML string on one line, hidden characters written as `\\uXXXX`."""
    return '"' + spell(text.translate(_ESCAPES)) + '"'
