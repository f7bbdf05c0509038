"""A table as text: for its digest, and for people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from gatewayd.routes.secret import Secret
from gatewayd.routes.table import Table


def dump(table: Table) -> str:
    """The table as JSON with defaults filled in and secrets hidden. Not meant to be read back."""
    return json.dumps(_plain(table, repr), indent=2, ensure_ascii=False) + "\n"


def digest(table: Table) -> str:
    """SHA-256 over all content of a table but its digest. Secrets enter hashed."""
    plain = _plain(attrs.evolve(table, digest=""), _hashed)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _hashed(secret: Secret) -> str:
    return "Secret(" + hashlib.sha256(secret.reveal().encode()).hexdigest() + ")"


def _plain(value: object, hide: Callable[[Secret], str]) -> object:
    if isinstance(value, Secret):
        return hide(value)
    if isinstance(value, bytes):
        return value.hex()
    if attrs.has(type(value)):
        fields = attrs.fields(cast("type[attrs.AttrsInstance]", type(value)))
        # the class tells targets apart whose fields happen to agree
        return {"is": type(value).__name__} | {f.name: _plain(getattr(value, f.name), hide) for f in fields}
    if isinstance(value, Mapping):
        return {key: _plain(inner, hide) for key, inner in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, tuple):
        return [_plain(inner, hide) for inner in cast("tuple[object, ...]", value)]
    return value
