"""What a request state says, and which requests are the same call."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.bridge.modern_client.client_request import read_request
from gatewayd.bridge.modern_client.states import State, bound_to, digest, pack, unpack
from gatewayd.protocol.jsonrpc import Request
from tests.bridge.modern_client.legacy_upstream import modern


def test_a_state_is_read_as_it_was_written() -> None:
    state = State("here", "ticket", "abc", 12.5)
    assert unpack(pack(state)) == state


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1,2,3,4]", b'["a","b","c"]', b"\xff", b'["\xff","b","c",1]'])
def test_anything_else_is_none(payload: bytes) -> None:
    assert unpack(payload) is None


def test_no_principal_and_service_are_bound_like_others() -> None:
    assert bound_to("a", "bc") != bound_to("ab", "c")
    assert bound_to("1:a", "b") != bound_to("1", ":ab")
    assert bound_to("a", "b") == bound_to("a", "b")


def of(params: dict[str, Any], method: str = "tools/call", **meta: Any) -> str:
    return digest(read_request(modern(1, method, params, **meta)))


def test_a_retry_is_the_same_call() -> None:
    call = of({"name": "x", "arguments": {"a": 1}})
    assert of({"arguments": {"a": 1}, "name": "x", "requestState": "s", "inputResponses": {"a": {}}}) == call
    assert of({"name": "x", "arguments": {"a": 1}}, token=True, log="info") == call
    spaced = Request(1, "tools/call", b'{ "name": "x",\n "arguments": {"a" : 1 }, "_meta": {} }')
    assert digest(read_request(spaced)) == call


@pytest.mark.parametrize(
    ("params", "method"),
    [
        ({"name": "y", "arguments": {"a": 1}}, "tools/call"),
        ({"name": "x", "arguments": {"a": 2}}, "tools/call"),
        ({"name": "x", "arguments": {"a": 1.0}}, "tools/call"),
        ({"name": "x"}, "tools/call"),
        ({"name": "x", "arguments": {"a": 1}, "more": 1}, "tools/call"),
        ({"name": "x", "arguments": {"a": 1}}, "prompts/get"),
    ],
)
def test_another_call_is_not(params: dict[str, Any], method: str) -> None:
    assert of(params, method) != of({"name": "x", "arguments": {"a": 1}})
