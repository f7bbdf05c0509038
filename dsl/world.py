"""All documents of a configuration seen as one: what the checks look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import attrs

from gatewayd.dsl.diagnostics import Code, Finding, Place, quote
from gatewayd.dsl.document import Document
from gatewayd.dsl.load import Loaded
from gatewayd.dsl.model import AuthTable, Config, LogTable, RouteTable, ServiceTable
from gatewayd.dsl.model_gateway import GatewayTable
from gatewayd.dsl.source import Span
from gatewayd.dsl.spans import KeyPath
from gatewayd.dsl.structure import Structured, structure

T = TypeVar("T", bound=attrs.AttrsInstance)
Built = Sequence[tuple[Document, Structured[Config]]]


@attrs.frozen(eq=False)
class Owned(Generic[T]):
    """A table of the model and the file that it stands in."""

    table: T
    document: Document
    path: KeyPath
    broken: frozenset[KeyPath]
    """Paths of the whole document that had a fault and were left out."""

    def value(self, *steps: str | int) -> Place:
        """Where a value below this table stands."""
        return self.document.value((*self.path, *steps))

    def key(self, *steps: str | int) -> Place:
        """Where a key below this table stands."""
        return self.document.key((*self.path, *steps))

    @property
    def place(self) -> Place:
        """The table itself: its header, or its key."""
        return self.document.table(self.path)

    def sound(self, *steps: str) -> bool:
        """Is what stands here as it was written, with nothing left out?"""
        path = (*self.path, *steps)
        return not any(b[: len(path)] == path for b in self.broken)

    def written(self, *steps: str) -> bool:
        """Does the file say anything here?"""
        return self.document.has((*self.path, *steps))


@attrs.frozen(eq=False)
class World:
    """Every table by name. Of tables that are defined twice, the first one."""

    root: Place
    """The beginning of the main file, for what is said of the whole."""
    gateway: Owned[GatewayTable] | None
    log: Owned[LogTable] | None
    services: Mapping[str, Owned[ServiceTable]]
    routes: Mapping[str, Owned[RouteTable]]
    auth: Mapping[str, Owned[AuthTable]]
    known: Mapping[str, frozenset[str]]
    """Names of services, strategies and routes that are written somewhere, faulty ones included."""
    complete: bool
    """False where a file, or a group of tables in one, was not understood: absence proves nothing then."""


def build(loaded: Loaded) -> tuple[World, list[Finding]]:
    """The world of some documents, and what is wrong with their tables one by one or twice."""
    built = [(document, structure(document.raw, Config)) for document in loaded.documents]
    findings = [f for document, result in built for f in findings_of(document, result)]
    gateway, log = _single(built, "gateway", findings), _single(built, "log", findings)
    whole = not any((group,) in result.broken for _, result in built for group in ("services", "routes", "auth"))
    world = World(
        Place(loaded.sources[0], Span(0, 0)),
        cast("Owned[GatewayTable] | None", gateway),
        cast("Owned[LogTable] | None", log),
        cast("Mapping[str, Owned[ServiceTable]]", _named(built, "services", findings)),
        cast("Mapping[str, Owned[RouteTable]]", _named(built, "routes", findings)),
        cast("Mapping[str, Owned[AuthTable]]", _named(built, "auth", findings)),
        {group: frozenset(_names(loaded.documents, group)) for group in ("services", "auth", "routes")},
        loaded.complete and whole,
    )
    return world, findings


def findings_of(document: Document, result: Structured[Any]) -> Iterator[Finding]:
    """The faults of one document, put where they stand."""
    for path, fault in result.faults:
        if fault.on == "table":
            place = document.table(path[:-1])
        else:
            place = document.key(path) if fault.on == "key" else document.value(path)
        yield Finding(fault.code, fault.message, place, fault.hint)


def _owned(document: Document, result: Structured[Config], *path: str) -> Owned[Any]:
    table: Any = getattr(result.model, path[0])
    for name in path[1:]:
        table = table[name]
    return Owned(table, document, path, result.broken)


def _single(built: Built, group: str, findings: list[Finding]) -> Owned[Any] | None:
    first: Owned[Any] | None = None
    for document, result in built:
        if (group,) in document.entries and first is None:
            first = _owned(document, result, group)
        elif (group,) in document.entries and first is not None:
            findings.append(_twice(f"[{group}]", first, document.table((group,))))
    return first


def _named(built: Built, group: str, findings: list[Finding]) -> dict[str, Owned[Any]]:
    found: dict[str, Owned[Any]] = {}
    for document, result in built:
        for name in getattr(result.model, group):
            if name in found:
                findings.append(_twice(f"[{group}.{name}]", found[name], document.table((group, name))))
            else:
                found[name] = _owned(document, result, group, name)
    return found


def _twice(name: str, first: Owned[Any], place: Place) -> Finding:
    also = ((first.place, "first defined here"),)
    return Finding(Code.DEFINED_TWICE, f"{quote(name)} is defined in two files", place, "keep one of them", also)


def _names(documents: list[Document], group: str) -> Iterator[str]:
    for document in documents:
        table = document.raw.get(group)
        if isinstance(table, dict):
            yield from cast("dict[str, object]", table)
