"""Model -> docs/reference/configuration.md, and the JSON Schema that editors check against as one types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin

import attrs

from gatewayd.dsl import literals, model, model_gateway, model_lock, model_virtual, terms
from gatewayd.dsl.addresses import Address, Url
from gatewayd.dsl.suggest import one_of

Schema = dict[str, Any]

_INTRODUCTION = """\
# Configuration reference

This page is generated from the classes that are the grammar. `gatewayd schema` prints the same for editors.

The configuration is TOML. What is not described here is an error, never ignored: `gatewayd check FILE`
reports everything at once, and [diagnostics](diagnostics.md) explains each code.

- A **duration** is a string such as `"250ms"`, `"30s"`, `"5m"`, `"1h30m"` or `"2d"`.
- A **size** is a string such as `"512B"`, `"64KiB"`, `"10MiB"` or `"1GiB"` (powers of 1024), or `"64KB"`,
  `"10MB"` or `"1GB"` (powers of 1000). Bare numbers are refused for both.
- A **secret** is `{ env = "NAME" }` (an environment variable of the gateway), `{ file = "path" }` (the file
  without its final line end) or `{ credential = "name" }` (a credential that systemd passed). A string is
  taken too, with a warning: a secret should not stand in the configuration.
- A **path** is relative to the file that names it.
"""

_SECTIONS: tuple[tuple[str, type[attrs.AttrsInstance]], ...] = (
    ("Top level", model.Config),
    ("`[gateway]`", model_gateway.GatewayTable),
    ("`listen` entries", model_gateway.Listener),
    ("`tls` of a `listen` entry", model_gateway.ListenTls),
    ("`gateway.timeouts`", model_gateway.GatewayTimeouts),
    ("`gateway.max`", model_gateway.GatewayMax),
    ("`gateway.session`", model_gateway.GatewaySession),
    ("`[log]`", model.LogTable),
    ("`[services.NAME]`", model.ServiceTable),
    ("`timeout` of a service", model.ServiceTimeout),
    ("`max` of a service", model.ServiceMax),
    ("`auth` of a service", model.ServiceAuth),
    ('`[routes."/path"]`', model.RouteTable),
    ("`tools` of a service or route", model_virtual.ToolShape),
    ("`tools.override.NAME`", model_virtual.ToolOverride),
    ("`annotations` of a tool", model_virtual.ToolAnnotations),
    ("`prompts` of a service or route", model_virtual.PromptShape),
    ("`prompts.override.NAME`", model_virtual.PromptOverride),
    ("`resources` of a service or route", model_virtual.ResourceShape),
    ("`resources.override.URI`", model_virtual.ResourceOverride),
    ("`annotations` of a resource", model_virtual.ResourceAnnotations),
    ("`[auth.NAME]`", model.AuthTable),
    ("Key files", model.KeyFile),
    ("`[keys.ID]` of a key file", model.KeyEntry),
    ("Lock file", model_lock.LockFile),
    ("`[services.NAME]` of the lock file", model_lock.LockService),
    ("`[services.NAME.tools.TOOL]` of the lock file", model_lock.LockEntry),
)
_OTHER_FILES = (model.KeyFile, model.KeyEntry, model_lock.LockFile, model_lock.LockService, model_lock.LockEntry)
"""Tables of files that are not the configuration."""

_SECRET: Schema = {
    "anyOf": [
        {"type": "string"},
        *(
            {
                "type": "object",
                "properties": {kind: {"type": "string"}},
                "required": [kind],
                "additionalProperties": False,
            }
            for kind in ("env", "file", "credential")
        ),
    ]
}
_STRING: Schema = {"type": "string", "minLength": 1}
_STRINGS: Schema = {"type": "array", "items": {"type": "string"}}

_TERMS: Mapping[Any, tuple[str, Schema]] = {
    str: ("string", _STRING),
    bool: ("boolean", {"type": "boolean"}),
    terms.Count: ("integer", {"type": "integer"}),
    terms.Duration: ("duration", {"type": "string", "pattern": r"^([0-9]+(ms|[dhms]))+$"}),
    terms.Size: ("size", {"type": "string", "pattern": r"^[0-9]+([KMG]i?)?B$"}),
    terms.Command: ("array of strings", {**_STRINGS, "minItems": 1}),
    terms.TrustedHost: ("string", _STRING),
    terms.Origin: ("string", _STRING),
    terms.ToolName: ("string", {"type": "string", "pattern": "^[A-Za-z0-9_./-]{1,128}$"}),
    terms.ResourceName: ("URI", {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+.-]*:[^ ]+$"}),
    terms.Prefix | None: ("string, or `false`", {"anyOf": [{"type": "string"}, {"const": False}]}),
    terms.Priority: ("number", {"type": "number", "minimum": 0, "maximum": 1}),
    terms.KeyHash: ("string", {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}),
    terms.PinHash: ("string", {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}),
    terms.Text: ("string", {"type": "string"}),
    terms.SecretRef: ("secret", _SECRET),
    Mapping[str, terms.EnvValue]: (
        "table of strings and secrets",
        {"type": "object", "additionalProperties": _SECRET},
    ),
    terms.AuthNames: (
        'array of strings, or `"anonymous"`',
        {"anyOf": [{"const": "anonymous"}, {**_STRINGS, "minItems": 1}]},
    ),
    Address: ("address", _STRING),
    Address | None: ("address, or `false`", {"anyOf": [_STRING, {"const": False}]}),
    Url: ("URL", {"type": "string", "pattern": "^https?://"}),
    datetime: ("date and time", {"type": "string", "format": "date-time"}),
    model_gateway.Listeners: (
        "address, or array of addresses and tables",
        {
            "anyOf": [
                _STRING,
                {"type": "array", "minItems": 1, "items": {"anyOf": [_STRING, {"$ref": "#/$defs/Listener"}]}},
            ]
        },
    ),
    model.ServiceAuth | None: (
        'table, or `"none"`',
        {"anyOf": [{"const": "none"}, {"$ref": "#/$defs/ServiceAuth"}]},
    ),
}


def reference() -> str:
    """The text of docs/reference/configuration.md."""
    return _INTRODUCTION + "".join("\n" + "\n".join(_section(title, table)) for title, table in _SECTIONS)


def _section(title: str, table: type[attrs.AttrsInstance]) -> Iterator[str]:
    yield f"## {title}\n"
    yield from (line.strip() for line in (table.__doc__ or "").strip().splitlines())
    yield "\n| Key | Type | Default | Meaning | Example |\n|---|---|---|---|---|"
    for field in attrs.fields(table):
        meaning = field.metadata["meaning"]
        if field.metadata["low"] is not None:
            meaning += f" {_spell(field, field.metadata['low'])} to {_spell(field, field.metadata['high'])}."
        example = f"`{field.metadata['example']}`" if field.metadata["example"] else ""
        cells = (f"`{field.name}`", _describe(field.type)[0], _default(field), meaning, example)
        yield "| " + " | ".join(cells) + " |"
    yield ""


def schema() -> Schema:
    """A JSON Schema (2020-12) of the configuration file."""
    definitions = {table.__name__: _object(table) for _, table in _SECTIONS if table not in _OTHER_FILES}
    root = definitions.pop("Config")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gatewayd configuration",
        **root,
        "$defs": definitions,
    }


def _object(table: type[attrs.AttrsInstance]) -> Schema:
    fields = attrs.fields(table)
    shape: Schema = {
        "type": "object",
        "description": " ".join((table.__doc__ or "").split()),
        "properties": {f.name: {"description": f.metadata["meaning"], **_describe(f.type)[1]} for f in fields},
        "additionalProperties": False,
    }
    required = [f.name for f in fields if _required(f)]
    return {**shape, "required": required} if required else shape


def _required(field: attrs.Attribute[Any]) -> bool:
    return field.default is attrs.NOTHING or field.metadata["required"]


def _describe(kind: Any) -> tuple[str, Schema]:
    """What may stand at a key: in words, and as a schema."""
    if kind in _TERMS:
        return _TERMS[kind]
    origin = cast("object", get_origin(kind))
    inner = [argument for argument in get_args(kind) if argument not in (NoneType, ...)]
    if origin is Literal:
        return one_of(f'"{word}"' for word in inner), {"enum": list(inner)}
    if origin is tuple:
        word, shape = _describe(inner[0])
        return f"array of {word}s", {"type": "array", "items": shape}
    if origin is Mapping:
        word, shape = _describe(inner[1])
        return f"table of {word}s", {"type": "object", "additionalProperties": shape}
    if attrs.has(kind):
        return "table", {"$ref": f"#/$defs/{kind.__name__}"}
    return _describe(inner[0])  # X | None


def _default(field: attrs.Attribute[Any]) -> str:
    if _required(field):
        return "required"
    default: object = field.default
    if default is None or isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return "none"
    if attrs.has(type(default)):
        return "as below"
    return f"`{_spell(field, default)}`"


def _spell(field: attrs.Attribute[Any], value: Any) -> str:
    spell: Callable[[Any], str] | None = _SPELL.get(field.type)
    if spell is not None:
        return spell(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "[]" if value == () else f'"{value}"' if isinstance(value, str) else str(value)


_SPELL: Mapping[Any, Callable[[Any], str]] = {
    terms.Duration: lambda value: f'"{literals.spell_duration(value)}"',
    terms.Size: lambda value: f'"{literals.spell_size(value)}"',
    model_gateway.Listeners: lambda value: f'"{value[0].address.host}:{value[0].address.port}"',
}
