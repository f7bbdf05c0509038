"""The live tree: resting shape, bounded snapshots, and nothing that hides a leak."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest

from gatewayd.observe.tree import MOST_NODES, Node


def test_a_node_is_shown_while_it_is_entered() -> None:
    root = Node("daemon", parent=None, now=10.0)
    with root, Node("listener", "http://127.0.0.1:8080", parent=root, now=11.0) as listener:
        with Node("connection", parent=listener, now=12.5) as connection:
            connection.label = "127.0.0.1:5000"
            assert root.snapshot(13.0) == {
                "kind": "daemon",
                "label": "",
                "age": 3.0,
                "children": [
                    {
                        "kind": "listener",
                        "label": "http://127.0.0.1:8080",
                        "age": 2.0,
                        "children": [{"kind": "connection", "label": "127.0.0.1:5000", "age": 0.5, "children": []}],
                    }
                ],
                "truncated": {},
            }
        assert root.count() == Counter(daemon=1, listener=1)
    assert root.count() == Counter(daemon=1)


def test_a_node_leaves_also_when_its_work_fails() -> None:
    root = Node("daemon", parent=None, now=0)
    with pytest.raises(RuntimeError), Node("call", parent=root, now=0):
        raise RuntimeError
    assert root.count() == Counter(daemon=1)


def test_children_keep_their_order_of_arrival() -> None:
    root = Node("daemon", parent=None, now=0)
    with ExitStack() as stack:
        nodes = [stack.enter_context(Node("call", str(n), parent=root, now=0)) for n in range(5)]
        nodes[1].__exit__(None, None, None)
        assert [child.label for child in root.children] == ["0", "2", "3", "4"]


def test_what_outlives_its_owner_stays_visible_and_can_still_leave() -> None:
    root = Node("daemon", parent=None, now=0)
    with Node("connection", parent=root, now=0) as connection:
        call = Node("call", parent=connection, now=0).__enter__()
    assert root.count() == Counter(daemon=1, call=1)
    call.__exit__(None, None, None)
    assert root.count() == Counter(daemon=1)


def test_leaving_twice_does_no_harm() -> None:
    root = Node("daemon", parent=None, now=0)
    node = Node("call", parent=root, now=0)
    node.__exit__(None, None, None)
    assert root.count() == Counter(daemon=1)


def test_a_snapshot_is_bounded_and_counts_what_it_leaves_out() -> None:
    root = Node("daemon", parent=None, now=0)
    with ExitStack() as stack:
        listeners = stack.enter_context(Node("listeners", parent=root, now=0))
        upstreams = stack.enter_context(Node("upstreams", parent=root, now=0))
        for _ in range(3000):
            connection = stack.enter_context(Node("connection", parent=listeners, now=0))
            stack.enter_context(Node("call", parent=connection, now=0))
        stack.enter_context(Node("process", "files", parent=upstreams, now=0))
        shown = root.snapshot(1.0)
        truncated = shown["truncated"]
        assert _size(shown) == MOST_NODES
        assert truncated["connection"] + truncated["call"] == root.count().total() - MOST_NODES
        assert "process" not in truncated
        assert shown["children"][1]["children"][0]["label"] == "files"


def test_a_repr_tells_what_it_is() -> None:
    root = Node("daemon", "main", parent=None, now=0)
    with Node("call", parent=root, now=0):
        assert repr(root) == "<Node daemon 'main' with 1 children>"


def _size(facts: dict[str, object]) -> int:
    children = facts["children"]
    assert isinstance(children, list)
    return 1 + sum(_size(child) for child in children)
