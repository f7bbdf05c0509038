"""Which service a URI leads to, and under which URI a service's own are reached. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import attrs

from gatewayd.routes.shaping import Shape
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.virtual.merge import Entry, View
from gatewayd.virtual.uris import DIRECT, Template, carried, carrier, climbs, scheme_of, spellings, tail

REMEMBERED = 1000
"""URIs of which it is remembered where they lead to."""


@attrs.frozen
class Place:
    """Where a URI leads to."""

    member: Member
    own: str
    """The URI that the service knows."""


class Places:
    """The name space of one virtual server, as its merged lists have it.

    A URI that is listed leads to who lists it; one that fits a template to who has that; one of a scheme that one
    service alone uses to that service. Every other one leads nowhere.
    """

    def __init__(self, virtual: Virtual, resources: View, templates: View) -> None:
        self._virtual = virtual
        self._resources = resources
        self._templates = templates
        patterns = [(entry, Template(entry.name)) for entry in templates.entries]
        self._patterns = sorted(patterns, key=lambda pattern: -pattern[1].specific)
        self._schemes = _schemes([*resources.entries, *templates.entries])
        self.find = lru_cache(REMEMBERED)(self._find)

    def expose(self, service: str, uri: str) -> str:
        """The URI under which clients reach what a service calls `uri`, whether it is listed or not."""
        known = self._resources.shown_as.get((service, uri)) or self._templates.shown_as.get((service, uri))
        if known is not None:
            return known
        if uri.startswith(DIRECT) or len(self._virtual.members) == 1:
            return uri
        place = self.find(uri)
        leads_back = place is not None and (place.member.service, place.own) == (service, uri)
        return uri if leads_back else carried(service, uri)

    def template(self, exposed: str) -> Place | None:
        """Where a template leads to that clients were shown."""
        entry = self._templates.names.get(exposed)
        return None if entry is None else Place(entry.member, entry.own)

    def _find(self, uri: str) -> Place | None:
        """Where a URI leads to; None: nowhere, or where the configuration lets nobody go."""
        entry = self._resources.names.get(uri)
        if entry is not None:
            return Place(entry.member, entry.own)
        place = self._carried(uri) or self._matching(uri) or self._by_scheme(uri)
        return place if place is not None and reachable(self._virtual, place.member, place.own) else None

    def _carried(self, uri: str) -> Place | None:
        found = carrier(uri)
        if found is None or len(self._virtual.members) == 1:
            return None
        service, own = found
        members = (member for member in self._virtual.members if member.service == service)
        return next((Place(member, own) for member in members), None)

    def _matching(self, uri: str) -> Place | None:
        matching = (entry for entry, template in self._patterns if template.matches(uri))
        return next((Place(entry.member, _expanded(entry, uri)) for entry in matching), None)

    def _by_scheme(self, uri: str) -> Place | None:
        """The service that has the scheme to itself; one that is alone has all of them."""
        members = self._virtual.members
        member = members[0] if len(members) == 1 else self._schemes.get(scheme_of(uri))
        return None if member is None else Place(member, uri)


def reachable(virtual: Virtual, member: Member, own: str) -> bool:
    """Whether the configuration lets clients come to what a member calls `own`, however that is spelled."""
    mine, route = member.shapes.resources, virtual.shapes.resources
    if not (_restricts(mine) or _restricts(route)):
        return True
    return not climbs(own) and all(
        mine.shows(spelled) and route.shows(mine.rename.get(spelled, spelled)) for spelled in spellings(own)
    )


def _expanded(template: Entry, uri: str) -> str:
    """What fits a template, in the words of its service, which may know it under another beginning."""
    rest = len(tail(template.name))
    return template.own[: len(template.own) - rest] + uri[len(template.name) - rest :]


def _restricts(shape: Shape) -> bool:
    return shape.only is not None or bool(shape.hide)


def _schemes(entries: Sequence[Entry]) -> dict[str, Member]:
    """The one service that uses each scheme; schemes that several use are left out."""
    users = defaultdict[str, dict[str, Member]](dict)
    for entry in entries:
        if scheme := scheme_of(entry.own):
            users[scheme][entry.member.service] = entry.member
    return {scheme: next(iter(found.values())) for scheme, found in users.items() if len(found) == 1}
