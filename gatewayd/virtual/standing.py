"""Who listens for changes of lists, and what they have been told of last."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from gatewayd.bridge.changes import LIST_CHANGED
from gatewayd.bridge.modern_client.listen_answer import ListenAnswer
from gatewayd.catalog.catalog import Catalog
from gatewayd.catalog.catalogs import Audience
from gatewayd.catalog.kinds import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind
from gatewayd.protocol.jsonrpc import Notification
from gatewayd.virtual.roster import Roster

LISTED: Final[Mapping[str, tuple[Kind, ...]]] = MappingProxyType(
    {"tools": (TOOLS,), "prompts": (PROMPTS,), "resources": (RESOURCES, TEMPLATES)}
)
"""The lists that each announcement is about."""


@attrs.define(eq=False)
class Standing:
    """One client that listens, and the lists of which it wants to hear."""

    answer: ListenAnswer
    audience: Audience
    lists: tuple[str, ...]
    _seen: dict[str, tuple[bytes, ...]] = attrs.field(factory=dict[str, "tuple[bytes, ...]"], init=False)
    _watched: list[Catalog] = attrs.field(factory=list[Catalog], init=False)

    def watch(self, roster: Roster) -> None:
        """Have the lists of all members kept true from now on, whatever was watched before."""
        before, self._watched = self._watched, [catalog for _, catalog in roster.catalogs(self.audience)]
        wanted = [kind.name for name in self.lists for kind in LISTED[name]]
        for catalog in self._watched:
            catalog.watchers += 1
            catalog.want(wanted)
        _let_go(before)

    def leave(self) -> None:
        """Watch nothing any more."""
        before, self._watched = self._watched, []
        _let_go(before)

    def hears_of(self, changed: Collection[Audience]) -> bool:
        """Whether one of these audiences is its own, for some service."""
        return any(
            (a.principal, a.capabilities) == (self.audience.principal, self.audience.capabilities) for a in changed
        )

    def look(self, roster: Roster) -> None:
        """Tell of every list that is not what it was. As long as nobody has said anything, there is nothing to tell."""
        for name in self.lists:
            kinds = LISTED[name]
            if not any(catalog.known(kind.name) for _, catalog in roster.catalogs(self.audience) for kind in kinds):
                continue
            now = tuple(roster.view(kind, self.audience).digest for kind in kinds)
            if self._seen.get(name, now) != now:
                self.answer.hear(Notification(LIST_CHANGED[name]))
            self._seen[name] = now


def _let_go(catalogs: Iterable[Catalog]) -> None:
    for catalog in catalogs:
        catalog.watchers -= 1
        catalog.want(())
