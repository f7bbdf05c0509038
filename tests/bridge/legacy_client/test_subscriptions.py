"""What a session wants to hear, and what of a stream it gets."""

from __future__ import annotations

import json

import pytest

from gatewayd.bridge.changes import UPDATED
from gatewayd.bridge.legacy_client.envelopes import Promises
from gatewayd.bridge.legacy_client.subscriptions import MOST_URI_BYTES, MOST_URIS, Subscriptions, acknowledged
from gatewayd.protocol.jsonrpc import Notification
from gatewayd.protocol.jsontext import JsonError

ALL = Promises(frozenset({"tools", "prompts", "resources"}), updates=True)


def test_what_is_listened_to_is_what_was_promised_and_subscribed() -> None:
    lists = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    assert json.loads(Subscriptions(ALL).params(()) or b"") == lists
    assert json.loads(Subscriptions(ALL).params({"b", "a"}) or b"") == {**lists, "resourceSubscriptions": ["a", "b"]}
    assert Subscriptions(Promises(frozenset({"prompts"}))).params(()) == b'{"promptsListChanged":true}'
    assert Subscriptions(Promises(updates=True)).params(()) is None


def test_list_changes_have_no_params() -> None:
    changed = Notification("notifications/tools/list_changed", b'{"_meta":{}}')
    assert Subscriptions(ALL).shown(changed) == Notification(changed.method)
    assert Subscriptions(Promises(frozenset({"prompts"}))).shown(changed) is None


@pytest.mark.parametrize("method", ["notifications/progress", "notifications/message", "notifications/cancelled", "x"])
def test_nothing_else_comes_on_the_stream(method: str) -> None:
    assert Subscriptions(ALL, frozenset({"a"})).shown(Notification(method, b'{"uri":"a"}')) is None


@pytest.mark.parametrize(
    ("known", "uri", "shown"),
    [
        ("file:///a", "file:///a", True),
        ("file:///a", "file:///a/b", True),
        ("file:///a", "file:///ab", False),
    ],
)
def test_updates_are_those_of_subscribed_resources_and_of_their_parts(known: str, uri: str, shown: bool) -> None:
    wanted = Subscriptions(ALL, frozenset({known}))
    meta = {"io.modelcontextprotocol/subscriptionId": 3}
    update = Notification(UPDATED, json.dumps({"uri": uri, "x": 1, "_meta": meta}).encode())
    expected = Notification(UPDATED, b'{"uri":"%b","x":1}' % uri.encode()) if shown else None
    assert wanted.shown(update) == expected


@pytest.mark.parametrize(
    "params", [None, b"{}", b'{"uri":7}', b'{"uri":"a","uri":"b"}', b'{"uri":"a","_meta":{"a":1,"a":2}}']
)
def test_updates_that_cannot_be_read_are_dropped(params: bytes | None) -> None:
    assert Subscriptions(ALL, frozenset({"a"})).shown(Notification(UPDATED, params)) is None


def test_whatever_may_have_been_missed_is_told() -> None:
    wanted = Subscriptions(Promises(frozenset({"resources"}), True), frozenset({"b", "a"}))
    assert list(wanted.missed()) == [
        Notification("notifications/resources/list_changed"),
        Notification(UPDATED, b'{"uri":"a"}'),
        Notification(UPDATED, b'{"uri":"b"}'),
    ]


def test_subscriptions_are_bounded_in_number_and_size() -> None:
    assert Subscriptions(ALL, frozenset(map(str, range(MOST_URIS - 1)))).fits("a")
    assert not Subscriptions(ALL, frozenset(map(str, range(MOST_URIS)))).fits("a")
    assert Subscriptions(ALL, frozenset({"é"})).fits("x" * (MOST_URI_BYTES - 2))
    assert not Subscriptions(ALL, frozenset({"é"})).fits("x" * (MOST_URI_BYTES - 1))


def test_an_acknowledgement_names_what_is_honoured() -> None:
    def of(params: bytes | None) -> frozenset[str]:
        return acknowledged(Notification("notifications/subscriptions/acknowledged", params))

    assert of(b'{"notifications":{"resourceSubscriptions":["a","b"]}}') == {"a", "b"}
    assert of(b'{"notifications":{}}') == frozenset()
    assert of(None) == frozenset()
    with pytest.raises(JsonError):
        of(b'{"notifications":7}')
