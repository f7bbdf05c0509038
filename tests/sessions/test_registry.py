"""Sessions by the thousand: who finds them, what makes room, when their time is over."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.sessions.registry import CLOSERS, SWEEP, TooManySessions
from gatewayd.sessions.session import Session
from tests.sessions.fakes import ALICE, BOB, House, Peer, Running, Upstream, house


def find(h: House, session: Session) -> Session | None:
    return h.registry.find(session.id, session.principal, session.path)


async def test_a_session_is_found_by_its_own_principal_on_its_own_route_only() -> None:
    h = house()
    session = await h.open(ALICE, "/mcp")
    assert h.registry.find(session.id, ALICE, "/mcp") is session
    assert h.registry.find(session.id, BOB, "/mcp") is None
    assert h.registry.find(session.id, ALICE, "/other") is None
    assert h.registry.find("", ALICE, "/mcp") is None
    assert h.registry.find(session.id[:-1], ALICE, "/mcp") is None


async def test_ids_are_long_unlike_each_other_and_fit_for_a_header() -> None:
    h = house(most=1000)
    idents = [(await h.open()).id for _ in range(100)]
    assert len(set(idents)) == 100
    assert all(len(ident) >= 32 and ident.isascii() and ident.isprintable() and " " not in ident for ident in idents)


async def test_neither_id_nor_peer_of_a_session_is_shown_in_the_tree() -> None:
    h = house()
    session = await h.open()
    assert session.id not in repr(session)
    assert session.id not in str(h.node.snapshot(trio.current_time()))


async def test_every_count_follows() -> None:
    h = house()
    first, second = await h.open(), await h.open(BOB)
    h.assert_counts(2)
    await h.registry.end(first)
    h.assert_counts(1)
    await h.registry.end(second)
    h.assert_counts(0)


async def test_ending_twice_is_ending_once() -> None:
    h = house()
    peer, call = Peer(), Running()
    session = await h.open(peer=peer)
    session.calls[1] = call
    await h.registry.end(session)
    await h.registry.end(session)
    h.assert_counts(0)
    assert peer.closed == 1
    assert call.told == ["session ended"]
    assert find(h, session) is None


async def test_a_full_house_lets_the_longest_unused_session_go() -> None:
    h = house(most=3)
    first, second, third = [await h.open() for _ in range(3)]
    assert find(h, first) is first
    fourth = await h.open()
    assert find(h, second) is None
    assert second.closed
    assert {find(h, session) for session in (first, third, fourth)} == {first, third, fourth}
    h.assert_counts(3)


async def test_who_tries_a_foreign_session_does_not_keep_it_alive() -> None:
    h = house(most=2)
    first, second = await h.open(ALICE), await h.open(ALICE)
    used = first.used
    assert h.registry.find(first.id, BOB, "/mcp") is None
    assert first.used == used
    await h.open(BOB)
    assert find(h, first) is None
    assert find(h, second) is second


async def test_sessions_in_use_are_not_let_go() -> None:
    h = house(most=2)
    calling, listening = await h.open(), await h.open()
    calling.calls["x"] = Running()
    listening.listener = Running()
    peer = Peer()
    with pytest.raises(TooManySessions):
        await h.open(peer=peer)
    assert peer.closing == 0  # it stays with the caller
    h.assert_counts(2)
    del calling.calls["x"]
    await h.open()
    assert calling.closed
    assert not listening.closed


async def test_the_limit_holds_while_evicted_sessions_take_their_time(
    autojump_clock: trio.testing.MockClock,
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


async def test_a_lower_limit_after_a_reload_is_kept_from_the_next_session_on() -> None:
    h = house(most=5)
    for _ in range(5):
        await h.open()
    h.registry.most = 2
    await h.open()
    h.assert_counts(2)


async def test_an_opening_that_is_cancelled_while_room_is_made_leaves_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    h = house(most=1)
    await h.open(peer=Peer(farewell=60.0))
    with trio.move_on_after(1):
        await h.open()
    h.assert_counts(0)


async def test_unused_sessions_expire(autojump_clock: trio.testing.MockClock) -> None:
    h = house(idle=100.0)
    unused, used, busy = [await h.open() for _ in range(3)]
    busy.calls[1] = Running()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.expire)
        await trio.sleep(90)
        assert find(h, used) is used
        await trio.sleep(10 + SWEEP + 0.1)
        assert unused.closed
        assert not used.closed
        assert not busy.closed
        h.assert_counts(2)
        await trio.sleep(100)
        assert used.closed
        assert not busy.closed
        nursery.cancel_scope.cancel()


async def test_no_session_outlives_its_time_whatever_it_does(autojump_clock: trio.testing.MockClock) -> None:
    h = house(idle=100.0, ttl=250.0)
    session, call = await h.open(), Running()
    session.calls[1] = call
    session.listener = listener = Running()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.expire)
        await trio.sleep(249)
        assert find(h, session) is session
        await trio.sleep(1 + SWEEP + 0.1)
        assert session.closed
        assert call.told == listener.told == ["session ended"]
        h.assert_counts(0)
        nursery.cancel_scope.cancel()


async def test_a_slow_farewell_holds_nobody_else_up(autojump_clock: trio.testing.MockClock) -> None:
    h = house(most=100)
    slow, quick = Peer(farewell=1000.0), [Peer() for _ in range(20)]
    for peer in (slow, *quick):
        await h.open(peer=peer)
    with trio.move_on_after(10):
        await h.registry.end_where(lambda session: True)
    assert (slow.closing, slow.closed) == (1, 0)
    assert all(peer.closed == 1 for peer in quick)
    h.assert_counts(0)


async def test_what_is_to_end_is_gone_at_once_and_closed_in_turn(autojump_clock: trio.testing.MockClock) -> None:
    h = house(most=1000)
    peers = [Peer(farewell=2.0) for _ in range(3 * CLOSERS)]
    sessions = [await h.open(peer=peer) for peer in peers]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.end_where, lambda session: True)
        await trio.sleep(1)
        assert sum(peer.closing for peer in peers) == CLOSERS
        assert all(find(h, session) is None for session in sessions)
        h.assert_counts(0)
    assert trio.current_time() - sessions[0].created == pytest.approx(6.0)
    assert all(peer.closed == 1 for peer in peers)


async def test_only_what_is_unwanted_ends() -> None:
    h = house()
    alice, bob = await h.open(ALICE), await h.open(BOB)
    await h.registry.end_where(lambda session: session.principal == BOB)
    assert find(h, alice) is alice
    assert bob.closed
    h.assert_counts(1)


async def test_a_service_is_unused_when_its_last_session_ends() -> None:
    h, other = house(), Upstream()
    session = await h.registry.open(ALICE, "/mcp", other, Peer())
    with trio.move_on_after(0.01) as waited:
        await other.usage.wait_unused()
    assert waited.cancelled_caught
    await h.registry.end(session)
    with trio.fail_after(1):
        await other.usage.wait_unused()
