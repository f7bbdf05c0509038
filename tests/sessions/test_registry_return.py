"""Sessions that this process has put away, or has never seen: which of them come back."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.auth.principal import ANONYMOUS
from gatewayd.sessions import ledger as ledger_module
from gatewayd.sessions.registry import SWEEP
from gatewayd.sessions.session import Session
from tests.sessions.fakes import ALICE, BOB, INITIALIZE, Houses, Peer


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
    monkeypatch.setattr(ledger_module, "MOST_ENDED", 2)
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
