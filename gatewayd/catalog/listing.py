"""One list of one service, read whole: what may be passed on of it, and what may not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property

import attrs
import msgspec

from gatewayd.catalog.definitions import Flaw, Item
from gatewayd.catalog.kinds import Kind
from gatewayd.protocol.jsontext import integer, string
from gatewayd.routes.lock import Pin, pin

INTERFACE = b'"resourceUri"'


@attrs.frozen(eq=False)
class Listing:
    """What a service lists. Equal lists are one object, however many are told them."""

    kind: Kind
    items: tuple[Item, ...]
    flaws: tuple[Flaw, ...]
    """What is not passed on; the last may be about the list itself."""

    @cached_property
    def size(self) -> int:
        """Bytes of the definitions."""
        return sum(len(item.raw) for item in self.items)

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


def hints_of(heads: Iterable[Mapping[str, bytes]]) -> Hints:
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
