"""Answers of legacy servers, as modern clients get them."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.bridge.modern_client.client_request import read_request
from gatewayd.bridge.modern_client.upgrade import (
    Greeting,
    discovery,
    read_greeting,
    upgraded_failure,
    upgraded_result,
)
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure
from gatewayd.protocol.jsontext import JsonError
from gatewayd.protocol.versions import CACHEABLE, LEGACY, META_SERVER_INFO, SUPPORTED
from tests.bridge.modern_client.legacy_upstream import CAPABILITIES, INFO, dumped, loaded, modern

SERVER = {META_SERVER_INFO: INFO}


def greeting(**parts: Any) -> Greeting:
    told = {"capabilities": CAPABILITIES, "serverInfo": INFO, **parts}
    return read_greeting(dumped(told), LEGACY[0])


def test_discovery_says_what_initialize_said() -> None:
    told = loaded(discovery(greeting(instructions="Be kind."), stream=True))
    assert told == {
        "supportedVersions": list(SUPPORTED),
        "capabilities": {name: value for name, value in CAPABILITIES.items() if name != "tasks"},
        "instructions": "Be kind.",
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": SERVER,
    }


def test_without_a_stream_nobody_is_told_to_wait_for_news() -> None:
    told = loaded(discovery(greeting(capabilities={**CAPABILITIES, "extensions": {"a/b": {}}}), stream=False))
    assert told["capabilities"] == {"tools": {}, "prompts": {}, "resources": {}, "logging": {}}


@pytest.mark.parametrize("broken", [{"capabilities": [], "serverInfo": "x", "instructions": 3}, []])
def test_a_greeting_that_says_nothing(broken: Any) -> None:
    told = loaded(discovery(read_greeting(dumped(broken), LEGACY[0]), stream=True))
    assert told.keys() == {"supportedVersions", "capabilities", "resultType", "ttlMs", "cacheScope"}
    assert told["capabilities"] == {}


def test_what_a_server_offers() -> None:
    greeted = greeting()
    assert greeted.offers("tools")
    assert greeted.offers("tools", "listChanged")
    assert not greeted.offers("completions")
    assert not greeted.offers("completions", "x")
    assert not greeted.offers("logging", "x")
    assert not greeting(capabilities={"tools": {"listChanged": 1}}).offers("tools", "listChanged")


def test_a_result_is_complete_and_says_whose_it_is() -> None:
    raw = b'{"content":[{"n":1.00}],"_meta":{"a/b":1},"resultType":"input_required","x":null}'
    upgraded = upgraded_result("tools/call", raw, greeting())
    assert b'[{"n":1.00}]' in upgraded
    assert loaded(upgraded) == {
        "content": [{"n": 1.0}],
        "_meta": {"a/b": 1, **SERVER},
        "resultType": "complete",
        "x": None,
    }


@pytest.mark.parametrize("method", sorted(CACHEABLE))
def test_results_that_may_be_kept_say_that_they_are_stale_and_private(method: str) -> None:
    upgraded = loaded(upgraded_result(method, b'{"ttlMs":9,"_meta":[]}', greeting()))
    assert upgraded == {"ttlMs": 0, "cacheScope": "private", "resultType": "complete", "_meta": SERVER}


def test_a_result_that_says_something_twice_is_none() -> None:
    with pytest.raises(JsonError):
        upgraded_result("tools/call", b'{"a":1,"a":2}', greeting())
    with pytest.raises(JsonError):
        upgraded_result("tools/list", b'{"tools":3}', greeting())


def test_tools_that_a_modern_client_can_call() -> None:
    plain = b'{"name":"plain","inputSchema":{"type":"object","x":1.00},"vendor":true}'
    mirrored = {"type": "object", "properties": {"r": {"type": "string", "x-mcp-header": "R"}}}
    tools = [
        plain,
        dumped({"name": "a", "inputSchema": mirrored, "execution": {"taskSupport": "optional"}}),
        dumped({"name": "c", "inputSchema": {}, "execution": {"taskSupport": "required"}}),
        dumped({"name": "d", "execution": 3}),
        b'{"name":"e","name":"f"}',
        b"3",
        dumped({"name": "g", "execution": {}}),
    ]
    raw = b'{"tools":[%b],"nextCursor":""}' % b",".join(tools)
    upgraded = upgraded_result("tools/list", raw, greeting())
    assert plain in upgraded
    told = loaded(upgraded)
    assert [tool["name"] for tool in told["tools"]] == ["plain", "a", "g"]
    assert all("execution" not in tool for tool in told["tools"])
    assert told["nextCursor"] == ""
    assert "tools" not in loaded(upgraded_result("tools/list", b"{}", greeting()))


def failure(code: int, data: object = None, method: str = "resources/read") -> tuple[int, Any]:
    request = read_request(modern(5, method, {"uri": "file:///x"}))
    upgraded = upgraded_failure(Failure(1, code, "m", None if data is None else dumped(data)), request)
    assert (upgraded.id, upgraded.message) == (5, "m")
    return upgraded.code, None if upgraded.data is None else loaded(upgraded.data)


def test_a_resource_that_is_not_there_has_another_code_and_is_named() -> None:
    assert failure(-32002) == (INVALID_PARAMS, {"uri": "file:///x"})
    assert failure(-32002, {"uri": "file:///y", "why": 1}) == (INVALID_PARAMS, {"uri": "file:///y", "why": 1})
    assert failure(-32002, "gone") == (INVALID_PARAMS, {"uri": "file:///x"})
    assert failure(-32002, {"a": 1}, "prompts/get") == (INVALID_PARAMS, {"a": 1})


@pytest.mark.parametrize("code", [-32020, -32021, -32022, -32042, -32099])
def test_reserved_codes_would_mean_something_that_the_server_does_not_know(code: int) -> None:
    assert failure(code, {"a": 1}) == (INTERNAL_ERROR, {"a": 1})


@pytest.mark.parametrize("code", [METHOD_NOT_FOUND, INVALID_PARAMS, -32000, -32019, -32100, 7])
def test_other_codes_go_through(code: int) -> None:
    assert failure(code) == (code, None)
