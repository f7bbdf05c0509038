"""When the time of a session is over, and how many end, stop or move at once."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.routes.table import ClientBounds, SessionLife
from gatewayd.sessions.registry import CLOSERS, SWEEP, Terms, wall_clock
from tests.sessions.fakes import ALICE, BOB, EPOCH, INITIALIZE, Houses, Peer, Running, Upstream

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
    h.registry.behind = targets.get
    await h.registry.move()
    assert [session.upstream for session in (moved, gone, same)] == [new, h.upstream, h.upstream]
    assert (new.usage.count, h.upstream.usage.count) == (1, 2)
    await h.registry.move()
    assert (new.usage.count, h.upstream.usage.count) == (1, 2)
    for session in (moved, gone, same):
        await h.registry.end(session)
    assert (new.usage.count, h.upstream.usage.count) == (0, 0)


async def test_no_session_waits_for_another_s_farewell_to_its_old_service(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h, new = house(), Upstream()
    sessions = [await h.open(peer=Peer(farewell=2.0)) for _ in range(5)]
    h.registry.behind = lambda path: new
    await h.registry.move()
    assert trio.current_time() - sessions[0].created == pytest.approx(2.0)
    assert new.usage.count == 5


async def test_a_session_that_is_put_away_while_others_move_does_not_move(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h, new = house(most=CLOSERS + 1), Upstream()
    sessions = [await h.open(peer=Peer(farewell=2.0)) for _ in range(CLOSERS + 1)]
    h.registry.behind = lambda path: new
    async with trio.open_nursery() as nursery:
        nursery.start_soon(h.registry.move)
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


async def test_a_service_that_closes_leaves_its_sessions_to_what_stands_behind_their_path(house: Houses) -> None:
    h, new = house(), Upstream()
    kept, orphan = await h.open(path="/kept"), await h.open(path="/gone")
    h.registry.behind = {"/kept": new}.get
    await h.registry.leave(h.upstream)
    assert (kept.upstream, kept.closed, orphan.closed) == (new, False, True)
    assert (new.usage.count, h.upstream.usage.count, len(h.registry)) == (1, 0, 1)
