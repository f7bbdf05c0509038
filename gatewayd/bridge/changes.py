"""What servers of both eras tell unasked: that one of their lists, or a resource, is not what it was. Pure.

MCP 2025-11-25 has it per session (`listChanged`, `resources/subscribe`), MCP 2026-07-28 per `subscriptions/listen`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

LISTS: Final = ("tools", "prompts", "resources")
"""Capabilities with a list that may change."""
LIST_CHANGED: Final[Mapping[str, str]] = MappingProxyType(
    {name: f"notifications/{name}/list_changed" for name in LISTS}
)
"""The notification about each."""
WANTED: Final[Mapping[str, str]] = MappingProxyType({name: f"{name}ListChanged" for name in LISTS})
"""The member of a `subscriptions/listen` that asks for it."""
RESOURCES: Final = "resourceSubscriptions"
"""The member that names resources."""

UPDATED: Final = "notifications/resources/updated"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
"""The first notification of a `subscriptions/listen`: what the server will tell of what was wanted."""

CHANGES: Final = frozenset({UPDATED, *LIST_CHANGED.values()})
"""The notifications themselves."""

_BOUNDARIES: Final = ("/", "?", "#")


def covers(subscribed: str, uri: str) -> bool:
    """Whether `uri` is the subscribed resource or a part of it.

    MCP lets an update name a sub-resource without saying what that is: here what extends the URI at a boundary.
    """
    if not uri.startswith(subscribed):
        return False
    rest = uri[len(subscribed) :]
    return not rest or subscribed.endswith("/") or rest.startswith(_BOUNDARIES)
