"""The lists of several services as one: chosen, named, described anew, and without conflicts. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final

import attrs
import msgspec

from gatewayd.catalog.definitions import Item
from gatewayd.catalog.kinds import TEMPLATES, TOOLS, Kind, KindName
from gatewayd.catalog.listing import Listing
from gatewayd.protocol.jsontext import encode_members, members, members_if_any, string, text
from gatewayd.protocol.versions import META
from gatewayd.routes import lock
from gatewayd.routes.names import SEPARATOR, exposed
from gatewayd.routes.shaping import Override, Shape
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.virtual.uris import carried, is_carrier, tail
from gatewayd.virtual.weight import weight

SAMPLE: Final = 1000
"""Definitions that are read to estimate the weight of a list."""
RESOURCE_URI: Final = "resourceUri"
"""In `_meta.ui` of a tool: where its user interface is (MCP apps)."""


@attrs.frozen
class Entry:
    """One thing, as clients see it."""

    name: str
    member: Member
    own: str
    """How its service calls it."""
    raw: bytes = attrs.field(repr=False)
    """Its definition, as clients see it."""


@attrs.frozen
class Report:
    """What the configuration, or the lock, has to say of one thing."""

    kind: KindName
    service: str
    name: str
    """How its service calls it."""
    reason: str
    withheld: bool
    """Whether it is kept from clients."""
    routine: bool = False
    """Whether that is just what the configuration wants, so that nobody has to look."""

    @property
    def what(self) -> str:
        """One of its kind, in a word."""
        return self.kind.removesuffix("s")


@attrs.frozen(eq=False)
class View:
    """A merged list."""

    kind: Kind
    entries: tuple[Entry, ...]
    reports: tuple[Report, ...]
    hidden: tuple[tuple[str, str], ...] = ()
    """What the configuration hides: service, and its own name for it."""

    @property
    def withheld(self) -> Iterator[tuple[str, str]]:
        """What is kept from clients though its service lists it, for whatever reason: the same."""
        yield from self.hidden
        yield from ((report.service, report.name) for report in self.reports if report.withheld)

    @cached_property
    def names(self) -> Mapping[str, Entry]:
        """By the name that clients see."""
        return {entry.name: entry for entry in self.entries}

    @cached_property
    def shown_as(self) -> Mapping[tuple[str, str], str]:
        """The name that clients see, by service and its own name for it."""
        return {(entry.member.service, entry.own): entry.name for entry in self.entries}

    @cached_property
    def size(self) -> int:
        """Bytes of the definitions."""
        return sum(len(entry.raw) for entry in self.entries)

    @cached_property
    def tokens(self) -> int:
        """About how many tokens a model reads, if these are tools. Of a long list a part stands for the whole."""
        sample = self.entries[:SAMPLE]
        part = sum(len(entry.raw) for entry in sample)
        return round(weight(entry.raw for entry in sample) * self.size / part) if part else 0

    @cached_property
    def digest(self) -> bytes:
        """Equal for lists in which clients see the same."""
        content = hashlib.sha256()
        for entry in self.entries:
            content.update(b"%d " % len(entry.raw))
            content.update(entry.raw)
        return content.digest()


@attrs.frozen(eq=False)
class Part:
    """What one member has."""

    member: Member
    listing: Listing
    gone: bool = False
    """Whether it had it, and is not there at the moment: its names stay its own."""


Expose = Callable[[str, str], str]
"""The URI under which clients reach what a service calls so."""
Claims = Callable[[Member, str], bool]
"""Whether the name that a member would have for something is another's."""


def merge(
    kind: Kind,
    parts: Sequence[Part],
    virtual: Virtual,
    pins: lock.Pins,
    expose: Expose | None = None,
    claims: Claims | None = None,
) -> View:
    """Merge the lists of those members that have one, in their order.

    `expose`: for URIs in the definitions of tools; None: they stay as they are. `claims`: see there; None: no name is.
    """
    merging = _Merging(kind, virtual, pins, expose, claims)
    for part in parts:
        for item in part.listing.items:
            merging.add(part, item)
    return merging.view()


