"""Hints, interfaces and pins of one list."""

from __future__ import annotations

import pytest

from gatewayd.catalog.definitions import Item
from gatewayd.catalog.kinds import TOOLS
from gatewayd.catalog.listing import Hints, Listing, hints_of, read_hints
from gatewayd.routes.lock import pin


@pytest.mark.parametrize(
    ("head", "hints"),
    [
        ({}, Hints(0.0, False)),
        ({"ttlMs": b"1500", "cacheScope": b'"public"'}, Hints(1.5, True)),
        ({"ttlMs": b"-1", "cacheScope": b'"private"'}, Hints(0.0, False)),
        ({"ttlMs": b"1.5", "cacheScope": b"true"}, Hints(0.0, False)),
        ({"ttlMs": b'"60"'}, Hints(0.0, False)),
        ({"ttlMs": b"999999999999"}, Hints(86_400.0, False)),
    ],
)
def test_hints_that_make_no_sense_say_nothing(head: dict[str, bytes], hints: Hints) -> None:
    assert read_hints(head) == hints


def test_of_several_pages_the_strictest_hints_hold() -> None:
    long, short = {"ttlMs": b"9000", "cacheScope": b'"public"'}, {"ttlMs": b"1000", "cacheScope": b'"public"'}
    assert hints_of([long, short]) == Hints(1.0, True)
    assert hints_of([long, {"ttlMs": b"9000"}]) == Hints(9.0, False)
    assert hints_of([long, {}]) == Hints(0.0, False)
    assert hints_of([]).ttl == 0.0


def listing(*raws: bytes) -> Listing:
    return Listing(TOOLS, tuple(Item(f"t{number}", raw) for number, raw in enumerate(raws)), ())


def test_interfaces_are_noticed() -> None:
    assert not listing(b'{"name":"a"}').has_interfaces
    assert listing(b"{}", b'{"_meta":{"ui":{"resourceUri":"ui://a"}}}').has_interfaces


def test_pins_are_those_of_the_lock_file() -> None:
    assert listing(b'{"description":"d","x":1}').pins == {"t0": pin({"description": "d"})}
