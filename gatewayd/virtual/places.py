"""Which service a URI leads to, and under which URI a service's own are reached. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import attrs

from gatewayd.catalog.definitions import LONGEST_URI
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.virtual.merge import Entry, View
from gatewayd.virtual.patterns import Patterns
from gatewayd.virtual.reach import Withheld, reachable
from gatewayd.virtual.uris import DIRECT, carried, carrier, is_carrier, scheme_of

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
        self._withheld = Withheld([resources, templates])
        self._remembered = lru_cache(REMEMBERED)(self._find)

    def find(self, uri: str) -> Place | None:
        """Where a URI leads to; None: nowhere, or where the configuration lets nobody go."""
        return self._remembered(uri) if len(uri) <= LONGEST_URI else None

    def expose(self, service: str, uri: str, *, hastily: bool = False) -> str:
        """The URI under which clients reach what a service calls `uri`, whether it is listed or not.

        `hastily`: do not find out whether an unlisted one leads back as it is: it carries its service, then.
        """
        known = self._resources.shown_as.get((service, uri)) or self._templates.shown_as.get((service, uri))
        if known is not None:
            return known
        if uri.startswith(DIRECT) or len(self._virtual.members) == 1:
            return uri
        place = None if hastily else self.find(uri)
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
        if len(self._virtual.members) > 1 and is_carrier(uri):
            found = self._carried(uri)
        else:
            found = self._patterns.find(uri) or self._by_scheme(uri) or self._patterns.find_wild(uri)
        if found is None:
            return None
        member, own = found
        listed = (member.service, own) in self._resources.shown_as
        withheld = not listed and self._withheld.covers(member.service, own)
        return None if withheld or not reachable(self._virtual, member, own) else Place(member, own)

    def _carried(self, uri: str) -> tuple[Member, str] | None:
        found = carrier(uri)
        if found is None:
            return None
        service, own = found
        members = (member for member in self._virtual.members if member.service == service)
        return next(((member, own) for member in members), None)

    def _by_scheme(self, uri: str) -> tuple[Member, str] | None:
        """The service that has the scheme to itself; one that is alone has all of them."""
        members = self._virtual.members
        member = members[0] if len(members) == 1 else self._schemes.get(scheme_of(uri))
        return None if member is None else (member, uri)


def _schemes(entries: Sequence[Entry]) -> dict[str, Member]:
    """The one service that uses each scheme; schemes that several use are left out."""
    users = defaultdict[str, dict[str, Member]](dict)
    for entry in entries:
        if scheme := scheme_of(entry.own):
            users[scheme][entry.member.service] = entry.member
    return {scheme: next(iter(found.values())) for scheme, found in users.items() if len(found) == 1}