class _Merging:
    def __init__(
        self, kind: Kind, virtual: Virtual, pins: lock.Pins, expose: Expose | None, claims: Claims | None
    ) -> None:
        self._kind = kind
        self._virtual = virtual
        self._shape = virtual.shapes.of(kind.capability)
        self._pins = pins
        self._expose = expose
        self._claims = claims
        self._prefixes = {
            prefix + SEPARATOR: member.service
            for member in virtual.members
            for prefix in (member.service, member.prefix)
            if prefix and len(virtual.members) > 1
        }
        """What the names of some member begin with, whether it is there or not."""
        self._taken: dict[str, Entry | None] = {}
        """By name; None: nobody has it, because more than one would."""
        self._reports: list[Report] = []
        self._hidden: list[tuple[str, str]] = []

    def add(self, part: Part, item: Item) -> None:
        """One thing more."""
        member, own = part.member, part.member.shapes.of(self._kind.capability)
        candidate = self._named(member, self._renamed(member, own, item.name))
        if own.hides(item.name) or self._shape.hides(candidate):
            self._hidden.append((member.service, item.name))
            return
        if not (own.chooses(item.name) and self._shape.chooses(candidate)) or self._locked(member, part.listing, item):
            return
        if (other := self._impersonated(member, candidate)) is not None:
            self._report(member, item.name, f"its name begins like those of {other}", withheld=True)
            return
        name = self._free(member, item.name, self._renamed(member, self._shape, candidate))
        if name is None:
            return
        if part.gone:
            self._taken[name] = None
            return
        overrides = [own.override.get(item.name), self._shape.override.get(candidate)]
        raw = self._shown(member, item, name, [override for override in overrides if override is not None])
        self._taken[name] = Entry(name, member, item.name, raw)

    def view(self) -> View:
        """What came of it."""
        entries = tuple(entry for entry in self._taken.values() if entry is not None)
        return View(self._kind, entries, tuple(self._reports), tuple(self._hidden))

    def _named(self, member: Member, name: str) -> str:
        """The name beside those of other members. A URI that is the gateway's own belongs to a gateway behind us."""
        if self._kind.key == "name":
            return exposed(member.prefix, name)
        several = len(self._virtual.members) > 1
        return carried(member.service, name) if several and is_carrier(name) else name

    def _impersonated(self, member: Member, name: str) -> str | None:
        """Another member whose names begin like this one of a member without a prefix."""
        if self._kind.key != "name" or member.prefix:
            return None
        begins = name.partition(SEPARATOR)
        other = self._prefixes.get(begins[0] + begins[1])
        return None if other == member.service else other

    def _renamed(self, member: Member, shape: Shape, name: str) -> str:
        """The name that the configuration gives. Of templates only the beginning can be another one."""
        renamed = shape.rename.get(name, name)
        if self._kind is TEMPLATES and tail(renamed) != tail(name):
            self._report(member, name, "its expressions cannot be renamed", withheld=False)
            return name
        return renamed

    def _locked(self, member: Member, listing: Listing, item: Item) -> bool:
        """Whether the lock keeps a tool back; also where it only warns, it is reported."""
        if self._virtual.lock == "off" or self._kind is not TOOLS:
            return False
        reason = lock.drift(self._pins, member.service, item.name, listing.pins[item.name])
        withheld = reason is not None and self._virtual.lock == "enforce"
        if reason is not None:
            self._report(member, item.name, f"lock: {reason}", withheld=withheld)
        return withheld

    def _free(self, member: Member, own: str, name: str) -> str | None:
        """The name under which a thing can be shown beside all others; None: it cannot."""
        if name not in self._taken and not (self._claims is not None and self._claims(member, name)):
            return name
        first = self._taken.get(name)
        taken = "its name is another's" if first is None else f"its name is taken by that of {first.member.service}"
        if self._virtual.conflicts == "prefix":
            other = exposed(member.service, own) if self._kind.key == "name" else carried(member.service, own)
            if other not in self._taken and self._shape.shows(other):
                reason = f"{taken}; it is shown as {other}"
                self._reports.append(Report(self._kind.name, member.service, own, reason, withheld=False, routine=True))
                return other
        elif self._virtual.conflicts == "error" and first is not None:
            self._taken[name] = None
            self._report(first.member, first.own, f"{member.service} has one of the same name", withheld=True)
        self._report(member, own, taken, withheld=True)
        return None

    def _report(self, member: Member, own: str, reason: str, *, withheld: bool) -> None:
        self._reports.append(Report(self._kind.name, member.service, own, reason, withheld))

    def _shown(self, member: Member, item: Item, name: str, overrides: Sequence[Override]) -> bytes:
        changed = self._changed_ui(member, item.raw)
        if name == item.name and not overrides and changed is None:
            return item.raw
        parts = members(item.raw) if changed is None else changed
        parts[self._kind.key] = text(name)
        for override in overrides:
            _override(parts, override)
        return encode_members(parts)

    def _changed_ui(self, member: Member, raw: bytes) -> dict[str, bytes] | None:
        """The members of a tool whose user interface (MCP apps) is reached under another URI; None for all others."""
        if self._expose is None or RESOURCE_URI.encode() not in raw:
            return None
        parts = members(raw)
        meta = members_if_any(parts.get(META))
        ui = members_if_any(meta.get("ui"))
        uri = string(ui.get(RESOURCE_URI, b"null"))
        if uri is None or (exposed_uri := self._expose(member.service, uri)) == uri:
            return None
        meta["ui"] = encode_members({**ui, RESOURCE_URI: text(exposed_uri)})
        return {**parts, META: encode_members(meta)}


def _override(parts: dict[str, bytes], override: Override) -> None:
    for name, said in (("title", override.title), ("description", override.description)):
        if said is not None:
            parts[name] = text(said)
    if override.annotations:
        known = members_if_any(parts.get("annotations"))
        ours = {name: msgspec.json.encode(value) for name, value in override.annotations}
        parts["annotations"] = encode_members({**known, **ours})
