"""The members of a virtual server at one time, and their lists, merged."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

import attrs
import structlog
import trio

from gatewayd.catalog.catalog import Catalog
from gatewayd.catalog.catalogs import Audience, Catalogs
from gatewayd.catalog.kinds import RESOURCES, TEMPLATES, TOOLS, Kind, KindName
from gatewayd.catalog.listing import Hints, Listing
from gatewayd.routes.lock import Pins
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.upstreams.service import Caller, Upstream
from gatewayd.virtual.merge import Part, Report, View, merge
from gatewayd.virtual.patterns import Patterns
from gatewayd.virtual.places import Places

log = structlog.get_logger("gatewayd.virtual")

MOST_VIEWS: Final = 128
MOST_VIEW_BYTES: Final = 32 * 1024 * 1024
"""Merged lists that are kept: one for each combination of what the members list. Most have one of each kind."""
MOST_PLACES: Final = 8
"""Name spaces of URIs that are kept."""
MOST_NOTED: Final = 200
"""Reports on one member that are written into the log as long as the configuration stays the same."""


@attrs.frozen(eq=False)
class Seat:
    """A member, and the service that it is."""

    member: Member
    upstream: Upstream
    catalogs: Catalogs


Missing = tuple[Seat, Catalog, Kind | None]
"""What is to be waited for: a list, or (None) what the service says of itself."""


class Roster:
    """Replaced whole when the configuration changes; what is merged is merged once, whoever asks."""

    def __init__(self, virtual: Virtual, seats: Iterable[Seat], pins: Pins) -> None:
        self.virtual = virtual
        self.pins = pins
        self.seats = tuple(seats)
        self.by_service = {seat.member.service: seat for seat in self.seats}
        self._by_session = any(seat.upstream.service.per == "session" for seat in self.seats)
        self._noted: set[Report] = set()
        self._told = Counter[str]()
        """How much there was to say of each member."""
        self._last: dict[tuple[str, KindName], Listing] = {}
        """What each member had, whoever was told."""
        self._views: OrderedDict[tuple[object, ...], View] = OrderedDict()
        self._places: OrderedDict[tuple[View, View], Places] = OrderedDict()

    def same(self, other: Roster) -> bool:
        """Whether another one has the same members, and does the same with what they list."""
        mine, theirs = (
            (r.virtual, r.pins, [seat.upstream for seat in r.seats], [seat.catalogs for seat in r.seats])
            for r in (self, other)
        )
        return mine == theirs

    def audience(self, caller: Caller, capabilities: bytes) -> Audience:
        """Who is told the same as that caller; its session matters where a member has one for each."""
        return Audience(caller.key, capabilities, caller.session if self._by_session else "")

    def catalogs(self, audience: Audience) -> Iterator[tuple[Seat, Catalog]]:
        """Each member's catalog for an audience."""
        for seat in self.seats:
            yield seat, seat.catalogs.of(audience)

    async def gather(self, audience: Audience, *kinds: Kind) -> None:
        """Have lists read that are not true any more, as far as patience goes with each service."""
        if RESOURCES in kinds and TEMPLATES not in kinds and len(self.seats) > 1:
            kinds = (*kinds, TEMPLATES)  # which may claim what is listed
        missing: list[Missing] = [
            (seat, catalog, kind)
            for seat, catalog in self.catalogs(audience)
            for kind in kinds
            if catalog.peek(kind.name) is None
        ]
        if missing:
            await self._wait(missing)
        if TOOLS in kinds and any(part.listing.has_interfaces for part in self._parts(TOOLS, audience)):
            await self.gather(audience, RESOURCES, TEMPLATES)

    async def look_up(self, audience: Audience, seat: Seat, *kinds: Kind) -> None:
        """Have lists of one member read, if they never were. Others are read behind the caller's back."""
        missing: list[Missing] = []
        for one, catalog in self.catalogs(audience):
            for kind in kinds:
                if one is seat and catalog.known(kind.name) is None:
                    missing.append((one, catalog, kind))
                elif catalog.peek(kind.name) is None:
                    catalog.demand(kind.name)
        if missing:
            await self._wait(missing)

    async def greet(self, audience: Audience) -> None:
        """Have every service say what it is, as far as patience goes."""
        missing: list[Missing] = [
            (seat, catalog, None) for seat, catalog in self.catalogs(audience) if catalog.offers is None
        ]
        if missing:
            await self._wait(missing)

    def view(self, kind: Kind, audience: Audience) -> View:
        """The merged list, from what is known."""
        parts = self._parts(kind, audience)
        places = None
        if kind is TOOLS and any(part.listing.has_interfaces for part in parts):
            places = self.places(audience)
        templates = self.view(TEMPLATES, audience) if kind is RESOURCES and len(self.seats) > 1 else None
        key = (kind.name, places, templates, *((part.member.service, part.listing, part.gone) for part in parts))
        view = self._views.get(key)
        if view is None:
            expose = None if places is None else places.expose
            claims = None if templates is None else Patterns(self.virtual, templates).claims
            view = self._views[key] = merge(kind, parts, self.virtual, self.pins, expose, claims)
            self._note(view)
            self._make_room()
        self._views.move_to_end(key)
        return view

    def recall(self, kind: Kind, digest: bytes) -> View | None:
        """A merged list that clients are still reading."""
        views = reversed(self._views.values())
        return next((view for view in views if view.kind is kind and view.digest == digest), None)

    def places(self, audience: Audience) -> Places:
        """Where URIs lead to, from what is known."""
        key = self.view(RESOURCES, audience), self.view(TEMPLATES, audience)
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = Places(self.virtual, *key)
            if len(self._places) > MOST_PLACES:
                self._places.popitem(last=False)
        self._places.move_to_end(key)
        return places

    def hints(self, kind: Kind, audience: Audience) -> Hints:
        """What may be said of a merged list: the least that holds for its parts, and nothing where one is missing."""
        ttl, public = 86_400.0, True
        for _, catalog in self.catalogs(audience):
            if catalog.offers is not None and not catalog.offers.has(kind.capability):
                continue
            one = catalog.remaining(kind.name)
            ttl, public = min(ttl, one.ttl), public and one.public
        return Hints(ttl, public)

    def views(self) -> list[View]:
        """The merged lists that were used last, one of each kind."""
        latest = {view.kind.name: view for view in self._views.values()}
        return list(latest.values())

    def _make_room(self) -> None:
        """Keep so many merged lists as there is room for, and the last one of each kind in any case."""
        taken = sum(view.size for view in self._views.values())
        last = {view.kind.name: key for key, view in self._views.items()}
        for key, view in list(self._views.items()):
            if len(self._views) <= MOST_VIEWS and taken <= MOST_VIEW_BYTES:
                return
            if last[view.kind.name] != key:
                del self._views[key]
                taken -= view.size

    def _note(self, view: View) -> None:
        """Write down, once each, what is kept from clients, and what else there is to say: of no member too much."""
        for report in view.reports:
            if report in self._noted:
                continue
            self._told[report.service] += 1
            if self._told[report.service] > MOST_NOTED:
                continue
            self._noted.add(report)
            facts = {"service": report.service, report.what: report.name, "reason": report.reason}
            write = log.info if report.routine else log.warning
            write(f"{report.what} {'withheld' if report.withheld else 'served'}", **facts)
            if self._told[report.service] == MOST_NOTED:
                log.warning("no more is logged of this service", service=report.service)

    def _parts(self, kind: Kind, audience: Audience) -> list[Part]:
        parts = list[Part]()
        for seat, catalog in self.catalogs(audience):
            origin = seat.member.service, kind.name
            listing = catalog.known(kind.name)
            if listing is not None:
                self._last[origin] = listing
                parts.append(Part(seat.member, listing))
            elif origin in self._last:
                parts.append(Part(seat.member, self._last[origin], gone=True))
        return parts

    async def _wait(self, missing: list[Missing]) -> None:
        with trio.move_on_after(self.virtual.patience) as patience:
            async with trio.open_nursery() as nursery:
                for seat, catalog, kind in missing:
                    name = None if kind is None else kind.name
                    if seat.catalogs.health.hopeful(name) and not catalog.slow(name):
                        nursery.start_soon(catalog.wait, name)
                    elif name is not None:
                        catalog.demand(name)
        if patience.cancelled_caught:
            for seat, catalog, kind in missing:
                if not (catalog.offers if kind is None else catalog.peek(kind.name)):
                    seat.catalogs.health.is_late(None if kind is None else kind.name)
