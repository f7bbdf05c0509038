"""Who loses events when all sessions together keep too many: whoever keeps the most, and nobody for another's sake."""

from __future__ import annotations

import tracemalloc

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.sessions.budget import Budget, Ranking
from gatewayd.sessions.journal import OVERHEAD, Journal, Place, Store
from tests.sessions.journals import COST, fill, new_store


def sessions(budget: Budget, owner: str, events: int, number: int = 1) -> list[Journal]:
    """Streams of one session each, with so many events."""
    journals = [new_store(budget=budget, owner=owner).open(1) for _ in range(number)]
    for journal in journals:
        fill(journal, events)
    return journals


def kept(journals: list[Journal]) -> list[int]:
    return [journal.last + 1 - journal.first for journal in journals]


async def test_one_who_fills_the_budget_with_many_sessions_leaves_an_answer_of_another_alone() -> None:
    budget = Budget(200 * COST)
    greedy = sessions(budget, "greedy", events=2, number=100)
    store = new_store(budget=budget, owner="victim")
    journal = store.open(7)
    fill(journal, 3)
    journal.end()
    greedy += sessions(budget, "greedy", events=2, number=100)
    assert store.locate(journal.place(0)) == Place(journal, 0, False, 7)
    assert sum(kept(greedy)) == 197
    assert budget.taken == budget.most


async def test_of_its_sessions_the_largest_loses_its_oldest_events() -> None:
    budget = Budget(10 * COST)
    small, large = sessions(budget, "greedy", 2)[0], sessions(budget, "greedy", 7)[0]
    other = sessions(budget, "other", 3)[0]
    assert [small.first, large.first, other.first] == [1, 3, 1]
    fill(small, 2)
    assert [small.first, large.first, other.first] == [1, 5, 1]


async def test_who_keeps_the_most_may_change() -> None:
    budget = Budget(10 * COST)
    first, second = sessions(budget, "first", 8)[0], sessions(budget, "second", 2)[0]
    fill(second, 8)
    assert kept([first, second]) == [5, 5]


async def test_who_is_gone_has_no_part() -> None:
    budget = Budget(10 * COST)
    store = new_store(budget=budget, owner="gone")
    fill(store.open(1), 5)
    store.clear()
    assert kept(sessions(budget, "here", 12)) == [10]
    assert not budget.crowded_by("gone")


async def test_what_connections_of_one_still_have_to_carry_costs_nobody_else_anything() -> None:
    budget = Budget(10 * COST)
    greedy = sessions(budget, "greedy", events=0, number=5)
    for journal in greedy:
        journal.follow()
        fill(journal, 4)
    victim = sessions(budget, "victim", 3)[0]
    assert victim.first == 1
    assert kept(greedy) == [4] * 5
    victim.follow()
    with trio.fail_after(1):
        await victim.wait_room()  # nor is it slowed
    assert budget.crowded_by("greedy")


async def test_nor_is_more_kept_than_the_budget_beside_what_they_carry() -> None:
    budget = Budget(10 * COST)
    carried = sessions(budget, "greedy", 0)[0]
    carried.follow()
    fill(carried, 20)
    left = sessions(budget, "one", 9) + sessions(budget, "two", 9)
    assert carried.first == 1
    assert kept(left) == [3, 3]


async def test_what_connections_no_longer_carry_makes_room_at_once() -> None:
    budget = Budget(10 * COST)
    carried = sessions(budget, "greedy", 0)[0]
    follower = carried.follow()
    fill(carried, 20)
    other = sessions(budget, "other", 3)[0]
    carried.leave(follower)
    assert kept([carried, other]) == [7, 3]


async def test_or_later_if_there_was_room_when_they_left() -> None:
    budget = Budget(10 * COST)
    carried = sessions(budget, "greedy", 0)[0]
    follower = carried.follow()
    fill(carried, 11)
    budget.most = 12 * COST
    carried.leave(follower)
    other = sessions(budget, "other", 3)[0]
    assert kept([carried, other]) == [9, 3]


OWNERS = 3
MOST = 10 * COST


@given(st.lists(st.tuples(st.sampled_from("aaaafle"), st.integers(0, 8), st.integers(0, 3000)), max_size=80))
def test_an_equal_part_is_everybodys_and_the_largest_gives_way(deeds: list[tuple[str, int, int]]) -> None:
    trio.run(play, deeds, clock=trio.testing.MockClock())


async def play(deeds: list[tuple[str, int, int]]) -> None:
    budget = Budget(MOST)
    stores = [new_store(budget=budget, owner=n % OWNERS) for n in range(9)]
    journals = [store.open(1) for store in stores]
    followers: dict[int, object] = {}
    for deed, number, size in deeds:
        before = taken(stores)
        match deed:
            case "a":
                journals[number].add(b"x" * size)
                before[number % OWNERS] += size + OVERHEAD
            case "f":
                followers[number] = journals[number].follow()
            case "l":
                journals[number].leave(followers.get(number))
            case _:
                stores[number].close(journals[number])
                journals[number] = stores[number].open(1)
                before = taken(stores)
        after = taken(stores)
        assert budget.taken == sum(after)
        assert all(now == was for was, now in zip(before, after, strict=True) if was * OWNERS <= MOST)
        assert budget.taken <= MOST or any(journal.held for journal in journals)


def taken(stores: list[Store]) -> list[int]:
    return [sum(store.taken for store in stores[owner::OWNERS]) for owner in range(OWNERS)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9))))
def test_a_ranking_knows_its_largest(changes: list[tuple[int, int]]) -> None:
    ranking, sizes = Ranking[int](), dict[int, int]()
    for item, size in changes:
        ranking.put(item, size)
        sizes[item] = size
        largest = ranking.largest()
        assert (0 if largest is None else sizes[largest]) == max(sizes.values())


def test_a_ranking_does_not_grow_with_its_changes() -> None:
    ranking = Ranking[str]()
    tracemalloc.start()
    try:
        for size in range(1, 10_000):
            ranking.put("item", size)
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()
