"""The tool lock: what each tool looked like when somebody approved it, and what has become of it since."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import attrs
import msgspec

Definition = Mapping[str, object]
"""A tool as its server lists it, decoded."""
_NOTHING: Mapping[str, Pin] = MappingProxyType({})


@attrs.frozen
class Pin:
    """The approved state of one tool: SHA-256 of its parts, in hexadecimal digits."""

    description: str
    """Of `title` and `description`."""
    schema: str
    """Of `inputSchema` and `outputSchema`."""
    annotations: str
    """Of `annotations`."""


Pins = Mapping[str, Mapping[str, Pin]]
"""By service, then by the name that the service uses."""


def pin(tool: Definition) -> Pin:
    """The pin of a tool as it is now. Neither white space nor the order of members counts."""
    return Pin(
        _digest(tool, "title", "description"),
        _digest(tool, "inputSchema", "outputSchema"),
        _digest(tool, "annotations"),
    )


def drift(pins: Pins, service: str, name: str, now: Pin) -> str | None:
    """Why a tool is not what was approved, for people; None where it is."""
    known = pins.get(service, _NOTHING).get(name)
    if known is None:
        shadowed = [other for other, tools in pins.items() if other != service and name in tools]
        return f"is new, and shadows that of {shadowed[0]}" if shadowed else "is new"
    changed = [field.name for field in attrs.fields(Pin) if getattr(known, field.name) != getattr(now, field.name)]
    return f"has changed: {', '.join(changed)}" if changed else None


def _digest(tool: Definition, *names: str) -> str:
    parts = {name: tool[name] for name in names if name in tool}
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
