"""Sessions by the thousand: who finds them, what makes room, when their time is over, and which of them come back."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.auth.principal import ANONYMOUS, Principal
from gatewayd.protocol.jsontext import JsonError
from gatewayd.routes.table import ClientBounds, SessionLife
from gatewayd.sessions.journal import OVERHEAD
from gatewayd.sessions.registry import Terms, TooManySessions
from gatewayd.sessions.session import Session
from tests.sessions.fakes import ALICE, BOB, Houses, Peer, Running
from tests.support.checkpoints import at_every_step, cut

EVE = Principal("eve", "staff")


async def test_a_session_is_found_by_its_own_principal_on_its_own_route_only(house: Houses) -> None:
    h = house()
    session = await h.open(ALICE, "/mcp")
    assert await h.find_id(session.id, ALICE, "/mcp") is session
    assert await h.find_id(session.id, BOB, "/mcp") is None
    assert await h.find_id(session.id, ANONYMOUS, "/mcp") is None
    assert await h.find_id(session.id, ALICE, "/other") is None
    assert await h.find_id("", ALICE, "/mcp") is None
    assert await h.find_id(session.id[:-1], ALICE, "/mcp") is None
    assert await h.find_id(session.id + "=", ALICE, "/mcp") is None
    assert h.reopened == []
    h.assert_counts(1)


async def test_ids_are_long_unlike_each_other_and_fit_for_a_header(house: Houses) -> None:
    h = house(most=1000)
    idents = [(await h.open()).id for _ in range(100)]
    assert len(set(idents)) == 100
    assert all(len(ident) >= 32 and ident.isascii() and ident.isprintable() and " " not in ident for ident in idents)


async def test_neither_id_nor_memo_of_a_session_is_shown(house: Houses) -> None:
    h = house()
    session = await h.open(peer=Peer(session="upstream-secret"))
    assert session.id not in repr(session)
    assert "upstream-secret" not in repr(session)
    assert session.id not in str(h.node.snapshot(trio.current_time()))


async def test_every_count_follows(house: Houses) -> None:
    h = house()
    first, second = await h.open(), await h.open(BOB)
    h.assert_counts(2)
    await h.registry.end(first)
    h.assert_counts(1)
    await h.registry.end(second)
    h.assert_counts(0)


async def test_ending_twice_is_ending_once(house: Houses) -> None:
    h = house()
    peer, call = Peer(), Running()
    session = await h.open(peer=peer)
    session.calls[1] = call
    await h.registry.end(session)
    await h.registry.end(session)
    h.assert_counts(0)
    assert peer.closed == 1
    assert call.told == ["session ended"]
    assert await h.find(session) is None


async def test_params_that_cannot_be_read_open_nothing(house: Houses) -> None:
    h, peer = house(), Peer()
    with pytest.raises(JsonError):
        await h.registry.open(ALICE, "/mcp", h.healing(peer), "2025-11-25", b"[" + b" " * 2000 + b"]")
    assert peer.closing == 0  # it stays with the caller
    h.assert_counts(0)


# What makes room


async def test_a_full_house_puts_the_longest_unused_session_away(house: Houses) -> None:
    h = house(most=3)
    first, second, third = [await h.open() for _ in range(3)]
    assert await h.find(first) is first
    fourth = await h.open()
    assert second.closed
    assert [await h.find_live(session) for session in (first, third, fourth)] == [first, third, fourth]
    h.assert_counts(3)


async def test_who_tries_a_foreign_session_does_not_keep_it_alive(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=2)
    first, second = await h.open(ALICE), await h.open(ALICE)
    used = first.used
    await trio.sleep(1)
    assert await h.find_id(first.id, BOB, "/mcp") is None
    assert first.used == used
    await h.open(BOB)
    assert first.closed
    assert await h.find_live(second) is second
    assert second.used == trio.current_time()


async def test_sessions_in_use_are_not_put_away(house: Houses) -> None:
    h = house(most=2)
    calling, listening = await h.open(), await h.open()
    calling.calls["x"] = Running()
    listening.standing = listening.store.open(None, standing=True)
    follower = listening.standing.follow()
    peer = Peer()
    with pytest.raises(TooManySessions):
        await h.open(peer=peer)
    assert peer.closing == 0  # it stays with the caller
    h.assert_counts(2)
    listening.standing.leave(follower)
    await h.open()
    assert listening.closed
    assert not calling.closed


async def test_the_limit_holds_while_sessions_that_are_put_away_take_their_time(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=3)
    for _ in range(3):
        await h.open(peer=Peer(farewell=2.0))
    refused = 0

    async def open_one() -> None:
        nonlocal refused
        try:
            await h.open(peer=Peer(farewell=2.0))
        except TooManySessions:
            refused += 1
        assert len(h.registry) <= 3

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(open_one)
    h.assert_counts(3)


async def test_a_lower_limit_after_a_reload_is_kept_from_the_next_session_on(house: Houses) -> None:
    h = house(most=5)
    sessions = [await h.open() for _ in range(5)]
    sessions[4].store.open(1).add(b"")
    h.registry.use(Terms(SessionLife(ttl=5.0), ClientBounds(sessions=2, buffered=OVERHEAD)))
    assert h.registry.life.ttl == 5.0
    last = await h.open()
    h.assert_counts(2)
    last.store.open(1).add(b"")
    assert sessions[4].store.taken + last.store.taken == OVERHEAD


async def test_a_principal_with_many_sessions_leaves_the_events_of_another_alone(house: Houses) -> None:
    h = house(most=20)
    h.registry.use(Terms(SessionLife(), ClientBounds(sessions=20, buffered=10 * OVERHEAD)))
    greedy = [await h.open(ALICE) for _ in range(10)]
    for session in greedy:
        session.store.open(1).add(b"")
    victim = await h.open(BOB)
    answers = victim.store.open(7)
    for _ in range(5):
        answers.add(b"")
    for session in greedy:
        session.store.open(2).add(b"")
    assert answers.first == 1
    assert sum(session.store.taken for session in greedy) == 5 * OVERHEAD


async def test_no_principal_has_more_than_its_share(house: Houses) -> None:
    h = house(most=10, each=2)
    bob, first, second = await h.open(BOB), await h.open(ALICE), await h.open(ALICE)
    third = await h.open(ALICE)
    assert first.closed
    assert not bob.closed
    second.calls[1] = third.calls[1] = Running()
    with pytest.raises(TooManySessions):
        await h.open(ALICE)
    with pytest.raises(TooManySessions):
        await h.find(first)
    await h.open(BOB)
    h.assert_counts(4)


async def test_the_share_is_given_back(house: Houses) -> None:
    h = house(each=1)
    for _ in range(3):
        await h.registry.end(await h.open(ALICE))
    session = await h.open(ALICE)
    assert not session.closed
    h.assert_counts(1)


async def test_anonymous_callers_are_not_one_principal(house: Houses) -> None:
    h = house(most=5, each=1)
    sessions = [await h.open(ANONYMOUS) for _ in range(5)]
    assert not any(session.closed for session in sessions)
    await h.open(ANONYMOUS)
    assert sessions[0].closed
    h.assert_counts(5)


async def test_a_principal_s_share_holds_while_room_is_made_for_all(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=6, each=2)
    for _ in range(3):
        await h.open(BOB, peer=Peer(farewell=2.0))
        await h.open(EVE, peer=Peer(farewell=1.0))
    opened: list[Session] = []

    async def open_one() -> None:
        opened.append(await h.open(ALICE))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(open_one)
    assert [session.closed for session in opened] == [True] * 4 + [False] * 2


async def test_an_opening_that_is_cancelled_while_room_is_made_leaves_nothing(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=1)
    await h.open(peer=Peer(farewell=60.0))
    with trio.move_on_after(1):
        await h.open()
    h.assert_counts(0)


async def test_wherever_making_room_is_cancelled_the_old_session_is_told_to_end(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=1)

    async def trial(steps: int) -> bool:
        peer, tidied = Peer(farewell=1.0), trio.Event()
        session = await h.open(peer=peer)

        async def work(scope: trio.CancelScope) -> None:
            try:
                await trio.sleep_forever()
            finally:
                tidied.set()

        async def opening(begin: object) -> None:
            assert callable(begin)
            begin()
            await h.registry.end(await h.open())

        session.start("call", "", work)
        await trio.testing.wait_all_tasks_blocked()
        ended = await cut(opening, steps)
        await tidied.wait()
        assert peer.closing == session.closed
        await h.registry.end(session)
        return ended

    async def at_rest() -> None:
        await trio.testing.wait_all_tasks_blocked()
        h.assert_counts(0)

    assert await at_every_step(trial, at_rest) > 2
