"""Lists that come in pages, from servers that mean well and others."""

from __future__ import annotations

import json

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.protocol.jsontext import JsonError
from gatewayd.upstreams.paging import MOST_ITEMS, MOST_PAGES, Page, Pages, read_pages

LIMIT = 1024 * 1024


class Book:
    """A list in pages; the cursor of each is its number."""

    def __init__(self, *pages: list[int], after: object = None) -> None:
        self.pages = pages
        self.after = after
        self.asked: list[bytes | None] = []

    async def __call__(self, cursor: bytes | None) -> Page:
        self.asked.append(cursor)
        number = 0 if cursor is None else int(json.loads(cursor))
        page = {"tools": json.dumps(self.pages[number]).encode(), "ttlMs": b"%d" % number}
        if number + 1 < len(self.pages):
            page["nextCursor"] = json.dumps(str(number + 1)).encode()
        elif self.after is not None:
            page["nextCursor"] = json.dumps(self.after).encode()
        return page


async def read(book: Book, limit: int = LIMIT) -> Pages:
    return await read_pages(book, "tools", limit)


async def test_all_pages_are_one_list() -> None:
    book = Book([1, 2], [], [3])
    pages = await read(book)
    assert (pages.items, pages.fault) == ([b"1", b"2", b"3"], None)
    assert [head["ttlMs"] for head in pages.heads] == [b"0", b"1", b"2"]
    assert all("tools" not in head for head in pages.heads)
    assert book.asked == [None, b'"1"', b'"2"']


async def test_an_empty_cursor_is_one_like_any_other() -> None:
    asked: list[bytes | None] = []

    async def ask(cursor: bytes | None) -> Page:
        asked.append(cursor)
        return {"tools": b"[1]"} if cursor else {"tools": b"[0]", "nextCursor": b'""'}

    assert (await read_pages(ask, "tools", LIMIT)).items == [b"0", b"1"]
    assert asked == [None, b'""']


@pytest.mark.parametrize("after", [7, None, [], True])
async def test_what_is_no_cursor_ends_the_list(after: object) -> None:
    assert (await read(Book([1], after=after))).fault is None


async def test_a_list_that_goes_in_circles_is_left() -> None:
    book = Book([1], [2], [3], after="1")
    pages = await read(book)
    assert pages.fault is not None
    assert book.asked == [None, b'"1"', b'"2"']


async def test_a_list_of_too_many_pages_is_left() -> None:
    book = Book(*([number] for number in range(MOST_PAGES + 50)))
    pages = await read(book)
    assert len(pages.items) == len(book.asked) == MOST_PAGES
    assert pages.fault is not None
    assert (await read(Book(*([number] for number in range(MOST_PAGES))))).fault is None


async def test_a_list_of_too_many_things_is_cut() -> None:
    assert (await read(Book([0] * MOST_ITEMS))).fault is None
    pages = await read(Book([0] * (MOST_ITEMS - 1), [1, 2, 3], [4]))
    assert pages.items == [b"0"] * (MOST_ITEMS - 1) + [b"1"]
    assert pages.fault is not None


async def test_a_list_of_too_many_bytes_is_cut_before_the_page_that_was_too_much() -> None:
    pages = await read(Book([1], [2] * 100), limit=50)
    assert pages.items == [b"1"]
    assert pages.fault is not None


async def test_bytes_beside_the_list_count_too() -> None:
    async def ask(cursor: bytes | None) -> Page:
        return {"tools": b"[]", "nextCursor": b'"%d"' % (int((cursor or b'"0"')[1:-1]) + 1), "x": b'"' + b"x" * 1000}

    pages = await read_pages(ask, "tools", 10_000)
    assert len(pages.heads) < 12
    assert pages.fault is not None


@pytest.mark.parametrize("page", [{}, {"tools": b"{}"}, {"tools": b"null"}])
async def test_a_page_without_a_list_is_an_error(page: Page) -> None:
    async def ask(cursor: bytes | None) -> Page:
        return page

    with pytest.raises(JsonError):
        await read_pages(ask, "tools", LIMIT)


@given(st.lists(st.lists(st.integers(), max_size=5), min_size=1, max_size=20))
@settings(max_examples=50)
def test_nothing_is_lost_and_nothing_comes_twice(pages: list[list[int]]) -> None:
    found = trio.run(read, Book(*pages))
    assert [int(item) for item in found.items] == [number for page in pages for number in page]
