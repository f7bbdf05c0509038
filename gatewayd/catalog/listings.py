"""The lists of one service, read from what it sent: equal ones are one object, however many are told them."""

from __future__ import annotations

import hashlib
from weakref import WeakValueDictionary

import structlog
import trio

from gatewayd.catalog.definitions import Flaw, Item, read_item, repeated
from gatewayd.catalog.kinds import Kind
from gatewayd.catalog.listing import Listing
from gatewayd.upstreams.paging import Pages

log = structlog.get_logger("gatewayd.catalog")

MOST_REPORTED = 20
"""Flaws of one list that are logged; more of them are shown."""
TURN = 64 * 1024
"""Bytes of definitions that are read before others have their turn: some milliseconds."""


class Listings:
    """All that are in use, by content."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._known: WeakValueDictionary[tuple[str, bytes], Listing] = WeakValueDictionary()

    async def read(self, kind: Kind, pages: Pages) -> Listing:
        """The listing for what was sent; what is wrong with a new one is logged. Long lists give others their turn."""
        content = hashlib.sha256((pages.fault or "").encode())
        for raw in pages.items:
            content.update(b"%d " % len(raw))
            content.update(raw)
        key = (kind.name, content.digest())
        known = self._known.get(key)
        if known is not None:
            return known
        listing = await _read(kind, pages)
        self._known[key] = listing
        _report(self._service, listing)
        return listing


async def _read(kind: Kind, pages: Pages) -> Listing:
    items, flaws = dict[str, Item](), list[Flaw]()
    turn = 0
    for raw in pages.items:
        found = read_item(kind, raw)
        if isinstance(found, Flaw):
            flaws.append(found)
        elif found.name in items:
            flaws.append(repeated(found))
        else:
            items[found.name] = found
        turn += len(raw)
        if turn > TURN:
            turn = 0
            await trio.lowlevel.checkpoint()
    if pages.fault is not None:
        flaws.append(Flaw("*", pages.fault))
    return Listing(kind, tuple(items.values()), tuple(flaws))


def _report(service: str, listing: Listing) -> None:
    """Say once what is wrong with a list."""
    kind = listing.kind.name
    noted = [item for item in listing.items if item.note is not None]
    for flaw in listing.flaws[:MOST_REPORTED]:
        log.warning("definition quarantined", service=service, kind=kind, name=flaw.name, reason=flaw.reason)
    for item in noted[:MOST_REPORTED]:
        log.warning("definition cleaned", service=service, kind=kind, name=item.name, what=item.note)
    more = max(0, len(listing.flaws) - MOST_REPORTED) + max(0, len(noted) - MOST_REPORTED)
    if more:
        log.warning("more definitions quarantined or cleaned", service=service, kind=kind, more=more)
