"""What clients must not come to, though a service has it: what the configuration hides, however it is spelled. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from gatewayd.routes.globs import any_matches
from gatewayd.routes.shaping import Shape
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.virtual.merge import View
from gatewayd.virtual.spellings import canonical, climbs, decodings, spellings
from gatewayd.virtual.uris import Template, carried

MOST_TEMPLATES: Final = 100
"""Withheld ones of a service, beyond which nothing is reached there that is not listed."""


def reachable(virtual: Virtual, member: Member, own: str) -> bool:
    """Whether the configuration lets clients come to what a member calls `own`, however that is spelled."""
    mine, route = member.shapes.resources, virtual.shapes.resources
    if not (_restricts(mine) or _restricts(route)):
        return True
    spelled = spellings(own)
    if spelled is None or climbs(own):
        return False
    hidden = any(_hides(mine, one) or any(_hides(route, name) for name in _names(member, one)) for one in spelled)
    return not hidden and all(
        mine.chooses(one) and any(map(route.chooses, _names(member, one))) for one in decodings(own)
    )


class Withheld:
    """What is left out of the lists of a virtual server: what means the same, or fits its template, is left out, too.

    What is listed all the same is not asked about here.
    """

    def __init__(self, views: Iterable[View]) -> None:
        self._names = defaultdict[str, set[str]](set)
        self._templates = defaultdict[str, list[Template]](list)
        for service, name in (kept for view in views for kept in view.withheld):
            if "{" in name:
                self._templates[service].append(Template(name))
            else:
                self._names[service] |= {name, canonical(name)}

    def covers(self, service: str, own: str) -> bool:
        """Whether what a service calls `own` is left out. Also where it would take too long to say."""
        names, templates = self._names.get(service, set[str]()), self._templates.get(service, [])
        if not (names or templates):
            return False
        spelled = spellings(own)
        if spelled is None or len(templates) > MOST_TEMPLATES or not names.isdisjoint(spelled):
            return True
        return any(template.matches(one) for template in templates for one in decodings(own))


def _restricts(shape: Shape) -> bool:
    return shape.only is not None or bool(shape.hide)


def _hides(shape: Shape, spelled: str) -> bool:
    return any_matches(_patterns(shape.hide), spelled)


@lru_cache(64)
def _patterns(hide: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns of the configuration, and with them those that fit the canonical spelling."""
    return tuple(dict.fromkeys((*hide, *map(canonical, hide))))


def _names(member: Member, spelled: str) -> Iterator[str]:
    """What the route may call it: under its own URI, or one that carries the service."""
    renamed = member.shapes.resources.rename.get(spelled, spelled)
    for name in {spelled, renamed}:
        yield name
        yield carried(member.service, name)
