"""What is kept of a session's streams, how clients refer to it, and how little of it there may be."""

from __future__ import annotations

import pytest

from gatewayd.protocol.jsonrpc import Id
from gatewayd.sessions.budget import Budget
from gatewayd.sessions.journal import MOST_STREAMS, Place
from tests.sessions.journals import COST, EVENT, LIFE, PLENTY, TAG, fill, new_store


async def test_events_are_numbered_from_one_and_zero_is_the_place_before_them() -> None:
    store = new_store()
    journal = store.open("call")
    assert (journal.first, journal.last) == (1, 0)
    assert store.locate(journal.place(0)) == Place(journal, 0, False, "call")
    assert [store.locate(journal.add(b"%d" % n)) for n in (1, 2)] == [
        Place(journal, 1, False, "call"),
        Place(journal, 2, False, "call"),
    ]
    follower = journal.follow()
    assert await journal.next(follower, 0) == (1, b"1")
    assert await journal.next(follower, 1) == (2, b"2")


async def test_no_two_events_of_a_session_have_the_same_id() -> None:
    store = new_store()
    streams = [store.open(None, standing=True), store.open(None, standing=True)]
    streams += [store.open(request) for request in (1, 1, "1", "g", "u", "i1", "", "x" * 100, "y" * 100)]
    idents = [stream.add(b"") for stream in streams for _ in range(3)] + [stream.place(0) for stream in streams]
    assert len(set(idents)) == 4 * len(streams)


SHORT: tuple[Id, ...] = (
    0,
    7,
    -7,
    10**61,
    -(10**61),
    "",
    "7",
    "-",
    "a-b-c",
    "\r\ndata: forged\x00",
    "\N{SNOWMAN}" * 21,
    "x" * 64,
)
LONG: tuple[Id, ...] = (10**63, -(10**63), "x" * 65, "\N{SNOWMAN}" * 22)


@pytest.mark.parametrize("request_id", SHORT + LONG)
async def test_an_event_id_leads_back_to_its_place_whatever_the_request_is_called(request_id: Id) -> None:
    store = new_store()
    journal = store.open(request_id)
    ident = journal.add(EVENT)
    assert ident.isascii()
    assert ident.isprintable()
    assert " " not in ident
    assert len(ident) < 256
    assert store.locate(ident) == Place(journal, 1, False, request_id)


@pytest.mark.parametrize("request_id", SHORT + LONG)
async def test_an_id_from_before_a_restart_still_says_whose_answer_is_lost(request_id: Id) -> None:
    ident = new_store(life="ffffffff").open(request_id).add(EVENT)
    store = new_store()
    store.open(request_id).add(EVENT)
    assert store.locate(ident) == Place(None, 1, False, request_id if request_id in SHORT else None)


async def test_the_standing_stream_is_recognised_even_when_it_is_gone() -> None:
    store = new_store()
    journal = store.open(None, standing=True)
    ident = journal.add(EVENT)
    assert store.locate(ident) == Place(journal, 1, True, None)
    store.close(journal)
    assert store.locate(ident) == Place(None, 1, True, None)


async def test_an_id_of_another_session_is_none_of_ours() -> None:
    other = new_store(tag="fedcba98")
    store = new_store()
    store.open(1).add(EVENT)
    assert store.locate(other.open(1).add(EVENT)) is None


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "1",
        "g",
        f"{TAG}{LIFE}",
        f"{TAG}{LIFE}-1-1-",
        f"{TAG}{LIFE}-1-1-g",  # the stream belongs to a request
        f"{TAG}{LIFE}-1-1-i2",  # to another one
        f"{TAG}{LIFE}-1-1-i01",
        f"{TAG}{LIFE}-1-1-u",
        f"{TAG}{LIFE}-1-1-sMQ==",  # the string "1"
        f"{TAG}{LIFE}-1-1-i1 ",
        f"{TAG}{LIFE}-1-1-i1\n",
        f"{TAG}{LIFE}-1-2-i1",  # comes later
        f"{TAG}{LIFE}-1--1-i1",
        f"{TAG}{LIFE}-1-01-i1",
        f"{TAG}{LIFE}-1-\u0661-i1",  # a digit, but none of ours
        f"{TAG}{LIFE}-3-1-i1",  # a stream that there has not been
        f"{TAG}{LIFE}-0-1-i1",
        f"{TAG}{LIFE}-01-1-i1",
        f"{TAG}{LIFE}-{'9' * 5000}-1-i1",
        f"{TAG.upper()}{LIFE}-1-1-i1",
        f" {TAG}{LIFE}-1-1-i1",
    ],
)
async def test_an_id_that_was_never_given_out_leads_nowhere(forged: str) -> None:
    store = new_store()
    store.open(1).add(EVENT)
    store.open("1").add(EVENT)
    assert store.locate(forged) is None


