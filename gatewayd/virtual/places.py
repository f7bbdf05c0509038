"""Which service a URI leads to, and under which URI a service's own are reached. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import attrs

from gatewayd.catalog.definitions import LONGEST_URI
from gatewayd.routes.shaping import Shape
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.virtual.merge import Entry, View
from gatewayd.virtual.patterns import Patterns
from gatewayd.virtual.uris import (
    DIRECT,
    Template,
    carried,
    carrier,
    climbs,
    decodings,
    is_carrier,
    scheme_of,
    spellings,
)

REMEMBERED = 256
"""URIs of which it is remembered where they lead to."""


@attrs.frozen
class Place:
    """Where a URI leads to."""

    member: Member
    own: str
    """The URI that the service knows."""


class Places:
    """The name space of one virtual server, as its merged lists have it.

    A URI that is listed leads to who lists it; one that fits a template to the first who has such a template; one of a
    scheme that one service alone uses to that service. Every other one leads nowhere.
    """

    def __init__(self, virtual: Virtual, resources: View, templates: View) -> None:
        self._virtual = virtual
        self._resources = resources
        self._templates = templates
        self._patterns = Patterns(virtual, templates)
        self._schemes = _schemes([*resources.entries, *templates.entries])
        self._withheld = {
            (report.service, report.name): Template(report.name)
            for report in (*resources.reports, *templates.reports)
            if report.withheld
        }
        self._remembered = lru_cache(REMEMBERED)(self._find)

    def find(self, uri: str) -> Place | None:
        """Where a URI leads to; None: nowhere, or where the configuration lets nobody go."""
        return self._remembered(uri) if len(uri) <= LONGEST_URI else None

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
        entry = self._resources.names.get(uri)
        if entry is not None:
            return Place(entry.member, entry.own)
        if len(self._virtual.members) > 1 and is_carrier(uri) and carrier(uri) is None:
            return None
        found = self._carried(uri) or self._patterns.find(uri) or self._by_scheme(uri) or self._patterns.find_wild(uri)
        if found is None or not reachable(self._virtual, *found) or self._is_withheld(*found):
            return None
        return Place(*found)

    def _carried(self, uri: str) -> tuple[Member, str] | None:
        found = carrier(uri)
        if found is None or len(self._virtual.members) == 1:
            return None
        service, own = found
        members = (member for member in self._virtual.members if member.service == service)
        return next(((member, own) for member in members), None)

    def _by_scheme(self, uri: str) -> tuple[Member, str] | None:
        """The service that has the scheme to itself; one that is alone has all of them."""
        members = self._virtual.members
        member = members[0] if len(members) == 1 else self._schemes.get(scheme_of(uri))
        return None if member is None else (member, uri)

    def _is_withheld(self, member: Member, own: str) -> bool:
        """Whether a rule for conflicts has left it out, by itself or with its template."""
        withheld = (template for (service, _), template in self._withheld.items() if service == member.service)
        return any(template.matches(own) for template in withheld)


def reachable(virtual: Virtual, member: Member, own: str) -> bool:
    """Whether the configuration lets clients come to what a member calls `own`, however that is spelled."""
    mine, route = member.shapes.resources, virtual.shapes.resources
    if not (_restricts(mine) or _restricts(route)):
        return True
    if climbs(own):
        return False

    def names(spelled: str) -> tuple[str, str]:
        candidate = mine.rename.get(spelled, spelled)
        return candidate, carried(member.service, candidate)

    hidden = any(mine.hides(one) or any(map(route.hides, names(one))) for one in spellings(own))
    return not hidden and all(mine.chooses(one) and any(map(route.chooses, names(one))) for one in decodings(own))


def _restricts(shape: Shape) -> bool:
    return shape.only is not None or bool(shape.hide)


def _schemes(entries: Sequence[Entry]) -> dict[str, Member]:
    """The one service that uses each scheme; schemes that several use are left out."""
    users = defaultdict[str, dict[str, Member]](dict)
    for entry in entries:
        if scheme := scheme_of(entry.own):
            users[scheme][entry.member.service] = entry.member
    return {scheme: next(iter(found.values())) for scheme, found in users.items() if len(found) == 1}
