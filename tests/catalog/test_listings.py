"""Equal lists are one, and a bad thing takes no good one with it."""

from __future__ import annotations

import gc
import json
from typing import Any

import trio
from structlog.testing import capture_logs

from gatewayd.catalog.kinds import PROMPTS, TOOLS
from gatewayd.catalog.listings import MOST_REPORTED, Listings
from gatewayd.upstreams.paging import Pages


def pages(*items: Any, fault: str | None = None) -> Pages:
    return Pages([json.dumps(item).encode() for item in items], [], fault)


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}}


async def test_equal_lists_are_one_object_and_what_is_wrong_with_them_is_logged_once() -> None:
    listings = Listings("a")
    with capture_logs() as logged:
        one = await listings.read(TOOLS, pages(tool("a"), 7))
        assert await listings.read(TOOLS, pages(tool("a"), 7)) is one
    assert [(line["event"], line["service"]) for line in logged] == [("definition quarantined", "a")]
    assert await listings.read(PROMPTS, pages(tool("a"), 7)) is not one
    assert await listings.read(TOOLS, pages(tool("a"), 7, fault="cut")) is not one
    assert await listings.read(TOOLS, pages(tool("b"), 7)) is not one


async def test_a_list_full_of_faults_does_not_fill_the_log() -> None:
    dirty = [{**tool(f"t{number}"), "description": "a\u200bb"} for number in range(100)]
    with capture_logs() as logged:
        await Listings("a").read(TOOLS, pages(*range(100), *dirty))
    assert len(logged) == 2 * MOST_REPORTED + 1
    assert logged[-1]["more"] == 2 * (100 - MOST_REPORTED)


async def test_a_list_that_nobody_has_is_forgotten() -> None:
    listings = Listings("a")
    await listings.read(TOOLS, pages(7))
    gc.collect()
    with capture_logs() as logged:
        await listings.read(TOOLS, pages(7))
    assert logged


async def test_flaws_and_repetitions_are_left_out_and_named() -> None:
    listing = await Listings("a").read(TOOLS, pages(tool("a"), 7, tool("b"), tool("a"), {"name": "c"}, fault="cut"))
    assert [item.name for item in listing.items] == ["a", "b"]
    assert [flaw.name for flaw in listing.flaws] == ["?", "a", "c", "*"]
    assert [flaw.reason for flaw in listing.flaws][1::2] == ["is listed twice", "cut"]


async def test_a_long_list_gives_others_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        listing = await Listings("a").read(TOOLS, pages(*({**tool(f"t{n}"), "title": "x" * 500} for n in range(2000))))
        nursery.cancel_scope.cancel()
    assert len(listing.items) == 2000
    assert turns > 10
