"""What a modern request says about its client, and what becomes of it on its way to a legacy server."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd import __version__
from gatewayd.bridge.modern_client.client_request import (
    bridgeable,
    initialize_params,
    lowered,
    read_request,
)
from gatewayd.protocol.codes import INVALID_PARAMS
from gatewayd.protocol.jsonrpc import Request, RpcError
from gatewayd.protocol.versions import LEGACY, LOG_LEVELS, META_CLIENT_INFO
from tests.bridge.modern_client.legacy_upstream import dumped, loaded, modern


def test_what_the_bridge_has_to_know() -> None:
    request = read_request(modern(7, "tools/call", {"name": "x"}, {"roots": {}}, log="notice", token=True))
    assert (request.id, request.method, request.progress, request.log_level) == (7, "tools/call", True, "notice")
    assert loaded(request.capabilities) == {"roots": {}}
    silent = read_request(modern(7, "tools/list"))
    assert (silent.progress, silent.log_level) == (False, None)


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_every_level_of_the_protocol_is_one(level: str) -> None:
    assert read_request(modern(1, "tools/list", log=level)).log_level == level


@pytest.mark.parametrize("level", ["loud", "", "INFO", 3, None])
def test_another_log_level_is_refused(level: object) -> None:
    with pytest.raises(RpcError) as refused:
        read_request(modern(1, "tools/list", log=level))
    assert refused.value.code == INVALID_PARAMS


def low(request: Request, version: str = LEGACY[0]) -> dict[str, Any]:
    return loaded(lowered(read_request(request), version).params)


def test_the_envelope_stays_behind_and_the_rest_goes_on() -> None:
    traced = {"traceparent": "00-1-2-01", "com.example/x": [1], META_CLIENT_INFO: {"name": "c"}}
    request = modern(
        9, "tools/call", {"name": "x", "arguments": {"n": 1}, "vendor": 1}, token=True, log="info", **traced
    )
    assert low(request) == {
        "name": "x",
        "arguments": {"n": 1},
        "vendor": 1,
        "_meta": {"progressToken": 9, "traceparent": "00-1-2-01", "com.example/x": [1]},
    }
    assert lowered(read_request(request), LEGACY[0]).id == 9


def test_nothing_is_left_of_an_envelope_that_held_nothing_else() -> None:
    assert low(modern(1, "tools/list", {"cursor": "c"})) == {"cursor": "c"}


def test_numbers_keep_every_digit() -> None:
    raw = b'{"name":"x","arguments":{"n":1.0000000000000000001},"_meta":{}}'
    assert b"1.0000000000000000001" in (lowered(read_request(Request(1, "tools/call", raw)), LEGACY[0]).params or b"")


def test_rounds_of_input_and_tasks_are_not_for_legacy_servers() -> None:
    rounds = {"requestState": "s", "inputResponses": {}, "task": {"ttl": 1}}
    assert low(modern(1, "tools/call", {"name": "x", **rounds})) == {"name": "x"}
    assert low(modern(1, "prompts/get", {"name": "x", "task": 1})) == {"name": "x", "task": 1}


@pytest.mark.parametrize(("version", "kept"), list(zip(LEGACY, [True, True, False, False], strict=True)))
def test_the_context_of_a_completion_needs_a_revision_that_has_it(version: str, kept: bool) -> None:
    request = modern(1, "completion/complete", {"ref": {}, "context": {"arguments": {}}})
    assert ("context" in low(request, version)) is kept
    assert "context" in low(modern(1, "tools/call", {"name": "x", "context": 1}), version)


@pytest.mark.parametrize(
    ("declared", "bridged"),
    [
        ({}, {}),
        ({"elicitation": {}}, {"elicitation": {}}),
        ({"elicitation": {"form": {}}}, {"elicitation": {}}),
        ({"elicitation": {"form": {}, "url": {}}}, {"elicitation": {"form": {}, "url": {}}}),
        ({"elicitation": {"url": {}, "x": {}}}, {"elicitation": {"url": {}}}),
        ({"elicitation": 3}, {"elicitation": {}}),
        ({"sampling": {"tools": {}, "context": {}, "x": {}}}, {"sampling": {"context": {}, "tools": {}}}),
        ({"sampling": {}}, {"sampling": {}}),
        ({"roots": {"listChanged": True}}, {"roots": {}}),
        ({"tasks": {"list": {}}, "extensions": {"a/b": {}}, "experimental": {"x": {}}}, {}),
    ],
)
def test_capabilities_are_what_both_declared_and_bridgeable(declared: Any, bridged: Any) -> None:
    assert loaded(bridgeable(dumped(declared))) == bridged


def test_clients_that_can_do_the_same_are_the_same() -> None:
    one = {"roots": {"listChanged": True}, "elicitation": {"form": {"x": 1}}}
    other: dict[str, Any] = {"elicitation": {}, "tasks": {}, "roots": {}}
    assert bridgeable(dumped(one)) == bridgeable(dumped(other))
    assert bridgeable(b"[]") == b"{}"


def test_what_a_session_is_opened_with() -> None:
    assert loaded(initialize_params(b'{"roots":{}}')) == {
        "protocolVersion": LEGACY[0],
        "capabilities": {"roots": {}},
        "clientInfo": {"name": "gatewayd", "version": __version__},
    }
