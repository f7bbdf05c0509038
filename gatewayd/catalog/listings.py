"""The lists of one service, read from what it sent: equal ones are one object, however many are told them."""

from __future__ import annotations

import hashlib
from weakref import WeakValueDictionary

import trio

from gatewayd.catalog.definitions import Flaw, Item, read_item, repeated
from gatewayd.catalog.kinds import Kind
from gatewayd.catalog.listing import Listing
from gatewayd.upstreams.paging import Pages

TURN = 64 * 1024
"""Bytes of definitions that are read before others have their turn: some milliseconds."""


class Listings:
    """All that are in use, by content."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, bytes], Listing] = WeakValueDictionary()

    async def read(self, kind: Kind, pages: Pages) -> tuple[Listing, bool]:
        """The listing for what was sent, and whether it is a new one. Long lists give others their turn."""
        content = hashlib.sha256((pages.fault or "").encode())
        for raw in pages.items:
            content.update(b"%d " % len(raw))
            content.update(raw)
        key = (kind.name, content.digest())
        known = self._known.get(key)
        if known is not None:
            return known, False
        listing = await _read(kind, pages)
        self._known[key] = listing
        return listing, True


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
