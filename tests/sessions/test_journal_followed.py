"""Who follows a stream: sees all of it in order, slows whoever is too fast, and may come back."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.sessions.budget import Budget
from gatewayd.sessions.journal import LAG, OVERHEAD, Journal, Place, Store
from tests.sessions.journals import COST, EVENT, fill, new_store, read


async def test_a_connected_client_loses_nothing_however_little_may_be_kept() -> None:
    budget = Budget(COST)
    store = new_store(most=COST, budget=budget)
    journal, other = store.open("carried"), store.open("left alone")
    follower = journal.follow()
    fill(journal, 3)
    fill(other, 3)
    assert (journal.first, other.first) == (1, 4)
    after = await read(journal, follower, 0, 3)
    fill(other, 1)
    assert await journal.next(follower, after - 1) == (3, EVENT)  # what it asks for last may be asked for again
    journal.leave(follower)
    assert store.taken == COST
    fill(other, 1)
    assert (journal.first, other.first) == (4, 5)
    assert store.taken == budget.taken == COST


async def test_a_client_that_catches_up_loses_nothing_of_what_it_was_sent_before() -> None:
    store = new_store(most=4 * COST)
    journal, other = store.open("carried"), store.open("other")
    fill(journal, 4)
    journal.mark_sent(4)
    follower = journal.follow()
    fill(other, 4)
    assert await read(journal, follower, 1, 2) == 3
    fill(other, 4)
    assert await journal.next(follower, 3) == (4, EVENT)


async def test_nor_between_coming_back_and_saying_from_where() -> None:
    store = new_store(most=4 * COST)
    journal, other = store.open("carried"), store.open("other")
    fill(journal, 4)
    assert await read(journal, journal.follow(), 0, 4) == 4
    follower = journal.follow()
    fill(other, 4)
    assert await read(journal, follower, 1, 3) == 4


async def test_who_is_too_far_behind_goes_on_with_what_is_left() -> None:
    journal = new_store(most=2 * COST).open(1)
    fill(journal, 5)
    follower = journal.follow()
    assert await journal.next(follower, 0) == (4, EVENT)


async def test_who_follows_waits_for_what_comes_and_for_the_end() -> None:
    journal = new_store().open(1)
    follower = journal.follow()
    seen: list[tuple[int, bytes] | None] = []

    async def follow() -> None:
        after = 0
        while True:
            seen.append(await journal.next(follower, after))
            if seen[-1] is None:
                return
            after = seen[-1][0]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []
        journal.add(b"1")
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [(1, b"1")]
        journal.add(b"2")
        journal.end()
        journal.end()
    assert seen == [(1, b"1"), (2, b"2"), None]


async def test_who_waits_for_what_was_not_kept_is_told_of_the_end() -> None:
    store = new_store(most=COST)
    journal = store.open(1)
    journal.add(b"x" * COST)
    follower = journal.follow()
    with trio.move_on_after(0) as waited:
        await journal.next(follower, 0)
    assert waited.cancelled_caught
    store.close(journal)
    assert await journal.next(follower, 0) is None


async def test_only_the_last_who_came_follows() -> None:
    journal = new_store().open(1)
    first = journal.follow()
    ended: list[object] = []

    async def follow() -> None:
        ended.append(await journal.next(first, 0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        second = journal.follow()
    assert ended == [None]
    journal.add(EVENT)
    assert await journal.next(first, 0) is None
    journal.leave(first)
    assert journal.followed
    assert await journal.next(second, 0) == (1, EVENT)
    journal.leave(second)
    assert not journal.followed
    assert await journal.next(second, 0) is None


async def test_who_watches_is_told_of_every_change() -> None:
    journal = new_store().open(1)
    told: list[bool] = []
    follower = journal.follow()
    journal.watch(told.append)
    journal.leave(follower)
    journal.leave(follower)
    journal.follow()
    assert told == [True, False, True]


async def test_a_slow_client_slows_its_upstream() -> None:
    journal = new_store().open(1)
    room: list[str] = []

    async def wait_room(name: str) -> None:
        await journal.wait_room()
        room.append(name)

    journal.add(b"x" * (LAG + 1))
    await journal.wait_room()  # nobody is connected: it is the resume window that ends this
    follower = journal.follow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_room, "sent")
        await trio.testing.wait_all_tasks_blocked()
        assert room == []
        await read(journal, follower, 0, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert room == ["sent"]
        journal.add(b"x" * LAG)
        await journal.wait_room()
        journal.add(b"x")
        nursery.start_soon(wait_room, "left")
        await trio.testing.wait_all_tasks_blocked()
        assert room == ["sent"]
        journal.leave(follower)
    assert room == ["sent", "left"]


async def test_a_client_that_claims_to_have_seen_more_than_it_was_sent_holds_nobody_up() -> None:
    journal = new_store().open(1)
    journal.add(b"x" * (LAG + 1))
    follower = journal.follow()
    with trio.move_on_after(0):
        await journal.next(follower, 1)
    with trio.fail_after(1):
        await journal.wait_room()


async def test_where_too_much_is_kept_already_each_message_waits_for_the_one_before() -> None:
    journal = new_store(most=COST).open(1)
    follower = journal.follow()
    fill(journal, 1)
    await journal.wait_room()
    fill(journal, 1)
    with trio.move_on_after(0) as waited:
        await journal.wait_room()
    assert waited.cancelled_caught
    await read(journal, follower, 0, 2)
    await journal.wait_room()


async def test_room_is_counted_right_where_events_are_dropped_before_they_were_sent() -> None:
    journal = new_store(most=LAG + 2 * OVERHEAD).open(1)
    for size in (LAG, LAG // 2, LAG // 2):
        journal.add(b"x" * size)
    assert journal.first == 2
    follower = journal.follow()
    with trio.fail_after(1):
        await journal.wait_room()
    await read(journal, follower, 0, 2)
    journal.add(b"x" * (LAG // 2))
    with trio.fail_after(1):
        await journal.wait_room()


async def test_what_nobody_comes_back_for_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    store = new_store()
    running, ended, carried = store.open("running"), store.open("ended"), store.open("carried")
    fill(running, 2)
    running.mark_sent(1)
    fill(ended, 1)
    ended.end()
    fill(carried, 1)
    carried.end()
    follower = carried.follow()
    await trio.sleep(10)
    store.expire(trio.current_time() - 11)
    assert store.taken == 4 * COST
    store.expire(trio.current_time() - 9)
    assert running.first == 2  # the second one was not sent yet
    assert store.locate(ended.place(1)) == Place(None, 1, False, "ended")
    assert store.locate(carried.place(1)) == Place(carried, 1, False, "carried")
    running.mark_sent(2)
    store.expire(trio.current_time() - 9)
    assert store.locate(running.place(2)) == Place(running, 2, False, "running")
    assert store.taken == COST
    assert await read(carried, follower, 0, 1) == 1
    carried.leave(follower)
    store.expire(trio.current_time() - 9)
    assert store.taken == 0
    store.expire(trio.current_time())


async def test_what_was_sent_is_not_forgotten_before_the_client_who_came_back_for_it_has_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = new_store()
    journal = store.open(1)
    fill(journal, 2)
    journal.mark_sent(2)
    follower = journal.follow()
    await trio.sleep(10)
    store.expire(trio.current_time() - 9)
    assert await journal.next(follower, 0) == (1, EVENT)
    assert await journal.next(follower, 1) == (2, EVENT)
    store.expire(trio.current_time() - 9)
    assert journal.first == 2


class Client:
    """A client that asks for what follows the last event that it saw, over connections that break."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._follower: object | None = None
        self._after = 0
        self._last = journal.place(0)
        self.seen: list[bytes] = []
        self.lost = False

    def come_back(self) -> None:
        """On a new connection."""
        self.leave()
        place = self._store.locate(self._last)
        assert place is not None
        self.lost = place.journal is None
        if place.journal is not None:
            self._after = place.number
            self._follower = place.journal.follow()

    def leave(self) -> None:
        """The connection is lost."""
        if self._follower is not None:
            self._journal.leave(self._follower)
            self._follower = None

    async def read(self, *, arrives: bool) -> None:
        """One event is written, and arrives, or is what the connection breaks in."""
        if self._follower is None or self._after == self._journal.last:
            return
        event = await self._journal.next(self._follower, self._after)
        assert event is not None
        self._after, message = event
        self._journal.mark_sent(self._after)
        if arrives:
            self._last = self._journal.place(self._after)
            self.seen.append(message)
        else:
            self.leave()