@pytest.mark.parametrize(
    "request_text",
    [
        "u",
        "i-0",
        "i007",
        "i" + "9" * 64,
        "i" + "9" * 5000,
        "sMQ",
        "sMQ!==",
        "s/w==",
        "s_w==",
        "s\xe9",
        "s" + "QUFB" * 999,
    ],
)
async def test_a_request_that_no_id_of_ours_could_name_is_nobody_s(request_text: str) -> None:
    assert new_store().locate(f"{TAG}00000000-1-1-{request_text}") == Place(None, 1, False, None)


async def test_the_oldest_events_of_a_session_make_room_whichever_stream_they_are_of() -> None:
    store = new_store(most=3 * COST)
    old, new = store.open("old"), store.open("new")
    idents = [old.add(EVENT), new.add(EVENT), old.add(EVENT)]
    assert [stream.first for stream in (old, new)] == [1, 1]
    new.add(EVENT)
    assert [stream.first for stream in (old, new)] == [2, 1]
    assert store.locate(old.place(0)) == Place(None, 0, False, "old")
    assert store.locate(idents[0]) == Place(old, 1, False, "old")  # what follows it is there
    new.add(EVENT)
    assert [stream.first for stream in (old, new)] == [2, 2]
    assert store.taken == 3 * COST


async def test_what_alone_is_too_large_is_not_kept() -> None:
    budget = Budget(PLENTY)
    store = new_store(most=COST, budget=budget)
    journal = store.open(1)
    ident = journal.add(b"x" * COST)
    assert (journal.first, journal.last) == (2, 1)
    assert (store.taken, budget.taken) == (0, 0)
    assert store.locate(journal.place(0)) == Place(None, 0, False, 1)
    assert store.locate(ident) == Place(journal, 1, False, 1)


async def test_all_sessions_together_keep_no_more_than_the_common_budget() -> None:
    budget = Budget(4 * COST)
    stores = [new_store(budget=budget) for _ in range(3)]
    journals = [store.open(1) for store in stores]
    for _ in range(10):
        for journal in journals:
            journal.add(EVENT)
            assert budget.taken <= budget.most
    assert budget.taken == sum(store.taken for store in stores) == 4 * COST


async def test_a_smaller_budget_is_kept_from_the_next_event_on() -> None:
    budget = Budget(PLENTY)
    journal = new_store(budget=budget).open(1)
    fill(journal, 10)
    budget.most = 2 * COST
    fill(journal, 1)
    assert budget.taken == 2 * COST
    assert journal.first == 10


async def test_what_is_closed_gives_its_room_back() -> None:
    budget = Budget(PLENTY)
    store = new_store(budget=budget)
    first, second = store.open(1), store.open(2)
    fill(first, 3)
    fill(second, 2)
    store.close(first)
    store.close(first)
    assert store.taken == budget.taken == 2 * COST
    assert store.locate(first.place(3)) == Place(None, 3, False, 1)
    fill(second, 1)
    assert second.first == 1
    store.clear()
    assert store.taken == budget.taken == 0


async def test_what_is_added_to_a_stream_that_is_forgotten_takes_no_room() -> None:
    budget = Budget(PLENTY)
    store = new_store(budget=budget)
    journal = store.open(1)
    store.clear()
    late = store.open(2)
    for stream in (journal, late):
        assert store.locate(stream.add(EVENT)) == Place(None, 1, False, stream.request)
        stream.mark_sent(1)
    assert store.taken == budget.taken == 0


async def test_streams_without_end_do_not_pile_up() -> None:
    store = new_store()
    running, carried = store.open("running"), store.open("carried")
    carried.end()
    carried.follow()
    ended = [store.open(n) for n in range(MOST_STREAMS - 2)]
    for journal in ended:
        journal.end()
    store.open("one")
    store.open("more")
    known = [store.locate(journal.place(0)) for journal in (running, carried, *ended[:3])]
    assert [place is not None and place.journal is not None for place in known] == [True, True, False, False, True]


async def test_where_all_streams_run_one_more_is_no_reason_to_forget_one() -> None:
    store = new_store()
    running = [store.open(n) for n in range(MOST_STREAMS + 1)]
    assert all(store.locate(journal.place(0)) == Place(journal, 0, False, journal.request) for journal in running)
