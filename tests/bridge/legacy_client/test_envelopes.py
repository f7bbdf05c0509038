"""A legacy client, introduced to a modern server, and the other way round."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.bridge.legacy_client.envelopes import (
    Client,
    Promises,
    client_of,
    initialize_result,
    level_of,
    modern_params,
    promises,
)
from gatewayd.protocol.jsonrpc import Request
from gatewayd.protocol.jsontext import JsonError, encode_members, members
from gatewayd.protocol.versions import LEGACY, LOG_LEVELS

V25C, V25B, V25A, V24 = LEGACY
PREFIX = "io.modelcontextprotocol/"
CLIENT = Client(V25C, b'{"roots":{}}', b'{"name":"c","version":"1"}')


def introduced(version: str, capabilities: object, info: object = None) -> Client:
    params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}
    return client_of(Request(1, "initialize", json.dumps(params).encode()))


EVERYTHING = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}, "context": {}, "other": {}, "bad": 1},
    "elicitation": {"form": {}, "url": {}, "other": {}},
    "tasks": {"list": {}},
    "extensions": {"a/b": {}},
    "experimental": {"x": {"y": 1}},
    "other": {},
}


@pytest.mark.parametrize(
    ("version", "more"),
    [
        (V25C, {"sampling": {"tools": {}, "context": {}}, "elicitation": {"form": {}, "url": {}}}),
        (V25B, {"sampling": {}, "elicitation": {}}),
        (V25A, {"sampling": {}}),
        (V24, {"sampling": {}}),
    ],
)
def test_only_what_the_bridge_can_carry_is_declared(version: str, more: dict[str, Any]) -> None:
    client = introduced(version, EVERYTHING)
    assert json.loads(client.capabilities) == {"roots": {}, "experimental": {"x": {"y": 1}}, **more}
    assert client.version == version


@pytest.mark.parametrize("version", LEGACY)
def test_nothing_is_declared_for_a_client_that_declares_nothing(version: str) -> None:
    assert introduced(version, {}).capabilities == b"{}"
    assert introduced(version, {"roots": None, "sampling": True, "elicitation": []}).capabilities == b"{}"
    assert client_of(Request(1, "initialize", b'{"protocolVersion":"%b"}' % version.encode())).capabilities == b"{}"


def test_a_client_says_who_it_is_or_does_not() -> None:
    assert introduced(V25C, {}, {"name": "c", "x": 1}).info == b'{"name": "c", "x": 1}'
    assert introduced(V25C, {}, "c").info is None


@pytest.mark.parametrize(
    "params", [None, b'{"protocolVersion":"2026-07-28"}', b'{"protocolVersion":"2025-11-25","capabilities":7}']
)
def test_an_introduction_that_cannot_be_read_is_refused(params: bytes | None) -> None:
    with pytest.raises(JsonError):
        client_of(Request(1, "initialize", params))


def sent(params: bytes, level: str | None = None, client: Client = CLIENT) -> Any:
    return json.loads(encode_members(modern_params(members(params), client, level, 7)))


def test_every_request_has_the_whole_envelope() -> None:
    assert sent(b'{"name":"a"}', "info") == {
        "name": "a",
        "_meta": {
            PREFIX + "protocolVersion": "2026-07-28",
            PREFIX + "clientCapabilities": {"roots": {}},
            PREFIX + "clientInfo": {"name": "c", "version": "1"},
            PREFIX + "logLevel": "info",
        },
    }
    assert sent(b"{}", client=Client(V24, b"{}")) == {
        "_meta": {PREFIX + "protocolVersion": "2026-07-28", PREFIX + "clientCapabilities": {}}
    }


def test_what_the_client_says_of_itself_stays_but_not_what_is_the_gateways_to_say() -> None:
    meta = {
        "progressToken": 5,
        "traceparent": "00",
        "vendor/x": [1],
        PREFIX + "protocolVersion": "2025-11-25",
        PREFIX + "clientCapabilities": {"sampling": {}},
        PREFIX + "clientInfo": {"name": "other"},
        PREFIX + "logLevel": "debug",
        PREFIX + "related-task": {"taskId": "t"},
    }
    shown = sent(json.dumps({"_meta": meta, "task": {}, "inputResponses": {}, "requestState": "s", "x": 1}).encode())
    assert shown.keys() == {"_meta", "x"}
    assert shown["_meta"] == {
        "progressToken": 7,
        "traceparent": "00",
        "vendor/x": [1],
        PREFIX + "protocolVersion": "2026-07-28",
        PREFIX + "clientCapabilities": {"roots": {}},
        PREFIX + "clientInfo": {"name": "c", "version": "1"},
    }


def test_a_meta_that_is_no_object_is_refused() -> None:
    with pytest.raises(JsonError):
        modern_params({"_meta": b"[]"}, CLIENT, None, 1)


DISCOVERED: dict[str, Any] = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
        "completions": {},
        "extensions": {"a/b": {}},
        "tasks": {},
        "vendor": {"x": 1},
    },
    "instructions": "Be kind.",
    "ttlMs": 0,
    "_meta": {PREFIX + "serverInfo": {"name": "s", "version": "2", "icons": []}},
}


@pytest.mark.parametrize("version", LEGACY)
def test_a_server_is_introduced_in_the_revision_that_was_asked_for(version: str) -> None:
    shown = json.loads(initialize_result(json.dumps(DISCOVERED).encode(), Client(version, b"{}"), "web"))
    capabilities = {
        name: value for name, value in DISCOVERED["capabilities"].items() if name not in {"extensions", "tasks"}
    }
    if version == V24:
        del capabilities["completions"]
    assert shown == {
        "protocolVersion": version,
        "capabilities": capabilities,
        "serverInfo": {"name": "s", "version": "2", "icons": []},
        "instructions": "Be kind.",
    }


@pytest.mark.parametrize("info", [None, 7, {"name": "s"}, {"name": 1, "version": "2"}])
def test_a_server_that_does_not_say_who_it_is_has_the_name_of_the_service(info: object) -> None:
    said = {"capabilities": {}, "instructions": 7, "_meta": {PREFIX + "serverInfo": info}}
    shown = json.loads(initialize_result(json.dumps(said).encode(), CLIENT, "web"))
    assert shown["serverInfo"] == {"name": "web", "version": "unknown"}
    assert "instructions" not in shown
    assert json.loads(initialize_result(b"{}", CLIENT, "web"))["capabilities"] == {}


@pytest.mark.parametrize(
    ("capabilities", "promised"),
    [
        (DISCOVERED["capabilities"], Promises(frozenset({"tools", "resources"}), True)),
        ({"prompts": {"listChanged": True}}, Promises(frozenset({"prompts"}))),
        ({"resources": {"subscribe": True}}, Promises(updates=True)),
        ({"tools": {}, "prompts": {"listChanged": "true"}, "resources": {"subscribe": False}}, Promises()),
        ({"tools": True, "resources": None}, Promises()),
        ({}, Promises()),
    ],
)
def test_what_a_server_promises_to_tell(capabilities: object, promised: Promises) -> None:
    found = promises(json.dumps({"capabilities": capabilities}).encode())
    assert found == promised
    assert found.any is (promised != Promises())
    assert promises(b"{}") == Promises()


def test_log_levels_are_those_of_syslog() -> None:
    for level in LOG_LEVELS:
        assert level_of(Request(1, "logging/setLevel", b'{"level":"%b"}' % level.encode())) == level
    for params in (None, b'{"level":"loud"}', b'{"level":7}', b'{"level":"INFO"}'):
        assert level_of(Request(1, "logging/setLevel", params)) is None