DEEDS = st.one_of(
    st.tuples(st.sampled_from(["add", "other"]), st.integers(0, 400)),
    st.tuples(st.sampled_from(["read", "break", "come back", "leave", "expire"]), st.just(0)),
)


@given(st.lists(DEEDS, max_size=60), st.integers(0, 3000), st.integers(0, 3000))
def test_a_client_that_comes_back_sees_every_event_once_and_in_order_or_is_told_that_some_are_lost(
    deeds: list[tuple[str, int]], most: int, common: int
) -> None:
    trio.run(play, deeds, most, common, clock=trio.testing.MockClock())


async def play(deeds: list[tuple[str, int]], most: int, common: int) -> None:
    budget = Budget(common)
    store = new_store(most, budget)
    journal, other = store.open("mine"), store.open("other")
    client, said = Client(store, journal), list[bytes]()
    for deed, size in deeds:
        match deed:
            case "add":
                said.append(b"%d" % len(said) + b" " * size)
                journal.add(said[-1])
            case "other":
                other.add(b" " * size)
            case "come back":
                client.come_back()
            case "leave":
                client.leave()
            case "expire":
                store.expire(trio.current_time() + 1)
            case _:
                await client.read(arrives=deed == "read")
        assert client.seen == said[: len(client.seen)]
        assert budget.taken == store.taken >= 0
        assert journal.held or store.taken <= min(most, common)
    client.come_back()
    while not client.lost and len(client.seen) < len(said):
        await client.read(arrives=True)
    store.clear()
    assert store.taken == budget.taken == 0
