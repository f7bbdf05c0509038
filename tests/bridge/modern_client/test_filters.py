"""What a modern client listens for, as values."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.bridge.modern_client.client_request import read_request
from gatewayd.bridge.modern_client.filters import (
    MOST_URIS,
    Filter,
    acknowledgement,
    read_filter,
    tagged,
    updated_uri,
)
from gatewayd.protocol.codes import INVALID_PARAMS, MISSING_CLIENT_CAPABILITY
from gatewayd.protocol.jsonrpc import Notification, RpcError
from gatewayd.protocol.versions import META_SUBSCRIPTION_ID
from tests.bridge.modern_client.legacy_upstream import dumped, loaded, modern


def listened(notifications: Any, capabilities: object = None) -> Filter:
    params = {} if notifications is None else {"notifications": notifications}
    return read_filter(read_request(modern(3, "subscriptions/listen", params, capabilities)))


def test_what_is_wanted() -> None:
    assert listened({}) == Filter()
    wanted = {"toolsListChanged": True, "promptsListChanged": False, "resourcesListChanged": 1, "x": True}
    assert listened(wanted) == Filter(("tools",))
    assert listened({"resourceSubscriptions": ["a", "b", "a"]}) == Filter((), ("a", "b"))
    many = [f"file:///{number}" for number in range(MOST_URIS + 5)]
    assert listened({"resourceSubscriptions": many}).uris == tuple(many[:MOST_URIS])


@pytest.mark.parametrize("wrong", [None, [], 3, {"resourceSubscriptions": 3}, {"resourceSubscriptions": ["a", 1]}])
def test_what_cannot_be_read(wrong: Any) -> None:
    with pytest.raises(RpcError) as refused:
        listened(wrong)
    assert refused.value.code == INVALID_PARAMS


def test_tasks_take_the_extension_and_are_never_honoured() -> None:
    extension: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    none: dict[str, Any] = {}
    for undeclared in (none, {"extensions": none}, {"extensions": 3}):
        with pytest.raises(RpcError) as refused:
            listened({"taskIds": ["t"]}, undeclared)
        assert (refused.value.code, refused.value.status) == (MISSING_CLIENT_CAPABILITY, 400)
        assert loaded(refused.value.data) == {"requiredCapabilities": extension}
    assert listened({"taskIds": ["t"]}, extension) == Filter()


def test_the_acknowledgement_names_what_is_honoured() -> None:
    everything = acknowledgement(Filter(("tools",), ("a",)), 7)
    assert everything.method == "notifications/subscriptions/acknowledged"
    assert loaded(everything.params) == {
        "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a"]},
        "_meta": {META_SUBSCRIPTION_ID: 7},
    }
    assert loaded(acknowledgement(Filter(), 7).params)["notifications"] == {}


def test_frames_are_tagged_and_keep_the_rest() -> None:
    frame = tagged(Notification("x", b'{"uri":"a","_meta":{"a/b":1},"n":1.00}'), 7)
    assert b"1.00" in (frame.params or b"")
    assert loaded(frame.params)["_meta"] == {"a/b": 1, META_SUBSCRIPTION_ID: 7}
    for bare in (None, b"[]"):
        assert loaded(tagged(Notification("x", bare), 7).params) == {"_meta": {META_SUBSCRIPTION_ID: 7}}


def test_only_what_was_asked_for_passes() -> None:
    both = Filter(("tools",), ("file:///a",))
    assert both.passes(Notification("notifications/tools/list_changed"))
    assert not both.passes(Notification("notifications/prompts/list_changed"))
    assert not both.passes(Notification("notifications/message"))
    for uri, passes in (("file:///a", True), ("file:///a/b", True), ("file:///ab", False), (3, False)):
        assert both.passes(Notification("notifications/resources/updated", dumped({"uri": uri}))) is passes


@pytest.mark.parametrize("params", [None, b"{}", b"[]", b'{"uri":3}'])
def test_an_update_of_nothing(params: bytes | None) -> None:
    assert updated_uri(Notification("x", params)) is None
