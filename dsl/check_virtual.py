"""Rules on virtual servers: prefixes, and what is chosen and renamed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gatewayd.dsl.diagnostics import Code, Finding, Place, quote
from gatewayd.dsl.model import RouteTable, ServiceTable
from gatewayd.dsl.suggest import closest
from gatewayd.dsl.virtual import KINDS, prefix_of
from gatewayd.dsl.world import Owned, World
from gatewayd.routes.names import LONGEST_PREFIX, SEPARATOR, prefix_fault

Route = Owned[RouteTable]
Members = Mapping[str, tuple[int, Owned[ServiceTable]]]
"""The services of a route that exist, each with its place in the list."""


def _several(world: World) -> Iterator[tuple[Route, Members]]:
    """The routes with several services."""
    for route in world.routes.values():
        names = route.table.services
        if len(set(names)) > 1:
            known = {name: (names.index(name), world.services[name]) for name in names if name in world.services}
            yield route, known


def written_prefixes(world: World) -> Iterator[Finding]:
    """What is written as a prefix can stand before names."""
    for owned in world.services.values():
        fault = prefix_fault(owned.table.prefix) if owned.table.prefix else None
        if fault is not None:
            message = f"{quote(owned.table.prefix)} cannot be a prefix: {fault}"
            yield Finding(Code.PREFIX, message, owned.value("prefix"), _better_prefix(owned.table.prefix or ""))


def names_as_prefixes(world: World) -> Iterator[Finding]:
    """So can the name of a service that has no other prefix, where it needs one."""
    for route, members in _several(world):
        for name, (index, owned) in members.items():
            fault = prefix_fault(name) if owned.table.prefix is None and owned.sound("prefix") else None
            if fault is not None:
                message = f"the name of the service {quote(name)} cannot be a prefix: {fault}"
                hint = f'write `prefix = "..."` in `[services.{name}]`'
                also = ((owned.place, "has no `prefix`"),)
                yield Finding(Code.PREFIX, message, route.value("services", index), hint, also)


def _better_prefix(prefix: str) -> str | None:
    fixed = re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9_-]", "-", prefix)).strip("_-")[:LONGEST_PREFIX].rstrip("_")
    return f'did you mean "{fixed}"?' if fixed else None


def same_prefixes(world: World) -> Iterator[Finding]:
    """Names of two services of a route do not begin alike."""
    for route, members in _several(world):
        first: dict[str, str] = {}
        for name, (index, owned) in members.items():
            prefix = prefix_of(name, owned.table)
            other = first.setdefault(prefix, name)
            if prefix and other != name:
                message = f"the services {quote(other)} and {quote(name)} have the same prefix {quote(prefix)}"
                also = tuple((_prefix_place(members[n][1]), "here") for n in (other, name))
                place = route.value("services", index)
                yield Finding(Code.SAME_PREFIX, message, place, "give one of them another `prefix`", also)


def _prefix_place(owned: Owned[ServiceTable]) -> Place:
    return owned.value("prefix") if owned.written("prefix") else owned.place


def shapes(world: World) -> Iterator[Finding]:
    """Every choice shows something, says what it means, and gives names once."""
    tables: tuple[Owned[Any], ...] = (*world.services.values(), *world.routes.values())
    for owned in tables:
        for kind in KINDS:
            yield from _nothing(owned, kind)
            yield from _both(owned, kind)
            yield from _renamed_alike(owned, kind)


def _nothing(owned: Owned[Any], kind: str) -> Iterator[Finding]:
    if getattr(owned.table, kind).only == ():
        hint = 'take it out to show everything; `hide = ["*"]` says that nothing is to be shown'
        yield Finding(Code.SHOWS_NOTHING, f"none of the {kind} would be shown", owned.value(kind, "only"), hint)


def _both(owned: Owned[Any], kind: str) -> Iterator[Finding]:
    only, hide = getattr(owned.table, kind).only or (), getattr(owned.table, kind).hide
    for index, pattern in enumerate(hide):
        if pattern in only:
            message = f"{quote(pattern)} is in `only` and in `hide`: it is hidden"
            also = ((owned.value(kind, "only", only.index(pattern)), "also here"),)
            place = owned.value(kind, "hide", index)
            yield Finding(Code.SHOWN_AND_HIDDEN, message, place, "take it out of one of them", also)


def _renamed_alike(owned: Owned[Any], kind: str) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for old, new in getattr(owned.table, kind).rename.items():
        other = first.setdefault(new, old)
        if other != old:
            message = f"{quote(other)} and {quote(old)} get the same name {quote(new)}"
            also = ((owned.value(kind, "rename", other), "first here"),)
            place = owned.value(kind, "rename", old)
            yield Finding(Code.SAME_NAME, message, place, "give each a name of its own", also)


def idle_patterns(world: World) -> Iterator[Finding]:
    """What a route with several services says of names fits one that has a prefix."""
    for route, members in _several(world):
        prefixes = [prefix_of(name, owned.table) for name, (_, owned) in members.items()]
        if not all(prefixes) or len(members) < len(set(route.table.services)):
            continue
        for place, pattern, wild in (*_patterns(route, "tools"), *_patterns(route, "prompts")):
            if not any(_may_begin(pattern, wild, prefix + SEPARATOR) for prefix in prefixes):
                message = f"{quote(pattern)} can never match: every name here begins with a prefix"
                yield Finding(Code.NEVER_MATCHES, message, place, _with_prefix(pattern, wild, prefixes))


def _patterns(route: Route, kind: str) -> Iterator[tuple[Place, str, bool]]:
    """Patterns and names of a table, and whether `*` is more than a character there."""
    shape = getattr(route.table, kind)
    for key in ("only", "hide"):
        for index, pattern in enumerate(getattr(shape, key) or ()):
            yield route.value(kind, key, index), pattern, "*" in pattern
    for key in ("rename", "override"):
        for name in getattr(shape, key):
            yield route.key(kind, key, name), name, False


def _may_begin(pattern: str, wild: bool, start: str) -> bool:
    head = pattern.partition("*")[0] if wild else pattern
    return head.startswith(start) or (wild and start.startswith(head))


def _with_prefix(pattern: str, wild: bool, prefixes: list[str]) -> str:
    """What was probably meant: a prefix that is misspelt, or none where there should be one."""
    head, separator, rest = pattern.partition(SEPARATOR)
    meant = closest(head, prefixes) if separator else None
    if meant is not None:
        return f"did you mean `{meant}{SEPARATOR}{rest}`?"
    anyone = f" or `*{SEPARATOR}{pattern}`" if wild else ""
    return f"did you mean `{prefixes[0]}{SEPARATOR}{pattern}`{anyone}?"


VIRTUAL_RULES: tuple[Callable[[World], Iterator[Finding]], ...] = (
    written_prefixes,
    names_as_prefixes,
    same_prefixes,
    shapes,
    idle_patterns,
)
