"""The nursery tree as data: who runs, under whom, and since when."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

MOST_NODES = 1000
"""A snapshot shows this many nodes; it is read by people, and must not grow with the number of clients."""


class Node:
    """One running thing: a listener, a connection, a call, a session, a process.

    A context manager: it hangs itself under its parent on entry and takes itself off on exit. Its owner is
    the task that enters it, around the work, so the tree is right under cancellation as well. The root has no
    parent. `label` may be changed at any time; it is shown to administrators, so it never holds a secret.
    """

    __slots__ = ("_children", "kind", "label", "parent", "since")

    def __init__(self, kind: str, label: str = "", *, parent: Node | None, now: float) -> None:
        """`now` is the caller's `trio.current_time()`, in seconds."""
        self.kind = kind
        self.label = label
        self.parent = parent
        self.since = now
        self._children: dict[Node, None] | None = None  # most nodes are leaves, and calls make one each

    def __enter__(self) -> Self:
        if self.parent is not None:
            self.parent._attach(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        parent = self.parent
        if parent is None:
            return
        parent._detach(self)
        for child in self.children:  # outlived its owner: a defect, which must stay visible
            child.parent = parent
            parent._attach(child)

    def __repr__(self) -> str:
        return f"<Node {self.kind} {self.label!r} with {len(self.children)} children>"

    @property
    def children(self) -> tuple[Node, ...]:
        """Those directly under this one, oldest first."""
        return tuple(self._children or ())

    def count(self) -> Counter[str]:
        """How many nodes of each kind there are, this one included. After a storm it is as it was before."""
        return Counter(node.kind for node in self._walk())

    def snapshot(self, now: float) -> dict[str, Any]:
        """This node and what is under it, fit for JSON: `kind`, `label`, `age` in seconds, `children`.

        At most `MOST_NODES` nodes are shown. The places are dealt out in turn, one child of each parent at a
        time, so that ten thousand connections do not hide one process. What is left out is counted by kind in
        `truncated`.
        """
        top = self._facts(now)
        shown = Counter({self.kind: 1})
        turns = deque([(iter(self.children), top["children"])])
        while turns and shown.total() < MOST_NODES:
            rest, into = turns.popleft()
            child = next(rest, None)
            if child is None:
                continue
            facts = child._facts(now)
            into.append(facts)
            shown[child.kind] += 1
            turns.append((rest, into))
            turns.append((iter(child.children), facts["children"]))
        top["truncated"] = dict(self.count() - shown)
        return top

    def _facts(self, now: float) -> dict[str, Any]:
        return {"kind": self.kind, "label": self.label, "age": round(now - self.since, 3), "children": []}

    def _walk(self) -> Iterator[Node]:
        waiting: list[Node] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(node.children)

    def _attach(self, child: Node) -> None:
        if self._children is None:
            self._children = {}
        self._children[child] = None

    def _detach(self, child: Node) -> None:
        if self._children is not None:
            self._children.pop(child, None)
