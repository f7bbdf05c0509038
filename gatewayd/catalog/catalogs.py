"""All catalogs of one service, by audience."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import structlog
import trio

from gatewayd.bridge.changes import LISTS
from gatewayd.catalog.asking import Asker
from gatewayd.catalog.catalog import Catalog
from gatewayd.catalog.health import Health
from gatewayd.catalog.listing import Listing
from gatewayd.catalog.listings import Listings
from gatewayd.observe.tree import Node
from gatewayd.upstreams.service import Caller, Upstream

log = structlog.get_logger("gatewayd.catalog")

MOST_CATALOGS = 2000
MOST_BYTES = 64 * 1024 * 1024
"""Audiences of one service whose catalogs are kept, and bytes of what is different in them."""
MOST_SHOWN = 100
"""Flaws that `/services` shows."""


class Audience(msgspec.Struct, frozen=True):
    """Clients that a service tells the same: one principal, with the capabilities that a server may adapt to."""

    principal: str
    """`Principal.key`."""
    capabilities: bytes
    """As the bridge declares them (`bridgeable`), as JSON text."""
    session: str = ""
    """The client's session, where the service has one of its own for each; else empty."""


Changed = Callable[[Audience], None]


class Catalogs:
    """Made by `open_catalogs`, in whose nursery each catalog is kept by a task until it is idle."""

    def __init__(self, upstream: Upstream, ids: itertools.count[int], node: Node, nursery: trio.Nursery) -> None:
        self.upstream = upstream
        self.health = Health(upstream.service.name)
        self.followers: set[Changed] = set()
        """Told of every audience whose catalog has changed."""
        self._ids = ids
        self._node = node
        self._nursery = nursery
        self._listings = Listings(upstream.service.name)
        self._catalogs: OrderedDict[Audience, Catalog] = OrderedDict()
        self._scopes: dict[Catalog, trio.CancelScope] = {}
        self._closed = False

    def of(self, audience: Audience) -> Catalog:
        """The catalog for an audience; one that knows nothing yet, if it is the first time."""
        if audience.session and self.upstream.service.per != "session":
            audience = Audience(audience.principal, audience.capabilities)
        catalog = self._catalogs.get(audience)
        if catalog is None or catalog.over:
            catalog = self._begin(audience)
            if catalog.over:
                return catalog
        self._catalogs.move_to_end(audience)
        return catalog

    def expire(self) -> None:
        """Every list may have changed."""
        for catalog in self._catalogs.values():
            catalog.expire(LISTS)

    def stop(self) -> None:
        """Give up what is kept, and keep nothing more: the service is about to go."""
        self._closed = True
        for scope in list(self._scopes.values()):
            scope.cancel()

    def statistics(self) -> dict[str, object]:
        """What `/services` shows."""
        listings = self._shown()
        flaws = [
            {"kind": listing.kind.name, "name": flaw.name, "reason": flaw.reason}
            for listing in listings
            for flaw in listing.flaws
        ]
        notes = [
            {"kind": listing.kind.name, "name": item.name, "note": item.note}
            for listing in listings
            for item in listing.items
            if item.note is not None
        ]
        return {
            "state": self.health.state,
            "reason": self.health.cause,
            "audiences": len(self._catalogs),
            "offered": {listing.kind.name: len(listing.items) for listing in listings},
            "quarantined": flaws[:MOST_SHOWN],
            "cleaned": notes[:MOST_SHOWN],
        }

    def _shown(self) -> list[Listing]:
        """The lists of the audience that came last."""
        latest = next(reversed(self._catalogs.values()), None)
        return [] if latest is None else latest.listings()

    def _begin(self, audience: Audience) -> Catalog:
        if len(self._catalogs) >= MOST_CATALOGS:
            self._make_room()
        caller = Caller(audience.principal, session=audience.session)
        asker = Asker(self.upstream, caller, audience.capabilities, self._ids)
        catalog = Catalog(asker, self.health, self._listings, partial(self._tell, audience))
        if self._closed:
            catalog.over = True
            return catalog
        self._catalogs[audience] = catalog
        self._scopes[catalog] = trio.CancelScope()
        self._nursery.start_soon(self._keep, audience, catalog)
        return catalog

    def _bytes(self) -> int:
        listings = {listing for catalog in self._catalogs.values() for listing in catalog.listings()}
        return sum(listing.size for listing in listings)

    def _make_room(self, but: Audience | None = None) -> bool:
        """Give up the one that was used the longest ago, of those that are not in use; False: there is none."""
        idle = (one for one, catalog in self._catalogs.items() if not catalog.in_use and one != but)
        oldest = next(idle, None)
        if oldest is None:
            return False
        catalog = self._catalogs.pop(oldest)
        catalog.over = True
        self._scopes[catalog].cancel()
        return True

    def _tell(self, audience: Audience) -> None:
        while self._bytes() > MOST_BYTES and self._make_room(audience):
            pass
        for changed in list(self.followers):
            changed(audience)

    async def _keep(self, audience: Audience, catalog: Catalog) -> None:
        try:
            with self._scopes[catalog], Node("catalog", audience.principal, parent=self._node, now=trio.current_time()):
                await catalog.keep(self.upstream.service.timeouts.idle)
        except Exception as error:
            log.error("catalog crashed", service=self.upstream.service.name, exc_info=error)
            self.health.failed("the gateway failed to ask it", "see the log")
        finally:
            catalog.over = True
            del self._scopes[catalog]
            if self._catalogs.get(audience) is catalog:
                del self._catalogs[audience]


@asynccontextmanager
async def open_catalogs(upstream: Upstream, ids: itertools.count[int], node: Node) -> AsyncGenerator[Catalogs]:
    """The catalogs of a service, which is `node` in the tree. Nothing is asked yet; all end with the block.

    Exceptions leave in a group.
    """
    async with trio.open_nursery() as nursery:
        catalogs = Catalogs(upstream, ids, node, nursery)
        try:
            yield catalogs
        finally:
            catalogs.stop()
            nursery.cancel_scope.cancel()
