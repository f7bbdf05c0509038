"""Streams to try things on."""

from __future__ import annotations

from collections.abc import Hashable

from gatewayd.sessions.budget import Budget
from gatewayd.sessions.journal import OVERHEAD, Journal, Store

TAG, LIFE = "0123abcd", "89ef4567"
PLENTY = 1_000_000
EVENT = b"x" * 100
COST = len(EVENT) + OVERHEAD


def new_store(
    most: int = PLENTY, budget: Budget | None = None, tag: str = TAG, life: str = LIFE, owner: Hashable = None
) -> Store:
    return Store(tag, life, most, Budget(PLENTY) if budget is None else budget, owner)


def fill(journal: Journal, events: int) -> None:
    for _ in range(events):
        journal.add(EVENT)


async def read(journal: Journal, follower: object, after: int, events: int) -> int:
    """Carry so many events to the client; returns the number of the last one."""
    for _ in range(events):
        event = await journal.next(follower, after)
        assert event is not None
        after, _ = event
        journal.mark_sent(after)
    return after
