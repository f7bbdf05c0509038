"""Where a client stands in an event stream."""

from __future__ import annotations

import pytest

from gatewayd.protocol.eventstream import Event
from gatewayd.upstreams.cursor import DEFAULT_RETRY, EVENT_ID, LONGEST_RETRY, REMEMBERED, SHORTEST_RETRY, Cursor

NOTE = b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}'
FINAL = b'{"jsonrpc":"2.0","id":7,"result":{}}'
ERROR = b'{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":""}}'


def test_the_place_is_that_of_the_last_event_with_an_id() -> None:
    cursor = Cursor()
    assert cursor.last is None
    for event in (Event(NOTE), Event(b"", id="a"), Event(NOTE, id="b"), Event(NOTE)):
        assert not cursor.see(event)
    assert cursor.last == "b"
    assert cursor.news == 4


def test_a_time_to_stay_away_alone_is_no_news() -> None:
    cursor = Cursor()
    assert not cursor.see(Event(b"", retry=500))
    assert (cursor.retry, cursor.news) == (500, 0)


@pytest.mark.parametrize(
    ("said", "kept"), [(None, DEFAULT_RETRY), (0, SHORTEST_RETRY), (2500, 2500), (9_999_999_999, LONGEST_RETRY)]
)
def test_the_time_to_stay_away_is_bounded(said: int | None, kept: int) -> None:
    cursor = Cursor()
    cursor.see(Event(b"", id="a", retry=said))
    assert cursor.retry == kept


def test_what_is_repeated_after_coming_back_is_not_delivered_again() -> None:
    cursor = Cursor()
    for ident in "ab":
        cursor.see(Event(NOTE, id=ident))
    cursor.resumed = True
    assert [cursor.see(Event(NOTE, id=ident)) for ident in "abcb"] == [True, True, False, True]
    assert (cursor.last, cursor.news) == ("c", 3)


def test_on_the_first_connection_nothing_is_a_repetition() -> None:
    cursor = Cursor()
    assert [cursor.see(Event(NOTE, id="a")) for _ in range(2)] == [False, False]


@pytest.mark.parametrize(
    ("data", "repeated"), [(FINAL, False), (ERROR, False), (NOTE, True), (b"", True), (b"{", True)]
)
def test_the_final_answer_counts_whatever_its_id(data: bytes, repeated: bool) -> None:
    cursor = Cursor()
    cursor.see(Event(NOTE, id="a"))
    cursor.resumed = True
    assert cursor.see(Event(data, id="a")) == repeated


@pytest.mark.parametrize(
    "ident", ["", " a", "a ", "a\tb", "\u00fc", "\ufffd", "a\x7f", "x" * (EVENT_ID + 1), "x" * 1_000_000]
)
def test_after_an_id_that_cannot_be_sent_back_there_is_no_place(ident: str) -> None:
    cursor = Cursor()
    cursor.see(Event(NOTE, id="a"))
    cursor.see(Event(NOTE, id=ident))
    assert cursor.last is None


@pytest.mark.parametrize("ident", ["a", "a b", "~!", "x" * EVENT_ID])
def test_an_id_is_kept_as_it_is(ident: str) -> None:
    cursor = Cursor()
    cursor.see(Event(NOTE, id=ident))
    assert cursor.last == ident


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    cursor = Cursor()
    for number in range(10_000):
        cursor.see(Event(NOTE, id=str(number)))
    assert len(cursor._known) == REMEMBERED
    cursor.resumed = True
    assert cursor.see(Event(NOTE, id="9999"))
    assert not cursor.see(Event(NOTE, id="0"))


def test_a_lost_place_is_forgotten_with_all_that_was_known() -> None:
    cursor = Cursor()
    cursor.see(Event(NOTE, id="a"))
    cursor.resumed = True
    cursor.lose()
    assert cursor.last is None
    assert not cursor.see(Event(NOTE, id="a"))
