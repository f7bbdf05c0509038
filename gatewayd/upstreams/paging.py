"""A list that comes in pages (MCP, pagination), read to its end: or as far as it makes sense to read on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs

from gatewayd.protocol.jsontext import elements, string, text

MOST_PAGES = 100
MOST_ITEMS = 10_000
"""On all pages. No model is given a hundredth of them."""

Page = Mapping[str, bytes]
"""The members of a result."""
Ask = Callable[[bytes | None], Awaitable[Page]]
"""Fetches the page at a cursor, which is JSON text; None: the first one."""


@attrs.frozen
class Pages:
    """What was read."""

    items: list[bytes]
    heads: list[Page]
    """Of each page, all but the items."""
    fault: str | None
    """Why reading ended before the list did, if so."""


async def read_pages(ask: Ask, member: str, limit: int) -> Pages:
    """Read a list whose items are in `member`; at most `limit` bytes. An empty cursor is one like any other.

    Raises `JsonError` where a page has no such member, and what `ask` raises.
    """
    items, heads, cursors = list[bytes](), list[Page](), set[str]()
    size, cursor = 0, None
    while True:
        page = await ask(cursor)
        found = elements(page.get(member, b"null"))
        size += sum(map(len, page.values()))
        heads.append({name: raw for name, raw in page.items() if name != member})
        if size > limit or len(items) + len(found) > MOST_ITEMS:
            room = MOST_ITEMS - len(items) if size <= limit else 0
            return Pages(items + found[:room], heads, f"the list of {member} is too long")
        items += found
        following = string(page.get("nextCursor", b"null"))
        if following is None:
            return Pages(items, heads, None)
        if following in cursors or len(heads) >= MOST_PAGES:
            return Pages(items, heads, f"the list of {member} does not end")
        cursors.add(following)
        cursor = text(following)
