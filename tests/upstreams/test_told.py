"""What is remembered of what a client told its server, as values."""

from __future__ import annotations

import itertools
import json

import pytest

from gatewayd.protocol.jsonrpc import Request
from gatewayd.upstreams.told import MOST_SUBSCRIPTIONS, MOST_URI_BYTES, SET_LEVEL, SUBSCRIBE, UNSUBSCRIBE, Told


def said(method: str, **params: object) -> Request:
    return Request(1, method, json.dumps(params).encode())


def test_the_last_level_and_what_is_still_subscribed_to() -> None:
    told = Told()
    for request in (
        said(SET_LEVEL, level="error"),
        said(SUBSCRIBE, uri="a:1"),
        said(SUBSCRIBE, uri="a:2"),
        said(SET_LEVEL, level="debug"),
        said(SUBSCRIBE, uri="a:3"),
        said(UNSUBSCRIBE, uri="a:2"),
        said(SUBSCRIBE, uri="a:1"),
        said("tools/call", name="x"),
    ):
        told = told.after(request)
    assert told == Told("debug", ("a:3", "a:1"))
    again = told.again(itertools.count(7))
    assert again == [
        Request(7, SET_LEVEL, b'{"level":"debug"}'),
        Request(8, SUBSCRIBE, b'{"uri":"a:3"}'),
        Request(9, SUBSCRIBE, b'{"uri":"a:1"}'),
    ]


@pytest.mark.parametrize(
    "request_",
    [
        Request(1, SET_LEVEL, None),
        said(SET_LEVEL, level="loud"),
        said(SET_LEVEL, level=7),
        Request(1, SUBSCRIBE, None),
        Request(1, SUBSCRIBE, b'{"uri":"a","uri":"b"}'),
        said(SUBSCRIBE, uri=""),
        said(SUBSCRIBE, uri="\ud800"),
        said(UNSUBSCRIBE, uri="a:2"),
        said("tools/list", level="debug", uri="a:2"),
    ],
)
def test_what_says_nothing_changes_nothing(request_: Request) -> None:
    told = Told("info", ("a:1",))
    assert told.after(request_) == told


def test_nothing_to_say_is_nothing_said() -> None:
    assert Told().again(itertools.count()) == []


def test_only_so_many_subscriptions() -> None:
    full = Told(None, tuple(f"a:{number}" for number in range(MOST_SUBSCRIPTIONS)))
    assert full.after(said(SUBSCRIBE, uri="b")) == full
    assert full.after(said(SUBSCRIBE, uri="a:0")).uris == (*full.uris[1:], "a:0")


def test_only_so_many_bytes_of_subscriptions() -> None:
    half = "é" * (MOST_URI_BYTES // 4)
    told = Told().after(said(SUBSCRIBE, uri=half)).after(said(SUBSCRIBE, uri="a:" + half))
    assert told.uris == (half,)
    full = told.after(said(SUBSCRIBE, uri="x" * (MOST_URI_BYTES // 2)))
    assert len(full.uris) == 2
    assert full.after(said(SUBSCRIBE, uri="b")) == full
    assert full.after(said(SUBSCRIBE, uri=half)).uris == (*full.uris[1:], half)
    assert full.after(said(UNSUBSCRIBE, uri=half)).after(said(SUBSCRIBE, uri="b")).uris == (full.uris[1], "b")
