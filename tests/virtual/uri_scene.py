"""The URIs of a virtual server, from what its members list: merged as the roster does it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gatewayd.catalog.definitions import Item
from gatewayd.catalog.kinds import RESOURCES, TEMPLATES, Kind
from gatewayd.catalog.listing import Listing
from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.virtual.merge import Part, View, merge
from gatewayd.virtual.patterns import Patterns
from gatewayd.virtual.places import Places

Lists = Mapping[str, Sequence[str]]
"""URIs, or templates, by member; the order is that of the configuration."""


def listing(kind: Kind, *names: str) -> Listing:
    return Listing(kind, tuple(Item(name, json.dumps({kind.key: name}).encode()) for name in names), ())


def hide(*patterns: str) -> Shapes:
    return Shapes(resources=Shape(hide=patterns))


def only(*patterns: str) -> Shapes:
    return Shapes(resources=Shape(only=patterns))


def virtual_of(lists: Lists, **changes: Any) -> Virtual:
    """`shapes` are the route's; those of members are in `of`, by name."""
    shapes: dict[str, Shapes] = changes.pop("of", {})
    members = tuple(Member(name, name, shapes.get(name, Shapes())) for name in lists)
    return attrs.evolve(Virtual(members), **changes)


def merged(kind: Kind, lists: Lists, virtual: Virtual, patterns: Patterns | None = None) -> View:
    parts = [Part(member, listing(kind, *lists.get(member.service, ()))) for member in virtual.members]
    return merge(kind, parts, virtual, {}, None, None if patterns is None else patterns.claims)


def patterns(templates: Lists, **changes: Any) -> Patterns:
    virtual = virtual_of(templates, **changes)
    return Patterns(virtual, merged(TEMPLATES, templates, virtual))


def places(resources: Lists, templates: Lists | None = None, **changes: Any) -> Places:
    virtual = virtual_of(resources, **changes)
    known = merged(TEMPLATES, templates or {}, virtual)
    claiming = Patterns(virtual, known) if len(virtual.members) > 1 else None
    return Places(virtual, merged(RESOURCES, resources, virtual, claiming), known)


def found(where: Places, uri: str) -> tuple[str, str] | None:
    place = where.find(uri)
    return None if place is None else (place.member.service, place.own)
