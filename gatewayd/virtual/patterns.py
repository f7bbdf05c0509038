"""The URI templates of a virtual server, as what decides which member an unlisted URI leads to. Pure.

The order of the members comes first: no member takes anything from one before it by being more specific.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from gatewayd.routes.virtual import Member, Virtual
from gatewayd.virtual.merge import Entry, View
from gatewayd.virtual.uris import Template, tail

MOST_TEMPLATES: Final = 100
"""Of each member that are asked; it has others listed for nothing but reading."""
MOST_CHECKS: Final = 200_000
"""Comparisons for one member while a list is merged: a tenth of a second."""


class Patterns:
    """Those of one merged list of templates. Templates that begin with an expression are asked last, if at all."""

    def __init__(self, virtual: Virtual, templates: View) -> None:
        self._place = {member.service: index for index, member in enumerate(virtual.members)}
        taken = Counter[str]()
        found = list[tuple[Entry, Template]]()
        for entry in templates.entries:
            taken[entry.member.service] += 1
            if taken[entry.member.service] <= MOST_TEMPLATES:
                found.append((entry, Template(entry.name)))
        found.sort(key=lambda pattern: (self._place[pattern[0].member.service], -pattern[1].specific))
        self._named = [pattern for pattern in found if pattern[1].specific]
        self._wild = [pattern for pattern in found if not pattern[1].specific]
        self._checks = Counter[str]()

    def find(self, uri: str) -> tuple[Member, str] | None:
        """The member that a URI is for, and its own URI for that."""
        return _first(self._named, uri)

    def find_wild(self, uri: str) -> tuple[Member, str] | None:
        """The same among templates that say nothing of where a URI begins."""
        return _first(self._wild, uri)

    def claims(self, member: Member, uri: str) -> bool:
        """Whether a URI that this member lists is for one before it; also where that would take too long to say."""
        before = self._place[member.service]
        for entry, template in self._named:
            if self._place[entry.member.service] >= before:
                return False
            self._checks[member.service] += 1
            if self._checks[member.service] > MOST_CHECKS or template.matches(uri):
                return True
        return False


def _first(patterns: list[tuple[Entry, Template]], uri: str) -> tuple[Member, str] | None:
    entry = next((entry for entry, template in patterns if template.matches(uri)), None)
    return None if entry is None else (entry.member, _expanded(entry, uri))


def _expanded(template: Entry, uri: str) -> str:
    """What fits a template, in the words of its service, which may know it under another beginning."""
    rest = len(tail(template.name))
    return template.own[: len(template.own) - rest] + uri[len(template.name) - rest :]
