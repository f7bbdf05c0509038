"""What the events of all sessions may take together, and who has to give way when it is too much."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, Protocol, TypeVar

SLACK: Final = 8
"""Outdated entries that a ranking may hold beside as many as it has items."""

Item = TypeVar("Item")


class Holder(Protocol):
    """What keeps the events of one session."""

    @property
    def taken(self) -> int:
        """Bytes that they take."""
        ...

    def drop_oldest(self) -> bool:
        """Forget the oldest event that may be forgotten, and count it out; False where there is none."""
        ...


class Ranking(Generic[Item]):
    """Things by their size. Every change costs the logarithm of their number."""

    def __init__(self) -> None:
        self._sizes: dict[Item, int] = {}
        self._heap: list[tuple[int, int, Item]] = []
        """Largest first; what has another size by now, or is none of ours any more, is still in it."""
        self._serial = count()

    def put(self, item: Item, size: int) -> None:
        """Have something in it with that size, or with size 0 no longer."""
        if self._sizes.get(item, 0) == size:
            return
        if not size:
            self.drop(item)
            return
        self._sizes[item] = size
        heappush(self._heap, (-size, next(self._serial), item))
        if len(self._heap) > 2 * len(self._sizes) + SLACK:
            self._heap = [(-size, next(self._serial), item) for item, size in self._sizes.items()]
            heapify(self._heap)

    def drop(self, item: Item) -> None:
        """Have something in it no longer."""
        self._sizes.pop(item, None)

    def largest(self) -> Item | None:
        """The largest one; None where there is nothing."""
        while self._heap:
            size, _, item = self._heap[0]
            if self._sizes.get(item) == -size:
                return item
            heappop(self._heap)
        return None


class _Share:
    """What the sessions of one owner take."""

    def __init__(self) -> None:
        self.taken = 0
        self.holders = Ranking[Holder]()
        """Those that may have something to forget."""


class Budget:
    """Bytes that the events of all sessions take together, and how many they may take.

    Sessions belong to owners. When it is too much, the owner that takes the most forgets, of its largest session, the
    oldest event. An owner that takes no more than an equal part never does so for the others: even where theirs cannot
    be forgotten, because connections still have to carry it.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._shares: dict[Hashable, _Share] = {}
        """Of the owners that take anything."""
        self._ranking = Ranking[_Share]()
        """Those that may have something to forget."""

    def count(self, owner: Hashable, holder: Holder, change: int) -> None:
        """A session of that owner takes so many bytes more than before; less, if negative."""
        share = self._shares.setdefault(owner, _Share())
        self.taken += change
        share.taken += change
        share.holders.put(holder, holder.taken)
        self._ranking.put(share, share.taken)
        if not share.taken:
            del self._shares[owner]

    def crowded_by(self, owner: Hashable) -> bool:
        """Whether it is too much, and this owner takes more than its part."""
        share = self._shares.get(owner)
        return share is not None and self._too_much(share)

    def make_room(self, owner: Hashable, holder: Holder) -> None:
        """Have events forgotten until it is not too much, or there is nothing that may be forgotten.

        To be called by a session that may have got something to forget: one that had nothing is not asked again before.
        """
        self.count(owner, holder, 0)
        while (share := self._ranking.largest()) is not None and self._too_much(share):
            largest = share.holders.largest()
            if largest is None:
                self._ranking.drop(share)
            elif not largest.drop_oldest():
                share.holders.drop(largest)

    def _too_much(self, share: _Share) -> bool:
        return self.taken > self.most < share.taken * len(self._shares)
