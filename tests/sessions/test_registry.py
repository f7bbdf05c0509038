"""Sessions by the thousand: who finds them, what makes room, when their time is over, and which of them come back."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.auth.principal import ANONYMOUS, Principal
from gatewayd.protocol.jsontext import JsonError
from gatewayd.routes.table import ClientBounds, SessionLife
from gatewayd.sessions import registry as registry_module
from gatewayd.sessions.journal import OVERHEAD
from gatewayd.sessions.registry import CLOSERS, SWEEP, Terms, TooManySessions, wall_clock
from gatewayd.sessions.session import Session
from tests.sessions.fakes import ALICE, BOB, EPOCH, INITIALIZE, Houses, Peer, Running, Upstream
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
    assert last.store.taken == 0  # the other session keeps all that there is room for


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


# What comes back


async def test_a_session_that_was_put_away_comes_back_under_its_id(house: Houses) -> None:
    h = house(most=1)
    first = await h.open(peer=Peer(session="upstream-1"))
    first.store.open(1).add(b"x")
    await h.open()
    again = await h.find(first)
    assert again is not None
    assert again is not first
    assert (again.id, again.memo, again.principal, again.path) == (first.id, first.memo, ALICE, "/mcp")
    assert [(memo.initialize, memo.upstream) for memo in h.reopened] == [(INITIALIZE, "upstream-1")]
    h.assert_counts(1)


async def test_event_ids_of_a_session_s_former_life_are_known_as_such(house: Houses) -> None:
    h = house(most=1)
    first = await h.open()
    ident = first.store.open("call").add(b"x")
    other = await h.open()
    again = await h.find(first)
    assert again is not None
    assert again.store.open("call").add(b"x") != ident
    place = again.store.locate(ident)
    assert place is not None
    assert (place.journal, place.request) == (None, "call")
    assert other.store.locate(ident) is None


async def test_a_process_that_has_never_seen_a_session_brings_it_back(house: Houses) -> None:
    before, after = house(), house()
    session = await before.open(peer=Peer(session="upstream-1"))
    for principal, path in ((BOB, "/mcp"), (ANONYMOUS, "/mcp"), (ALICE, "/other")):
        assert await after.find_id(session.id, principal, path) is None
    assert after.reopened == []
    again = await after.find(session)
    assert again is not None
    assert again.memo == session.memo
    assert await after.find(session) is again
    assert len(after.reopened) == 1
    after.assert_counts(1)


async def test_an_id_that_others_have_sealed_is_no_session(house: Houses) -> None:
    session = await house(keys=(b"o" * 32,)).open()
    h = house()
    assert await h.find(session) is None
    h.assert_counts(0)


async def test_rotated_keys_open_old_ids_and_seal_new_ones(house: Houses) -> None:
    session = await house().open()
    h = house(keys=(b"n" * 32, b"k" * 32))
    assert await h.find(session) is not None
    assert await house().find(await h.open()) is None


async def test_a_session_that_has_ended_never_comes_back(house: Houses, autojump_clock: trio.testing.MockClock) -> None:
    h = house(idle=10.0)
    deleted, revoked, expired = [await h.open() for _ in range(3)]
    await h.registry.end(deleted)
    await h.registry.end_where(lambda session: session is revoked)
    with trio.move_on_after(11 + SWEEP):
        await h.registry.expire()
    assert [await h.find(session) for session in (deleted, revoked, expired)] == [None, None, None]
    assert h.reopened == []
    h.assert_counts(0)


async def test_nor_does_one_that_had_been_brought_back_before(house: Houses) -> None:
    h = house(most=1)
    first = await h.open()
    await h.open()
    again = await h.find(first)
    assert again is not None
    await h.registry.end(again)
    assert await h.find(first) is None


async def test_only_so_many_ended_sessions_are_remembered(house: Houses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MOST_ENDED", 2)
    h = house()
    sessions = [await h.open() for _ in range(3)]
    for session in sessions:
        await h.registry.end(session)
    assert [await h.find(session) is not None for session in sessions] == [True, False, False]


async def test_a_session_that_is_deleted_while_another_request_brings_it_back_stays_deleted(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=2)
    session = await house().open()
    found: list[Session | None] = []
    for farewell in (1.0, 2.0):
        await h.open(peer=Peer(farewell=farewell))

    async def find() -> None:
        found.append(await h.find(session))

    async def delete() -> None:
        known = await h.find(session)
        assert known is not None
        await h.registry.end(known)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(delete)
        await trio.testing.wait_all_tasks_blocked()
        await h.open()  # takes what room there is, so that the next one has to wait longer
        nursery.start_soon(find)
    assert found == [None]
    assert await h.find(session) is None


async def test_requests_that_come_together_bring_back_one_session(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=3)
    for _ in range(3):
        await h.open(peer=Peer(farewell=1.0))
    session = await house().open()
    found: list[Session | None] = []

    async def find() -> None:
        found.append(await h.find(session))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(find)
    assert len(found) == 3
    assert len(set(found)) == 1
    assert found[0] is not None
    assert len(h.reopened) == 1
    assert len(h.registry) == h.upstream.usage.count


# Whose time is over


async def test_unused_sessions_expire(house: Houses, autojump_clock: trio.testing.MockClock) -> None:
    h = house(idle=100.0)
    unused, used, busy = [await h.open() for _ in range(3)]
    busy.calls[1] = Running()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.expire)
        await trio.sleep(90)
        assert await h.find(used) is used
        await trio.sleep(10 + SWEEP + 0.1)
        assert unused.closed
        assert not used.closed
        assert not busy.closed
        h.assert_counts(2)
        await trio.sleep(100)
        assert used.closed
        assert not busy.closed
        nursery.cancel_scope.cancel()


async def test_no_session_outlives_its_time_whatever_it_does(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(idle=100.0, ttl=250.0)
    session, call = await h.open(), Running()
    session.calls[1] = call
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.expire)
        await trio.sleep(249)
        assert await h.find(session) is session
        await trio.sleep(1 + SWEEP + 0.1)
        assert session.closed
        assert call.told == ["session ended"]
        assert await h.find(session) is None
        h.assert_counts(0)
        nursery.cancel_scope.cancel()


async def test_its_time_goes_on_while_no_process_knows_it(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    session = await house(idle=9000.0, ttl=1000.0).open()
    house.wall.ahead += 900.0  # the gateway is down
    h = house(idle=9000.0, ttl=1000.0)
    again = await h.find(session)
    assert again is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.expire)
        await trio.sleep(99)
        assert not again.closed
        await trio.sleep(1 + SWEEP + 0.1)
        assert again.closed
        nursery.cancel_scope.cancel()
    assert await h.find(session) is None
    assert await house(idle=9000.0, ttl=1000.0).find(session) is None


async def test_a_session_from_a_clock_that_is_ahead_has_no_more_time_than_others(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    house.wall.ahead += 50_000.0
    session = await house().open()
    house.wall.ahead = EPOCH
    h = house(ttl=100.0)
    again = await h.find(session)
    assert again is not None
    assert again.created == trio.current_time()


async def test_a_shorter_life_after_a_reload_holds_for_sessions_that_there_are(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=1, ttl=1000.0)
    session = await h.open()
    await trio.sleep(50)
    await h.open()
    h.registry.use(Terms(SessionLife(ttl=40.0), ClientBounds()))
    assert await h.find(session) is None


async def test_what_nobody_comes_back_for_is_dropped_in_time(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(resume=20.0)
    session = await h.open()
    journal = session.store.open(1)
    journal.add(b"x")
    journal.end()
    with trio.move_on_after(19):
        await h.registry.expire()
    assert session.store.taken > 0
    with trio.move_on_after(1 + SWEEP + 0.1):
        await h.registry.expire()
    assert session.store.taken == 0


async def test_the_wall_clock_goes_forward_in_seconds() -> None:
    assert 1_700_000_000 < wall_clock() <= wall_clock() < 5_000_000_000


# How many end


async def test_a_slow_farewell_holds_nobody_else_up(house: Houses, autojump_clock: trio.testing.MockClock) -> None:
    h = house(most=100)
    slow, quick = Peer(farewell=1000.0), [Peer() for _ in range(20)]
    for peer in (slow, *quick):
        await h.open(peer=peer)
    with trio.move_on_after(10):
        await h.registry.end_where(lambda session: True)
    assert (slow.closing, slow.closed) == (1, 0)
    assert all(peer.closed == 1 for peer in quick)
    h.assert_counts(0)


async def test_what_is_to_end_is_gone_at_once_and_closed_in_turn(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(most=1000)
    peers = [Peer(farewell=2.0) for _ in range(3 * CLOSERS)]
    sessions = [await h.open(peer=peer) for peer in peers]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.end_where, lambda session: True)
        await trio.sleep(1)
        assert sum(peer.closing for peer in peers) == CLOSERS
        assert [await h.find(session) for session in sessions] == [None] * len(sessions)
        assert len(h.registry) == h.metrics.sessions == h.upstream.usage.count == 0
    assert trio.current_time() - sessions[0].created == pytest.approx(6.0)
    assert all(peer.closed == 1 for peer in peers)
    h.assert_counts(0)


async def test_only_what_is_unwanted_ends(house: Houses) -> None:
    h = house()
    alice, bob = await h.open(ALICE), await h.open(BOB)
    await h.registry.end_where(lambda session: session.principal == BOB)
    assert await h.find(alice) is alice
    assert bob.closed
    h.assert_counts(1)


# When the gateway stops, and when it is configured anew


async def test_when_the_gateway_stops_upstream_sessions_are_left_to_the_next_process(house: Houses) -> None:
    h, peers = house(), [Peer(), Peer()]
    sessions = [await h.open(peer=peer) for peer in peers]
    call, ended = Running(), trio.Event()

    async def work(scope: trio.CancelScope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    sessions[0].calls[1] = call
    sessions[0].start("call", "", work)
    await trio.testing.wait_all_tasks_blocked()
    await h.registry.suspend()
    assert ended.is_set()
    assert call.told == ["session ended"]
    assert [peer.closing for peer in peers] == [0, 0]
    h.assert_counts(0)
    assert await house().find(sessions[0]) is not None


async def test_sessions_go_on_with_the_service_that_replaced_theirs(house: Houses) -> None:
    h, new = house(), Upstream()
    moved, gone, same = [await h.open(path=path) for path in ("/moved", "/gone", "/same")]
    targets = {"/moved": new, "/same": h.upstream}
    await h.registry.move(targets.get)
    assert [session.upstream for session in (moved, gone, same)] == [new, h.upstream, h.upstream]
    assert (new.usage.count, h.upstream.usage.count) == (1, 2)
    await h.registry.move(targets.get)
    assert (new.usage.count, h.upstream.usage.count) == (1, 2)
    for session in (moved, gone, same):
        await h.registry.end(session)
    assert (new.usage.count, h.upstream.usage.count) == (0, 0)


async def test_no_session_waits_for_another_s_farewell_to_its_old_service(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h, new = house(), Upstream()
    sessions = [await h.open(peer=Peer(farewell=2.0)) for _ in range(5)]
    await h.registry.move(lambda path: new)
    assert trio.current_time() - sessions[0].created == pytest.approx(2.0)
    assert new.usage.count == 5


async def test_a_session_that_is_put_away_while_others_move_does_not_move(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h, new = house(most=CLOSERS + 1), Upstream()
    sessions = [await h.open(peer=Peer(farewell=2.0)) for _ in range(CLOSERS + 1)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.move, lambda path: new)
        await trio.sleep(1)
        [waiting] = [session for session in sessions if session.upstream is h.upstream]
        await h.registry.end(waiting)
    assert (new.usage.count, h.upstream.usage.count) == (CLOSERS, 0)


async def test_a_service_is_unused_when_its_last_session_ends(house: Houses) -> None:
    h, other = house(), Upstream()
    peer = h.healing()
    peer.upstream = other
    session = await h.registry.open(ALICE, "/mcp", peer, "2025-11-25", INITIALIZE)
    with trio.move_on_after(0.01) as waited:
        await other.usage.wait_unused()
    assert waited.cancelled_caught
    await h.registry.end(session)
    with trio.fail_after(1):
        await other.usage.wait_unused()
