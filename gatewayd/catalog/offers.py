"""What a server says of itself (MCP 2026-07-28, discovery). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from gatewayd.bridge.changes import LISTS
from gatewayd.protocol.jsontext import is_object, members, members_if_any, string
from gatewayd.protocol.versions import META, META_SERVER_INFO
from gatewayd.routes.suspicion import strip_hidden_json

SUBSCRIBE: Final = "subscribe"
LIST_CHANGED_FLAG: Final = "listChanged"


@attrs.frozen
class Offers:
    """A `server/discover` result, read."""

    capabilities: Mapping[str, bytes]
    instructions: str | None
    server_info: bytes | None
    """JSON text of an object."""

    def has(self, capability: str, part: str | None = None) -> bool:
        """Whether a capability is declared, or a part of it as true."""
        declared = self.capabilities.get(capability)
        if declared is None or part is None:
            return declared is not None
        return members_if_any(declared).get(part) == b"true"

    @property
    def announced(self) -> frozenset[str]:
        """The lists of which changes are announced."""
        return frozenset(name for name in LISTS if self.has(name, LIST_CHANGED_FLAG))


def read_offers(result: bytes) -> Offers:
    """Read a result, without what is hidden in it from people, but not from models.

    Raises `JsonError` where it is none; what is not as it should be in it counts as missing.
    """
    parts = members(strip_hidden_json(result))
    info = members_if_any(parts.get(META)).get(META_SERVER_INFO)
    return Offers(
        members_if_any(parts.get("capabilities")),
        string(parts.get("instructions", b"null")),
        info if info is not None and is_object(info) else None,
    )
