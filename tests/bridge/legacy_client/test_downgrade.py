"""What a modern server says, read by clients of every legacy revision."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.bridge.legacy_client.downgrade import downgraded_content, downgraded_failure, downgraded_result
from gatewayd.protocol.codes import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_VERSION,
)
from gatewayd.protocol.jsonrpc import Failure
from gatewayd.protocol.jsontext import JsonError, members
from gatewayd.protocol.versions import LEGACY

V25C, V25B, V25A, V24 = LEGACY
SERVER_INFO = "io.modelcontextprotocol/serverInfo"


def seen(method: str, version: str, said: dict[str, Any], **more: bool) -> Any:
    return json.loads(downgraded_result(method, version, members(json.dumps(said).encode()), **more))


@pytest.mark.parametrize("version", LEGACY)
@pytest.mark.parametrize("method", ["tools/list", "resources/read", "prompts/list"])
def test_what_only_modern_results_have_is_taken_out(method: str, version: str) -> None:
    said = {
        "resultType": "complete",
        "ttlMs": 5,
        "cacheScope": "public",
        "tools": [],
        "nextCursor": "",
        "vendor": [1],
        "_meta": {SERVER_INFO: {"name": "s"}, "vendor/x": 1},
    }
    assert seen(method, version, said) == {"tools": [], "nextCursor": "", "vendor": [1], "_meta": {"vendor/x": 1}}


def test_members_that_only_look_like_hints_stay() -> None:
    assert seen("tools/call", V25C, {"content": [], "ttlMs": 1}) == {"content": [], "ttlMs": 1}


@pytest.mark.parametrize("meta", [{}, {"a": 1}, None, 7])
def test_a_meta_of_others_stays_as_it_is(meta: object) -> None:
    assert seen("prompts/list", V25C, {"_meta": meta}) == {"_meta": meta}


def test_a_meta_with_nothing_else_goes() -> None:
    assert seen("prompts/list", V25C, {"_meta": {SERVER_INFO: {}}}) == {}


def test_numbers_and_unknown_members_survive_to_the_letter() -> None:
    raw = b'{"resultType":"complete","content":[{"type":"text","text":"\\u0061","x":1.0e-7}],"n":9007199254740993.10}'
    assert downgraded_result("tools/call", V24, members(raw)) == (
        b'{"content":[{"type":"text","text":"\\u0061","x":1.0e-7}],"n":9007199254740993.10}'
    )


@pytest.mark.parametrize("version", LEGACY)
@pytest.mark.parametrize(
    ("schema", "stays"),
    [
        ({"type": "object", "properties": {}}, True),
        ({"type": "array"}, False),
        ({"anyOf": []}, False),
        ({"type": ["object"]}, False),
        (True, False),
    ],
)
def test_output_schemas_that_describe_no_object_are_taken_out(version: str, schema: object, stays: bool) -> None:
    tool = {"name": "a", "title": "A", "icons": [], "inputSchema": {"type": "object"}}
    shown = seen("tools/list", version, {"tools": [{**tool, "outputSchema": schema}, tool]})["tools"]
    assert shown == [{**tool, "outputSchema": schema} if stays else tool, tool]


def test_tools_that_cannot_be_given_their_headers_are_left_out_over_http() -> None:
    def tool(name: str, header: str) -> dict[str, Any]:
        return {"name": name, "inputSchema": {"properties": {"a": {"type": "string", "x-mcp-header": header}}}}

    said = {"tools": [tool("good", "A"), tool("bad", "not a token"), {"name": "plain"}]}
    assert [one["name"] for one in seen("tools/list", V25C, said)["tools"]] == ["good", "bad", "plain"]
    shown = seen("tools/list", V25C, said, strict_headers=True)["tools"]
    assert [one["name"] for one in shown] == ["good", "plain"]


@pytest.mark.parametrize("version", LEGACY)
@pytest.mark.parametrize("value", [[1, "é"], "text", 7, None, True])
def test_structured_content_that_is_no_object_is_dropped(version: str, value: object) -> None:
    block = {"type": "text", "text": "seven"}
    assert seen("tools/call", version, {"content": [block], "structuredContent": value}) == {"content": [block]}
    (only,) = seen("tools/call", version, {"content": [], "structuredContent": value})["content"]
    assert (only["type"], json.loads(only["text"])) == ("text", value)


def test_structured_content_that_is_an_object_stays() -> None:
    said: dict[str, Any] = {"content": [], "structuredContent": {"a": 1}, "isError": True}
    assert seen("tools/call", V25B, said) == said
    assert seen("tools/call", V25B, {}) == {"content": []}


AUDIO = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav", "annotations": {"priority": 1}, "_meta": {"a": 1}}
LINK = {"type": "resource_link", "uri": "file:///a", "name": "a", "annotations": {"priority": 1}}


@pytest.mark.parametrize("version", LEGACY[:-1])
def test_audio_stays_where_it_is_known(version: str) -> None:
    raw = json.dumps(AUDIO).encode()
    assert downgraded_content(raw, version) == raw


def test_audio_is_a_resource_in_the_oldest_revision() -> None:
    assert json.loads(downgraded_content(json.dumps(AUDIO).encode(), V24)) == {
        "type": "resource",
        "resource": {"uri": "attachment:audio", "mimeType": "audio/wav", "blob": "AAAA"},
        "annotations": {"priority": 1},
        "_meta": {"a": 1},
    }
    assert json.loads(downgraded_content(b'{"type":"audio"}', V24))["resource"] == {
        "uri": "attachment:audio",
        "blob": "",
    }


@pytest.mark.parametrize("version", [V25C, V25B])
def test_links_stay_where_they_are_known(version: str) -> None:
    raw = json.dumps(LINK).encode()
    assert downgraded_content(raw, version) == raw


@pytest.mark.parametrize("version", [V25A, V24])
@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "a: file:///a"),
        ({"title": "A file"}, "A file: file:///a"),
        ({"name": 7}, "file:///a"),
        ({"description": "Read it."}, "a: file:///a\nRead it."),
    ],
)
def test_links_are_spelled_out_elsewhere(version: str, more: dict[str, object], text: str) -> None:
    shown = json.loads(downgraded_content(json.dumps({**LINK, **more}).encode(), version))
    assert shown == {"type": "text", "text": text, "annotations": {"priority": 1}}


def test_prompts_are_made_of_the_same_content() -> None:
    said = {"description": "d", "messages": [{"role": "user", "content": LINK}, {"role": "user"}]}
    shown = seen("prompts/get", V25A, said)
    assert shown["messages"][0]["content"]["type"] == "text"
    assert (shown["messages"][0]["role"], shown["messages"][1], shown["description"]) == ("user", {"role": "user"}, "d")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("tools/list", b'{"tools":{}}'),
        ("tools/list", b'{"tools":[7]}'),
        ("tools/call", b'{"content":"text"}'),
        ("tools/call", b'{"content":[{"type":"text","type":"image"}]}'),
        ("prompts/get", b'{"messages":[[]]}'),
        ("resources/read", b'{"_meta":{"a":1,"a":2}}'),
    ],
)
def test_what_cannot_be_read_is_not_passed_on(method: str, said: bytes) -> None:
    with pytest.raises(JsonError):
        downgraded_result(method, V25C, members(said))


@pytest.mark.parametrize(
    ("method", "code", "data", "shown"),
    [
        ("resources/read", INVALID_PARAMS, b'{"uri":"file:///a"}', RESOURCE_NOT_FOUND),
        ("resources/read", INVALID_PARAMS, b'{"other":1}', INVALID_PARAMS),
        ("resources/read", INVALID_PARAMS, b"7", INVALID_PARAMS),
        ("resources/read", INVALID_PARAMS, None, INVALID_PARAMS),
        ("prompts/get", INVALID_PARAMS, b'{"uri":"file:///a"}', INVALID_PARAMS),
        ("tools/call", MISSING_CLIENT_CAPABILITY, b'{"requiredCapabilities":{"sampling":{}}}', None),
        ("tools/call", METHOD_NOT_FOUND, None, None),
        ("tools/call", -32000, b'{"a":1}', None),
    ],
)
def test_errors_have_the_code_that_legacy_clients_know(
    method: str, code: int, data: bytes | None, shown: int | None
) -> None:
    said = Failure(1, code, "why", data)
    assert downgraded_failure(method, said) == Failure(1, code if shown is None else shown, "why", data)


@pytest.mark.parametrize("code", [HEADER_MISMATCH, UNSUPPORTED_VERSION])
def test_faults_of_the_gateway_are_not_shown_as_the_clients(code: int) -> None:
    shown = downgraded_failure("tools/call", Failure(1, code, "Header mismatch: mcp-param-x", b'{"a":1}'))
    assert (shown.id, shown.code, shown.data) == (1, INTERNAL_ERROR, None)
    assert "mcp-param" not in shown.message
