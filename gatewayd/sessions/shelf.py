"""What is remembered of sessions, within bounds: those that began first are forgotten first."""

from __future__ import annotations

import heapq
import math

OVERHEAD = 250
"""Bytes that remembering a session costs beside what is remembered."""
SLACK = 100
"""Dropped sessions whose age is known for no use."""


class Shelf:
    """Something of each session, by its nonce, within so many bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.forgotten = -math.inf
        """What began before was forgotten since the last `cut`."""
        self._items: dict[bytes, tuple[float, bytes]] = {}
        self._ages: list[tuple[float, bytes]] = []
        """A heap; what was dropped is still in it."""

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, nonce: bytes) -> bool:
        return nonce in self._items

    def get(self, nonce: bytes) -> bytes | None:
        """What is remembered of a session."""
        known = self._items.get(nonce)
        return None if known is None else known[1]

    def created(self, nonce: bytes) -> float:
        """When a session began that is remembered."""
        return self._items[nonce][0]

    def put(self, nonce: bytes, created: float, content: bytes = b"") -> None:
        """Remember something, in place of what was remembered of that session."""
        known = self._items.get(nonce)
        if known is None:
            heapq.heappush(self._ages, (created, nonce))
            self.taken += OVERHEAD + len(content)
        else:
            created = known[0]
            self.taken += len(content) - len(known[1])
        self._items[nonce] = (created, content)
        while self.taken > self.most:
            self._forget_oldest()

    def drop(self, nonce: bytes) -> None:
        """Forget a session that nothing is put for any more."""
        known = self._items.pop(nonce, None)
        if known is not None:
            self.taken -= OVERHEAD + len(known[1])
            if len(self._ages) > 2 * len(self._items) + SLACK:
                self._ages = sorted((created, other) for other, (created, _) in self._items.items())

    def expire(self, before: float) -> None:
        """Forget all sessions that began before that time."""
        while self._ages and self._ages[0][0] < before:
            self._forget_oldest()
            self.forgotten = max(self.forgotten, before)

    def cut(self) -> float:
        """Have somebody else forget what was forgotten here: all that began before the time that is returned."""
        before, self.forgotten = self.forgotten, -math.inf
        return before

    def uncut(self, before: float) -> None:
        """It could not be done."""
        self.forgotten = max(self.forgotten, before)

    def _forget_oldest(self) -> None:
        created, nonce = heapq.heappop(self._ages)
        if nonce in self._items:
            self.drop(nonce)
            self.forgotten = max(self.forgotten, created)
