"""What sealed ids cannot say: what a later process knows of a session all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from gatewayd.auth.keychain import Keychain
from gatewayd.protocol.jsonrpc import Request
from gatewayd.sessions.ledger import Ledger, open_ledger
from gatewayd.sessions.ledger_file import open_file
from gatewayd.sessions.registry import CORRECTION, SWEEP
from gatewayd.sessions.session import Session
from gatewayd.upstreams.told import Told
from tests.sessions.fakes import EPOCH, KEY, Houses, Peer, Wall

TOLD = Told("debug", ("a:1",))


@pytest.fixture
def ledger() -> Ledger:
    """One that outlives every house."""
    return Ledger(Keychain([KEY]))


def tell(session: Session) -> None:
    """Have the client tell its server all of `TOLD`, and the server agree."""
    session.peer.remember(Request(1, "logging/setLevel", b'{"level":"debug"}'))
    session.peer.remember(Request(2, "resources/subscribe", b'{"uri":"a:1"}'))


async def test_a_session_that_has_ended_is_unknown_to_later_processes(
    house: Houses, ledger: Ledger, autojump_clock: trio.testing.MockClock
) -> None:
    before = house(idle=10.0, ledger=ledger)
    deleted, revoked, expired = [await before.open() for _ in range(3)]
    await before.registry.end(deleted)
    await before.registry.end_where(lambda session: session is revoked)
    with trio.move_on_after(11 + SWEEP):
        await before.registry.expire()
    kept = await before.open()
    await before.registry.suspend()
    after = house(ledger=ledger)
    assert [await after.find(session) for session in (deleted, revoked, expired)] == [None, None, None]
    assert await after.find(kept) is not None


async def test_what_a_session_was_told_is_known_to_later_processes(house: Houses, ledger: Ledger) -> None:
    before, after = house(ledger=ledger), house(ledger=ledger)
    session, other = await before.open(), await before.open()
    tell(session)
    again, same = await after.find(session), await after.find(other)
    assert again is not None
    assert same is not None
    assert again.peer.told == TOLD
    assert same.peer.told == Told()
    again.peer.remember(Request(3, "resources/unsubscribe", b'{"uri":"a:1"}'))
    later = await house(ledger=ledger).find(session)
    assert later is not None
    assert later.peer.told == Told("debug")


async def test_and_after_it_was_put_away(house: Houses) -> None:
    h = house(most=1)
    session = await h.open(peer=Peer(session="upstream-1"))
    tell(session)
    await h.open()
    again = await h.find(session)
    assert again is not None
    assert again is not session
    assert again.peer.told == TOLD


async def test_sessions_that_were_told_nothing_take_no_room(house: Houses, ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "session.ledger"
    async with open_ledger(path, Keychain([KEY])) as kept:
        h = house(ledger=kept)
        for _ in range(10):
            session = await h.open()
            session.peer.remember(Request(1, "tools/list", None))
    file, rows = open_file(path)
    file.close()
    assert rows == []


async def test_nothing_is_remembered_for_longer_than_ids_live(
    house: Houses, ledger: Ledger, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(idle=10_000.0, ttl=100.0, ledger=ledger)
    session, ended = await h.open(), await h.open()
    tell(session)
    await h.registry.end(ended)
    with trio.move_on_after(CORRECTION + 50.0):
        await h.registry.expire()
    assert ledger.ended(ended.memo.nonce)
    with trio.move_on_after(100.0):
        await h.registry.expire()
    assert not ledger.ended(ended.memo.nonce)
    assert ledger.told(session.memo.nonce) == Told()
    assert await h.find(ended) is None


async def test_a_clock_that_is_put_back_brings_nothing_back(
    house: Houses, ledger: Ledger, autojump_clock: trio.testing.MockClock
) -> None:
    wall = Wall()
    h = house(ttl=100.0, wall=wall, ledger=ledger)
    ended = await h.open()
    await h.registry.end(ended)
    wall.ahead = EPOCH + 1000.0
    with trio.move_on_after(2 * SWEEP):
        await h.registry.expire()
    wall.ahead = EPOCH
    assert await h.find(ended) is None


async def test_a_longer_life_brings_nothing_back(
    house: Houses, ledger: Ledger, autojump_clock: trio.testing.MockClock
) -> None:
    h = house(ttl=100.0, ledger=ledger)
    ended = await h.open()
    await h.registry.end(ended)
    with trio.move_on_after(50.0):
        await h.registry.expire()
    longer = house(ttl=100_000.0, ledger=ledger)
    with trio.move_on_after(1000.0):
        await longer.registry.expire()
    assert await longer.find(ended) is None
