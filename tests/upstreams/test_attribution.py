from __future__ import annotations

import pytest

from gatewayd.protocol.jsonrpc import Notification
from gatewayd.upstreams.attribution import ABANDONED, Abandoned, cancelled, culprit, progress_token, subscription


@pytest.mark.parametrize(
    ("params", "token"),
    [
        (b'{"progressToken":7}', 7),
        (b'{"progressToken":"7"}', 7),
        (b'{"progressToken":"seven"}', None),
        (b'{"progressToken":""}', None),
        (b'{"progressToken":"\xd9\xa7"}', None),
        (b'{"progressToken":"' + b"7" * 20 + b'"}', None),
        (b'{"progressToken":7.0}', None),
        (b'{"progressToken":true}', None),
        (b'{"progressToken":7,"progressToken":8}', None),
        (b"{}", None),
        (None, None),
    ],
)
def test_progress(params: bytes | None, token: int | None) -> None:
    assert progress_token(Notification("notifications/progress", params)) == token


@pytest.mark.parametrize(
    ("params", "ident"),
    [
        (b'{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}', 7),
        (b'{"_meta":{"io.modelcontextprotocol/subscriptionId":"7"}}', 7),
        (b'{"_meta":{}}', None),
        (b'{"_meta":[]}', None),
        (b"{}", None),
        (None, None),
    ],
)
def test_subscription(params: bytes | None, ident: int | None) -> None:
    assert subscription(Notification("notifications/tools/list_changed", params)) == ident


def test_cancelled_ids_keep_their_type() -> None:
    assert cancelled(Notification("notifications/cancelled", b'{"requestId":7}')) == 7
    assert cancelled(Notification("notifications/cancelled", b'{"requestId":"7"}')) == "7"
    assert cancelled(Notification("notifications/cancelled")) is None


@pytest.mark.parametrize(
    ("waiting_since", "found"),
    [
        ({}, None),
        ({"a": None}, "a"),
        ({"a": None, "b": None}, None),
        ({"a": 1.0, "b": None}, "b"),
        ({"a": 1.0, "b": None, "c": None}, None),
        ({"a": 1.0}, "a"),
        ({"a": 1.0, "b": 10.0}, "b"),
        ({"a": 9.95, "b": 10.0}, None),
        ({"a": 1.0, "b": 2.0}, None),
    ],
)
def test_who_has_asked(waiting_since: dict[str, float | None], found: str | None) -> None:
    assert culprit(waiting_since.items(), now=10.01) == found


def test_an_abandoned_call_counts_until_it_is_answered() -> None:
    abandoned = Abandoned()
    abandoned.add(1, "bob")
    abandoned.add("1", "alice")
    abandoned.answered(2)
    assert abandoned.principals() == {"alice", "bob"}
    abandoned.answered(1)
    assert abandoned.principals() == {"alice"}
    abandoned.answered("1")
    assert abandoned.principals() == set()


def test_of_more_abandoned_calls_than_can_be_told_apart_the_principals_are_never_forgotten() -> None:
    abandoned = Abandoned()
    for number, key in enumerate(("alice", "bob", "carol")):
        abandoned.add(number, key)
    for number in range(10, 10 + ABANDONED):
        abandoned.add(number, "dave")
    for number in range(10 + ABANDONED):
        abandoned.answered(number)
    assert abandoned.principals() == {"alice", "bob"}  # enough to trust nobody
