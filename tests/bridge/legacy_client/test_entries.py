"""Questions of a modern server, put to clients of legacy revisions."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from gatewayd.bridge.legacy_client.entries import CANCELLED, MOST_ENTRIES, Entry, Unanswerable, answered, read_entries
from gatewayd.bridge.legacy_client.envelopes import Client
from gatewayd.protocol.jsonrpc import Failure, Result
from gatewayd.protocol.jsontext import JsonError
from gatewayd.protocol.versions import LEGACY

V25C, V25B, V25A, V24 = LEGACY
ALL = b'{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}'
FORM: dict[str, Any] = {
    "message": "Who?",
    "requestedSchema": {"type": "object", "properties": {"a": {"type": "string"}}},
}


def read(entries: object, version: str = V25C, capabilities: bytes = ALL) -> tuple[Entry, ...]:
    numbers = itertools.count(1)
    client = Client(version, capabilities)
    return read_entries(json.dumps(entries).encode(), client, lambda: f"elicitation-{next(numbers)}")


def put(method: str, params: object, version: str = V25C, capabilities: bytes = ALL) -> Any:
    """The params that the client is asked with; None: it is not asked."""
    (entry,) = read({"k": {"method": method, "params": params}}, version, capabilities)
    assert (entry.key, entry.method) == ("k", method)
    if entry.answer is not None:
        assert entry.answer == CANCELLED
        return None
    return json.loads(entry.params or b"null")


def test_forms_are_asked_as_they_are() -> None:
    assert put("elicitation/create", {**FORM, "mode": "form", "x": 1}) == {**FORM, "mode": "form", "x": 1}
    assert put("elicitation/create", FORM) == FORM


def test_the_first_forms_have_no_mode_and_two_lists_for_a_choice() -> None:
    options = [{"const": "r", "title": "Red"}, {"const": "g"}, {}]
    properties = {
        "colour": {"type": "string", "title": "Colour", "oneOf": options, "default": "r"},
        "plain": {"type": "string", "enum": ["a", "b"]},
        "odd": {"type": "number", "oneOf": []},
        "n": {"type": "integer", "minimum": 1},
    }
    asked = {"mode": "form", "message": "Which?", "requestedSchema": {"type": "object", "properties": properties}}
    shown = put("elicitation/create", asked, V25B, b'{"elicitation":{}}')
    colour = {
        "type": "string",
        "title": "Colour",
        "default": "r",
        "enum": ["r", "g", ""],
        "enumNames": ["Red", "g", ""],
    }
    assert shown == {
        "message": "Which?",
        "requestedSchema": {"type": "object", "properties": {**properties, "colour": colour}},
    }
    assert put("elicitation/create", {"message": "?"}, V25B, b'{"elicitation":{}}')["message"] == "?"


def test_a_choice_of_several_cannot_be_shown_in_the_first_forms() -> None:
    several = {"type": "array", "items": {"type": "string", "enum": ["a"]}}
    asked = {"message": "Which?", "requestedSchema": {"type": "object", "properties": {"a": several}}}
    assert put("elicitation/create", asked, V25B, b'{"elicitation":{}}') is None
    assert put("elicitation/create", asked) == asked


def test_every_address_to_visit_gets_an_id() -> None:
    asked = {"mode": "url", "message": "Log in", "url": "https://a", "elicitationId": "theirs"}
    one, two = read({name: {"method": "elicitation/create", "params": asked} for name in ("a", "b")})
    assert json.loads(one.params or b"") == {**asked, "elicitationId": "elicitation-1"}
    assert json.loads(two.params or b"") == {**asked, "elicitationId": "elicitation-2"}


@pytest.mark.parametrize("version", [V25C, V25B])
@pytest.mark.parametrize("mode", ["url", "dream", 7])
def test_a_kind_of_elicitation_that_was_not_declared_is_cancelled_in_place_of_the_client(
    version: str, mode: object
) -> None:
    assert put("elicitation/create", {"mode": mode}, version, b'{"elicitation":{}}') is None


def test_roots_are_asked_for_as_they_are() -> None:
    assert put("roots/list", {"_meta": {"a": 1}}) == {"_meta": {"a": 1}}
    (entry,) = read({"k": {"method": "roots/list"}})
    assert (entry.params, entry.answer) == (None, None)


TEXT = {"type": "text", "text": "hi"}
SAMPLE = {"maxTokens": 10, "messages": [{"role": "user", "content": [TEXT, TEXT], "x": 1}, {"role": "user"}]}


def test_sampling_has_several_blocks_in_one_message_only_where_they_are_known() -> None:
    assert put("sampling/createMessage", {**SAMPLE, "tools": []}) == {**SAMPLE, "tools": []}


@pytest.mark.parametrize("version", [V25B, V25A, V24])
def test_sampling_has_one_block_in_a_message_elsewhere(version: str) -> None:
    audio = {"type": "audio", "data": "", "mimeType": "audio/wav"}
    asked = {"maxTokens": 10, "messages": [SAMPLE["messages"][0], {"role": "assistant", "content": audio}]}  # type: ignore[index]
    shown = put("sampling/createMessage", asked, version, b'{"sampling":{}}')
    assert shown["maxTokens"] == 10
    single = {"role": "user", "content": TEXT, "x": 1}
    assert shown["messages"][:2] == [single, single]
    assert shown["messages"][2]["content"]["type"] == ("resource" if version == V24 else "audio")


@pytest.mark.parametrize(
    ("method", "params", "capabilities"),
    [
        ("elicitation/create", FORM, b"{}"),
        ("sampling/createMessage", {"tools": []}, b'{"sampling":{}}'),
        ("sampling/createMessage", {}, b'{"roots":{}}'),
        ("roots/list", {}, b'{"sampling":{}}'),
    ],
)
def test_nobody_is_asked_what_was_not_declared(method: str, params: object, capabilities: bytes) -> None:
    with pytest.raises(Unanswerable, match="did not declare"):
        put(method, params, capabilities=capabilities)


@pytest.mark.parametrize("method", ["tools/call", "ping", 7, None])
def test_nobody_is_asked_anything_else(method: object) -> None:
    with pytest.raises(Unanswerable, match="do not know"):
        read({"k": {"method": method}})


def test_nobody_is_asked_without_end() -> None:
    roots = {"method": "roots/list"}
    assert len(read({str(n): roots for n in range(MOST_ENTRIES)})) == MOST_ENTRIES
    with pytest.raises(Unanswerable, match="more than 100"):
        read({str(n): roots for n in range(MOST_ENTRIES + 1)})


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b'{"k":7}',
        b'{"k":{"method":"roots/list","params":[]}}',
        b'{"k":{"method":"roots/list"},"k":{"method":"roots/list"}}',
        b'{"k":{"method":"sampling/createMessage","params":{"messages":7}}}',
    ],
)
def test_questions_that_cannot_be_read_are_refused(raw: bytes) -> None:
    with pytest.raises(JsonError):
        read_entries(raw, Client(V25C, ALL), lambda: "")


def test_answers_are_told_as_they_are() -> None:
    assert answered(Entry("k", "roots/list"), Result(1, b'{"roots":[]}')) == b'{"roots":[]}'
    assert answered(Entry("k", "elicitation/create"), Failure(1, -32603, "no")) == CANCELLED


@pytest.mark.parametrize("method", ["roots/list", "sampling/createMessage"])
def test_errors_have_no_words_outside_of_elicitation(method: str) -> None:
    with pytest.raises(Unanswerable, match="User rejected") as caught:
        answered(Entry("k", method), Failure(1, -1, "User rejected" + "x" * 1000))
    assert len(caught.value.reason) < 300
