"""Names that clients see: `service__tool`, in an alphabet and a length that every host accepts.

MCP has no rule for names before 2025-11-25, and allows 128 characters since; many hosts pass names on to models that
take 64 of `A-Z a-z 0-9 _ -` and nothing else.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

SEPARATOR: Final = "__"
LONGEST: Final = 64
"""Characters of a name with a prefix."""
LONGEST_PREFIX: Final = 32
"""Characters of a prefix: names that are shortened still have all of it, and something after it."""

_SAFE: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST}}}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_MARK: Final = 8
"""Hexadecimal digits that tell shortened names apart."""


def exposed(prefix: str, name: str) -> str:
    """The name that clients see for what its server calls `name`; the same for all time, whatever else there is.

    Without a prefix names stay as they are. With one, what is too long or has other characters is shortened and
    spelled out, and ends with a hash of what it was.
    """
    if not prefix:
        return name
    full = prefix + SEPARATOR + name
    if _SAFE.fullmatch(full):
        return full
    mark = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK]
    spelled = re.sub(r"[^A-Za-z0-9_-]", "_", full)
    return f"{spelled[: LONGEST - _MARK - 1]}-{mark}"


def prefix_fault(prefix: str) -> str | None:
    """Why this cannot stand before a name; None where it can.

    The first `__` of a name ends its prefix, so that no two services can make the same name of two.
    """
    if not _PREFIX.fullmatch(prefix):
        return "a prefix has letters, digits, `_` and `-`, and begins with a letter or digit"
    if len(prefix) > LONGEST_PREFIX:
        return f"a prefix has at most {LONGEST_PREFIX} characters"
    if SEPARATOR in prefix or prefix.endswith("_"):
        return "a prefix has no `__` in it and no `_` at its end: `__` is what ends it"
    return None
