from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from gatewayd.upstreams.loglines import LINE, RATE, LogLines, Rarely, escape, log_lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, déjà vu", "plain text, déjà vu"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\rb\x00", "a\\rb\\x00"),
        ("a\u2028b\u202ec", "a\\u2028b\\u202ec"),
    ],
)
def test_nothing_that_moves_the_cursor_survives(text: str, expected: str) -> None:
    assert escape(text) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_the_same_however_the_bytes_arrive(size: int) -> None:
    data = b"one\r\n\ntwo \xff\nthree"
    lines = LogLines()
    found = [text for i in range(0, len(data), size) for text in lines.feed(data[i : i + size], 100)[0]]
    assert [*found, lines.end()] == ["one", "", "two \\xff", "three"]
    assert lines.end() is None


def test_a_long_line_is_cut_and_says_so() -> None:
    lines = LogLines()
    assert lines.feed(b"x" * (LINE + 5), 9) == ([], 0)
    ((text,), skipped) = lines.feed(b"yz\nnext\n", 1)
    assert text == "x" * LINE + " [7 more bytes]"
    assert skipped == 1


def test_more_lines_than_wanted_are_counted_and_the_rest_is_kept() -> None:
    lines = LogLines()
    assert lines.feed(b"a\nb\nc\nd", 1) == (["a"], 2)
    assert lines.feed(b"e\n", 1) == (["de"], 0)


def test_no_line_is_wanted_in_the_middle_of_one() -> None:
    lines = LogLines()
    lines.feed(b"begin", 1)
    assert lines.feed(b" end\nmore\nnew", 0) == ([], 2)
    assert lines.end() == "new"


def test_secrets_that_the_child_was_given_are_hidden() -> None:
    lines = LogLines(["hunter22", "no"])
    assert lines.feed(b"token=hunter22 no\n", 9) == (["token=*** no"], 0)


def test_rare_reports_count_what_was_silent() -> None:
    rarely = Rarely(every=10)
    assert [rarely.count(now) for now in (0, 1, 9, 10, 11, 25)] == [1, 0, 0, 3, 0, 2]
    assert rarely.total == 6


async def test_a_flood_becomes_a_hundred_lines_and_a_number(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    entries: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_lines, ours, LogLines(), entries.append)
        await theirs.send_all(b"noise\n" * 5000)
        await trio.sleep(2)
        assert len(entries) == RATE + 1
        assert entries[-1] == f"suppressed {5000 - RATE} lines"
        await theirs.send_all(b"calm\nlast")
        await theirs.aclose()
    assert entries[RATE + 1 :] == ["calm", "last"]


async def test_a_flood_that_ends_in_the_middle_of_a_second_is_still_reported() -> None:
    ours, theirs = memory_stream_pair()
    entries: list[str] = []
    await theirs.send_all(b"noise\n" * (RATE + 1))
    await theirs.aclose()
    await log_lines(ours, LogLines(), entries.append)
    assert entries[-1] == "suppressed 1 lines"


async def test_a_stream_that_breaks_ends_quietly() -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"x\n")
    await ours.aclose()
    await log_lines(ours, LogLines(), lambda text: pytest.fail(text))
