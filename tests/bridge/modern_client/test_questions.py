"""Questions of legacy servers and the answers of modern clients, as values."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.bridge.asking import ELICIT, ROOTS, SAMPLE
from gatewayd.bridge.modern_client.client_request import read_request
from gatewayd.bridge.modern_client.questions import (
    Question,
    answer,
    input_required,
    lacking,
    read_question,
    read_responses,
    unanswered,
    url_questions,
)
from gatewayd.bridge.modern_client.upgrade import read_greeting
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_PARAMS, MISSING_CLIENT_CAPABILITY
from gatewayd.protocol.jsonrpc import Failure, Request, Result, RpcError
from gatewayd.protocol.jsontext import JsonError
from gatewayd.protocol.versions import LEGACY, META_SERVER_INFO
from tests.bridge.modern_client.legacy_upstream import INFO, dumped, elicit, loaded, modern

SAMPLED: dict[str, Any] = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "hi"}}
GREETING = read_greeting(dumped({"serverInfo": INFO}), LEGACY[0])


def asked(params: object, method: str = ELICIT) -> dict[str, Any]:
    return loaded(read_question(Request("q", method, dumped(params))).params)


def test_a_question_without_what_means_nothing_to_a_modern_client() -> None:
    meta = {"progressToken": 1, "io.modelcontextprotocol/related-task": {"taskId": "t"}, "a/b": 1}
    params = {"mode": "url", "url": "https://x", "elicitationId": "e", "message": "m", "task": {}, "_meta": meta}
    assert asked(params) == {"mode": "url", "url": "https://x", "message": "m", "_meta": {"a/b": 1}}
    assert asked({"_meta": {"progressToken": 1}}) == {}
    assert read_question(Request("q", ROOTS)) == Question("q", ROOTS, None)


@pytest.mark.parametrize("params", [b'{"a":1,"a":2}', b'{"_meta":3}'])
def test_a_question_that_says_something_twice_is_none(params: bytes) -> None:
    with pytest.raises(JsonError):
        read_question(Request("q", ELICIT, params))


def test_the_result_that_asks() -> None:
    questions = {"a": read_question(elicit()), "b": Question(2, ROOTS, None)}
    assert loaded(input_required(questions, "sealed", GREETING)) == {
        "resultType": "input_required",
        "inputRequests": {
            "a": {"method": ELICIT, "params": loaded(elicit().params)},
            "b": {"method": ROOTS},
        },
        "requestState": "sealed",
        "_meta": {META_SERVER_INFO: INFO},
    }


def test_answers_by_key() -> None:
    request = read_request(modern(1, "tools/call", {"inputResponses": {"a": {"action": "accept"}}}))
    assert read_responses(request) == {"a": b'{"action": "accept"}'}
    assert read_responses(read_request(modern(1, "tools/call"))) == {}
    for wrong in (b"[]", b"3", b'{"a":1,"a":2}'):
        raw = Request(1, "tools/call", b'{"_meta":{},"inputResponses":%b}' % wrong)
        with pytest.raises(RpcError) as refused:
            read_responses(read_request(raw))
        assert refused.value.code == INVALID_PARAMS


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (ELICIT, {"action": "accept", "content": {"n": 1}}),
        (ELICIT, {"action": "decline"}),
        (ELICIT, {"action": "cancel", "_meta": {}}),
        (SAMPLE, SAMPLED),
        (SAMPLE, {**SAMPLED, "content": [{"type": "text", "text": "hi"}]}),
        (ROOTS, {"roots": []}),
    ],
)
def test_an_answer_goes_to_the_server_as_it_came(method: str, response: Any) -> None:
    given = answer(Question("q", method, b"{}"), dumped({**response, "resultType": "complete"}), LEGACY[0])
    assert given.id == "q"
    assert loaded(given.result) == response


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (ELICIT, b"[]"),
        (ELICIT, b"null"),
        (ELICIT, b"{}"),
        (ELICIT, b'{"action":"accept","action":"decline"}'),
        (ELICIT, b'{"action":"maybe"}'),
        (ELICIT, b'{"action":"accept","content":3}'),
        (SAMPLE, b'{"action":"accept"}'),
        (SAMPLE, b'{"role":"assistant","model":"m"}'),
        (SAMPLE, b'{"role":"assistant","content":{}}'),
        (SAMPLE, b'{"model":"m","content":{}}'),
        (ROOTS, b'{"roots":{}}'),
        (ROOTS, b"{}"),
    ],
)
def test_what_cannot_be_an_answer_is_refused(method: str, response: bytes) -> None:
    with pytest.raises(RpcError) as refused:
        answer(Question("q", method, b"{}"), response, LEGACY[0])
    assert refused.value.code == INVALID_PARAMS


@pytest.mark.parametrize("version", LEGACY[1:])
def test_older_revisions_know_no_arrays_of_content(version: str) -> None:
    block = {"type": "text", "text": "hi"}
    for content, expected in ((block, block), ([block], block), ([block, block], [block, block])):
        given = answer(Question(1, SAMPLE, b"{}"), dumped({**SAMPLED, "content": content}), version)
        assert loaded(given.result)["content"] == expected


def test_what_a_server_hears_when_nobody_answers() -> None:
    assert unanswered(Question(1, ELICIT, None)) == Result(1, b'{"action":"cancel"}')
    sampled, roots = unanswered(Question(2, SAMPLE, None)), unanswered(Question(3, ROOTS, None))
    assert isinstance(sampled, Failure)
    assert (sampled.id, sampled.code) == (2, -1)
    assert isinstance(roots, Failure)
    assert (roots.id, roots.code) == (3, INTERNAL_ERROR)


def required(data: bytes | None) -> list[dict[str, Any]]:
    found = url_questions(Failure(1, -32042, "go there", data))
    assert all((question.id, question.method) == (None, ELICIT) for question in found)
    return [loaded(question.params) for question in found]


def test_urls_to_visit() -> None:
    one = {"mode": "url", "elicitationId": "e", "url": "https://a", "message": "A"}
    two = {"url": "https://b", "message": "B", "x": 1}
    assert required(dumped({"elicitations": [one, two]})) == [
        {"mode": "url", "url": "https://a", "message": "A"},
        {"mode": "url", "url": "https://b", "message": "B", "x": 1},
    ]
    for nothing in (None, b"[]", b'{"elicitations":{}}', b'{"elicitations":[3]}', b'{"elicitations":[{"url":"x"}]}'):
        assert required(nothing) == []


def test_what_is_lacking_is_named() -> None:
    failure = lacking(read_request(modern(4, "tools/call")), b'{"sampling":{}}')
    assert (failure.id, failure.code) == (4, MISSING_CLIENT_CAPABILITY)
    assert loaded(failure.data) == {"requiredCapabilities": {"sampling": {}}}


def test_big_questions_count() -> None:
    assert Question(1, ELICIT, b"x" * 1000).size > 1000
    assert Question(1, ELICIT, None).size > 0
