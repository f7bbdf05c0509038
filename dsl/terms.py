"""The words that the grammar is made of: types of values, and what is said of a key."""

from __future__ import annotations

from typing import Literal, NewType

import attrs

Duration = NewType("Duration", float)
"""Seconds, written `"30s"`."""
Size = NewType("Size", int)
"""Bytes, written `"10MiB"`."""
Count = NewType("Count", int)
"""A bare number of things."""
Command = NewType("Command", tuple[str, ...])
"""Program and arguments; never empty."""
TrustedHost = NewType("TrustedHost", str)
Origin = NewType("Origin", str)
AuthNames = NewType("AuthNames", tuple[str, ...])
"""Strategy names; empty where the file says `"anonymous"`."""
Prefix = NewType("Prefix", str)
"""What stands before names; empty where the file says `false`."""
ToolName = NewType("ToolName", str)
"""A name for tools and prompts that every client can use."""
ResourceName = NewType("ResourceName", str)
"""A URI or URI template."""
Priority = NewType("Priority", float)
"""0 to 1."""

KeyHash = NewType("KeyHash", bytes)
"""SHA-256 of a client key."""
PinHash = NewType("PinHash", str)
"""SHA-256 of a part of a tool, in hexadecimal digits."""
Text = NewType("Text", str)
"""Any text at all, nothing included."""

SecretKind = Literal["env", "file", "credential", "clear"]


def about(
    meaning: str,
    example: str = "",
    low: float | None = None,
    high: float | None = None,
    *,
    required: bool = False,
) -> dict[str, object]:
    """Metadata of a key: its line in the reference, and the range of its value (seconds, bytes or pieces).

    `required` is for keys whose absence `check` reports; those without a default need not say it.
    """
    return {"meaning": meaning, "example": example, "low": low, "high": high, "required": required}


@attrs.frozen
class SecretRef:
    """Where a secret comes from, or (`clear`) the secret itself."""

    kind: SecretKind
    value: str = attrs.field(repr=False)


EnvValue = str | SecretRef
