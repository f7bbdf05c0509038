"""URIs in answers: those of the protocol are rewritten, and nothing else is touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol.jsonrpc import Failure
from gatewayd.protocol.jsontext import JsonError
from gatewayd.virtual.rewriting import attributed, mentions, rewritten_failure, rewritten_result

LINK = {"type": "resource_link", "uri": "u", "name": "uri"}
EMBEDDED = {"type": "resource", "resource": {"uri": "u", "text": "u"}}
TEXT = {"type": "text", "text": '"uri":"u"', "uri": "u"}


def new(uri: str) -> str:
    return f"new-{uri}"


def rewritten(method: str, result: Any) -> Any:
    return json.loads(rewritten_result(method, json.dumps(result).encode(), new))


def test_links_and_embedded_resources_of_tools() -> None:
    before = {"content": [TEXT, LINK, EMBEDDED], "structuredContent": {"uri": "u", "content": [LINK]}, "_meta": LINK}
    assert rewritten("tools/call", before) == {
        **before,
        "content": [TEXT, {**LINK, "uri": "new-u"}, {"type": "resource", "resource": {"uri": "new-u", "text": "u"}}],
    }


def test_messages_of_prompts() -> None:
    before = {"messages": [{"role": "user", "content": block} for block in (TEXT, LINK, EMBEDDED)]}
    after = rewritten("prompts/get", before)["messages"]
    assert [message["content"] for message in after] == [
        TEXT,
        {**LINK, "uri": "new-u"},
        {"type": "resource", "resource": {"uri": "new-u", "text": "u"}},
    ]
    odd = {"messages": [{"role": "user", "content": "uri"}, {"uri": 1}]}
    assert rewritten("prompts/get", odd) == odd


def test_contents_of_resources() -> None:
    assert rewritten("resources/read", {"contents": [{"uri": "u", "text": "uri"}, {"uri": 7}]}) == {
        "contents": [{"uri": "new-u", "text": "uri"}, {"uri": 7}]
    }


def test_an_escape_does_not_hide_a_uri() -> None:
    raw = b'{"content":[{"type":"resource_lin\\u006b","\\u0075ri":"u"}]}'
    assert json.loads(rewritten_result("tools/call", raw, new))["content"][0]["uri"] == "new-u"


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("tools/call", b'{ "content" : [ {"type":"text"} ] }'),
        ("tools/call", b'{ "content" : [{"type":"text","uri":"u"}], "structuredContent": {"uri" : 1.0e3}}'),
        ("tools/call", b'{"content":{"uri":"u"}}'),
        ("tools/call", b'{"content":["uri",{"uri":"u"},{"type":"resource","resource":"uri"}]}'),
        ("completion/complete", b'{"completion": {"uri":"u"}}'),
        ("resources/read", b'{"contents":[{"uri": null}] }'),
    ],
)
def test_where_there_is_nothing_to_rewrite_every_byte_stays(method: str, raw: bytes) -> None:
    assert rewritten_result(method, raw, new) is raw


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("uri"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["uri", "type", "resource"]), inner),
    max_leaves=20,
)


@given(
    st.sampled_from(["tools/call", "prompts/get", "resources/read"]),
    st.dictionaries(st.sampled_from(["content", "contents", "messages", "structuredContent", "x"]), JSON),
)
def test_a_rewrite_that_changes_no_uri_changes_nothing(method: str, result: dict[str, Any]) -> None:
    raw = json.dumps(result, separators=(",", ":")).encode()
    try:
        assert rewritten_result(method, raw, lambda uri: uri) == raw
    except JsonError:
        assert method == "prompts/get"  # a message that is no object


def test_what_cannot_be_read_is_an_error() -> None:
    with pytest.raises(JsonError):
        rewritten_result("tools/call", b'{"content":[{"type":"resource_link","uri":"u","uri":"v"}]}', new)


def test_an_error_that_names_a_resource() -> None:
    failure = Failure(1, -32602, "u", b'{"uri":"u","x":[1]}')
    assert rewritten_failure(failure, new) == Failure(1, -32602, "u", b'{"uri":"new-u","x":[1]}')


@pytest.mark.parametrize("data", [None, b'{"x":"u"}', b'["uri"]', b'{"uri":7}', b'"uri"'])
def test_other_errors_stay_as_they_are(data: bytes | None) -> None:
    failure = Failure(1, -32602, "u", data)
    assert rewritten_failure(failure, new) == failure


@pytest.mark.parametrize(
    ("raw", "may"),
    [(None, False), (b"{}", False), (b'{"uri":1}', True), (b'{"taskId":1}', True), (b'{"\\u0075ri":1}', True)],
)
def test_most_answers_are_left_alone(raw: bytes | None, may: bool) -> None:
    assert mentions(raw) is may


def asking(*entries: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    asked = {str(number): {"method": method, "params": params} for number, (method, params) in enumerate(entries)}
    return {"resultType": "input_required", "inputRequests": asked, "requestState": "s"}


def test_a_person_sees_which_service_asks() -> None:
    result = asking(
        ("elicitation/create", {"message": "Which colour?", "requestedSchema": {"type": "object"}}),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1}),
        ("roots/list", {}),
        ("elicitation/create", {"message": 7}),
    )
    told = json.loads(attributed(json.dumps(result).encode(), "files"))
    assert told["inputRequests"]["0"]["params"]["message"] == "[files] Which colour?"
    assert told["inputRequests"]["0"]["params"]["requestedSchema"] == {"type": "object"}
    assert {key: told["inputRequests"][key] for key in "123"} == {key: result["inputRequests"][key] for key in "123"}
    assert told["requestState"] == "s"


@pytest.mark.parametrize(
    "raw", [b'{"content":[]}', b'{"content":"\\u0041"}', b'{"inputRequests":7}', b'{"inputRequests":{}}']
)
def test_what_asks_nothing_keeps_every_byte(raw: bytes) -> None:
    assert attributed(raw, "files") is raw
