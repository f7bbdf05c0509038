"""What the tables of a route and its services say of a virtual server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from gatewayd.dsl.model import RouteTable, ServiceTable
from gatewayd.dsl.model_virtual import PromptShape, ResourceShape, ToolShape
from gatewayd.dsl.world import Owned
from gatewayd.routes.shaping import Annotation, Override, Shape, Shapes
from gatewayd.routes.virtual import Member, Virtual

Services = Mapping[str, Owned[ServiceTable]]
KINDS = ("tools", "prompts", "resources")
"""Keys whose tables are shapes."""
_OWN = (*KINDS, "conflicts", "lock", "discovery", "patience")


def virtual(route: Owned[RouteTable], services: Services) -> Virtual | None:
    """The virtual server of a route; None where it shows its one service as it is. Unknown services are left out."""
    table = route.table
    known = [(name, services[name]) for name in table.services if name in services]
    several = len(table.services) > 1
    shaped = any(owned.written(kind) for _, owned in known for kind in KINDS)
    if not (several or shaped or any(route.written(key) for key in _OWN)):
        return None
    members = tuple(
        Member(name, prefix_of(name, owned.table) if several else "", _shapes(owned.table)) for name, owned in known
    )
    return Virtual(members, _shapes(table), table.conflicts, table.lock, table.discovery, table.patience)


def prefix_of(name: str, table: ServiceTable) -> str:
    """What stands before the names of a service where it is one of several; empty: nothing."""
    return name if table.prefix is None else table.prefix


def _shapes(table: ServiceTable | RouteTable) -> Shapes:
    return Shapes(_shape(table.tools), _shape(table.prompts), _shape(table.resources))


def _shape(table: ToolShape | PromptShape | ResourceShape) -> Shape:
    override = {name: _override(inner) for name, inner in table.override.items()}
    return Shape(table.only, table.hide, table.rename, override)


def _override(table: Any) -> Override:
    """Of any kind; prompts have no annotations."""
    annotations: attrs.AttrsInstance | None = getattr(table, "annotations", None)
    return Override(table.title, table.description, () if annotations is None else _annotations(annotations))


def _annotations(table: attrs.AttrsInstance) -> tuple[tuple[str, Annotation], ...]:
    written = {field.name: getattr(table, field.name) for field in attrs.fields(type(table))}
    return tuple((name, value) for name, value in written.items() if value is not None)
