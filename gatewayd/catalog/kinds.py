"""The four lists of a server (MCP, server features), as data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import attrs

from gatewayd.routes.shaping import ShapedKind

KindName = Literal["tools", "prompts", "resources", "templates"]


@attrs.frozen
class Kind:
    """One list."""

    name: KindName
    method: str
    member: str
    """Of its result, with the items."""
    key: str
    """The member of an item that names it."""
    capability: ShapedKind
    """What a server has to offer to have the list; also which choice of the configuration it falls under."""


TOOLS: Final = Kind("tools", "tools/list", "tools", "name", "tools")
PROMPTS: Final = Kind("prompts", "prompts/list", "prompts", "name", "prompts")
RESOURCES: Final = Kind("resources", "resources/list", "resources", "uri", "resources")
TEMPLATES: Final = Kind("templates", "resources/templates/list", "resourceTemplates", "uriTemplate", "resources")

KINDS: Final[Mapping[KindName, Kind]] = MappingProxyType(
    {kind.name: kind for kind in (TOOLS, PROMPTS, RESOURCES, TEMPLATES)}
)
BY_METHOD: Final[Mapping[str, Kind]] = MappingProxyType({kind.method: kind for kind in KINDS.values()})
