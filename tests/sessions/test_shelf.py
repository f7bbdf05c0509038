"""What is remembered within bounds, and what is forgotten first."""

from __future__ import annotations

import math

from gatewayd.sessions.shelf import OVERHEAD, SLACK, Shelf


def names(shelf: Shelf) -> set[bytes]:
    return {name for name in (b"a", b"b", b"c", b"d") if name in shelf}


def test_the_oldest_sessions_make_room() -> None:
    shelf = Shelf(3 * OVERHEAD)
    for name, created in ((b"b", 2.0), (b"a", 1.0), (b"c", 3.0)):
        shelf.put(name, created)
    assert shelf.cut() == -math.inf
    shelf.put(b"d", 4.0)
    assert names(shelf) == {b"b", b"c", b"d"}
    assert shelf.cut() == 1.0
    assert shelf.cut() == -math.inf
    shelf.uncut(1.0)
    assert shelf.cut() == 1.0
    assert shelf.taken == 3 * OVERHEAD


def test_one_that_is_older_than_all_others_finds_no_room() -> None:
    shelf = Shelf(OVERHEAD)
    shelf.put(b"b", 2.0)
    shelf.put(b"a", 1.0)
    assert names(shelf) == {b"b"}


def test_contents_count_and_are_replaced() -> None:
    shelf = Shelf(3 * OVERHEAD)
    shelf.put(b"a", 1.0, b"x" * 10)
    shelf.put(b"a", 9.0, b"y" * 5)
    assert (shelf.get(b"a"), shelf.created(b"a"), shelf.taken) == (b"y" * 5, 1.0, OVERHEAD + 5)
    shelf.put(b"b", 2.0, b"z" * (2 * OVERHEAD - 5))
    assert names(shelf) == {b"b"}
    shelf.put(b"b", 2.0, b"z" * (3 * OVERHEAD))
    assert (len(shelf), shelf.taken) == (0, 0)


def test_what_is_too_old_is_forgotten_and_said_so() -> None:
    shelf = Shelf(100 * OVERHEAD)
    for name, created in ((b"a", 1.0), (b"b", 2.0), (b"c", 3.0)):
        shelf.put(name, created)
    shelf.expire(1.0)
    assert (names(shelf), shelf.cut()) == ({b"a", b"b", b"c"}, -math.inf)
    shelf.expire(2.5)
    assert (names(shelf), shelf.cut()) == ({b"c"}, 2.5)


def test_what_was_dropped_takes_no_room_and_leaves_nothing_behind() -> None:
    shelf = Shelf(100 * OVERHEAD)
    shelf.put(b"a", 1.0, b"x")
    shelf.drop(b"a")
    shelf.drop(b"a")
    assert (names(shelf), shelf.get(b"a"), shelf.taken) == (set(), None, 0)
    for number in range(10 * SLACK):
        shelf.put(b"%d" % number, float(number))
        shelf.drop(b"%d" % number)
        assert len(shelf._ages) <= SLACK + 1  # pyright: ignore[reportPrivateUsage]
    shelf.put(b"a", 5.0)
    shelf.expire(6.0)
    assert len(shelf) == 0
