"""One list of one service, read whole: what may be passed on of it, and what may not."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from weakref import WeakValueDictionary

import attrs
import msgspec
import trio

from gatewayd.catalog.definitions import Flaw, Item, read_items
from gatewayd.catalog.kinds import Kind
from gatewayd.protocol.jsontext import integer, string
from gatewayd.routes.lock import Pin, pin
from gatewayd.upstreams.paging import Page, Pages

INTERFACE = b'"resourceUri"'
CHUNK = 100
"""Definitions that are read without giving others a turn: a few milliseconds."""


@attrs.frozen(eq=False)
class Listing:
    """What a service lists. Equal lists are one object, however many are told them."""

    kind: Kind
    items: tuple[Item, ...]
    flaws: tuple[Flaw, ...]
    """What is not passed on; the last may be about the list itself."""

    @cached_property
    def has_interfaces(self) -> bool:
        """Whether a tool may have a user interface of its own (MCP apps), which is a resource."""
        return any(INTERFACE in item.raw for item in self.items)

    @cached_property
    def pins(self) -> Mapping[str, Pin]:
        """What a lock would say of each tool."""
        return {item.name: pin(msgspec.json.decode(item.raw, type=dict[str, object])) for item in self.items}


@attrs.frozen
class Hints:
    """What the service says of how long, and for whom, its list is true (MCP 2026-07-28, caching)."""

    ttl: float
    """Seconds; 0: it says nothing, or not at all."""
    public: bool


class Listings:
    """All that are in use, by content."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, bytes], Listing] = WeakValueDictionary()

    async def read(self, kind: Kind, pages: Pages) -> tuple[Listing, bool]:
        """The listing for what was read, and whether it is a new one. Long lists give others their turn."""
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
    items, flaws, names = list[Item](), list[Flaw](), set[str]()
    for start in range(0, len(pages.items), CHUNK):
        for found in read_items(kind, pages.items[start : start + CHUNK], names):
            if isinstance(found, Item):
                items.append(found)
            else:
                flaws.append(found)
        await trio.lowlevel.checkpoint()
    if pages.fault is not None:
        flaws.append(Flaw("*", pages.fault))
    return Listing(kind, tuple(items), tuple(flaws))


def hints_of(heads: Iterable[Page]) -> Hints:
    """The hints of a list, of which each page may have its own: what holds for all of them."""
    ttl, public = math.inf, True
    for head in heads:
        one = read_hints(head)
        ttl, public = min(ttl, one.ttl), public and one.public
    return Hints(0.0 if ttl == math.inf else ttl, public)


def read_hints(head: Mapping[str, bytes]) -> Hints:
    """The hints of one result. What is missing or negative says nothing."""
    milliseconds = integer(head.get("ttlMs", b"0")) or 0
    return Hints(min(max(milliseconds, 0) / 1000, 86_400.0), string(head.get("cacheScope", b"null")) == "public")
