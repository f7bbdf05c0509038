"""Who listens for changes of lists, and what they have been told of last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from gatewayd.bridge.changes import LIST_CHANGED
from gatewayd.bridge.modern_client.listen_answer import ListenAnswer
from gatewayd.catalog.catalog import Catalog
from gatewayd.catalog.catalogs import Audience
from gatewayd.catalog.kinds import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, KindName
from gatewayd.protocol.jsonrpc import Notification
from gatewayd.virtual.roster import Roster

LISTED: Final[Mapping[str, tuple[Kind, ...]]] = MappingProxyType(
    {"tools": (TOOLS,), "prompts": (PROMPTS,), "resources": (RESOURCES, TEMPLATES)}
)
"""The lists that each announcement is about."""
Digests = Mapping[str, bytes]
"""By announcement: equal for lists in which clients see the same."""


@attrs.define(eq=False)
class Standing:
    """One client that listens, and the lists of which it wants to hear."""

    answer: ListenAnswer
    audience: Audience
    lists: tuple[str, ...]
    _seen: dict[str, bytes] = attrs.field(factory=dict[str, bytes], init=False)
    _watched: list[Catalog] = attrs.field(factory=list[Catalog], init=False)

    def watch(self, roster: Roster) -> None:
        """Have the lists of all members kept true from now on, whatever was watched before."""
        before, self._watched = self._watched, [catalog for _, catalog in roster.catalogs(self.audience)]
        wanted: list[KindName] = [kind.name for name in self.lists for kind in LISTED[name]]
        for catalog in self._watched:
            catalog.watchers += 1
            catalog.want(wanted)
        _let_go(before)

    def leave(self) -> None:
        """Watch nothing any more."""
        before, self._watched = self._watched, []
        _let_go(before)

    def look(self, now: Digests) -> None:
        """Tell of every list that is not what it was. As long as nobody has said anything, there is nothing to tell."""
        for name in self.lists:
            digest = now.get(name)
            if digest is not None:
                if self._seen.get(name, digest) != digest:
                    self.answer.hear(Notification(LIST_CHANGED[name]))
                self._seen[name] = digest


def digests(roster: Roster, audience: Audience) -> Digests:
    """What an audience sees, by announcement; without those of which no member has said anything."""
    catalogs = [catalog for _, catalog in roster.catalogs(audience)]
    return {
        name: b"".join(roster.view(kind, audience).digest for kind in kinds)
        for name, kinds in LISTED.items()
        if any(catalog.known(kind.name) for catalog in catalogs for kind in kinds)
    }


def _let_go(catalogs: Iterable[Catalog]) -> None:
    for catalog in catalogs:
        catalog.watchers -= 1
        catalog.want(())
