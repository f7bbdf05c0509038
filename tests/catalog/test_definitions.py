"""Which definitions are passed on, and in which words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.catalog.definitions import LONGEST_URI, MOST_BYTES, SHOWN, Flaw, Item, read_item, repeated, shown
from gatewayd.catalog.kinds import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind
from gatewayd.routes.suspicion import hidden

SCHEMA = '{"type":"object"}'


def read(kind: Kind, **parts: Any) -> Item | Flaw:
    return read_item(kind, json.dumps(parts).encode())


def reason(found: Item | Flaw) -> str:
    assert isinstance(found, Flaw), found
    return found.reason


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (TOOLS, b'{"name":"a", "inputSchema":{"type":"object"}}'),
        (TOOLS, b'{ "inputSchema" : {"type" : "object"} , "name":"a/b.c-d_E" , "vendor": [1e2, {}]}'),
        (TOOLS, b'{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}}'),
        (PROMPTS, '{"name":"größer","arguments":[]}'.encode()),
        (RESOURCES, b'{"uri":"file:///a","name":"a"}'),
        (TEMPLATES, b'{"uriTemplate":"file:///{a}","name":"a"}'),
    ],
)
def test_what_is_in_order_is_passed_on_to_the_letter(kind: Kind, raw: bytes) -> None:
    found = read_item(kind, raw)
    assert isinstance(found, Item)
    assert (found.raw, found.note) == (raw, None)


@pytest.mark.parametrize("raw", [b"7", b"null", b"[]", b'"x"', b'{"name":"a","name":"b"}'])
def test_what_is_no_definition_is_kept_back(raw: bytes) -> None:
    assert isinstance(read_item(PROMPTS, raw), Flaw)


@pytest.mark.parametrize("name", ["", "a b", "a,b", "ä", "x" * 129, "a\u200bb", "a\nb"])
def test_tools_have_names_that_clients_can_use(name: str) -> None:
    assert "name" in reason(read(TOOLS, name=name, inputSchema={"type": "object"}))


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (PROMPTS, "name", ""),
        (PROMPTS, "name", "x" * 129),
        (PROMPTS, "name", "a\u202eb"),
        (PROMPTS, "name", "a\x7fb"),
        (RESOURCES, "uri", "no uri"),
        (RESOURCES, "uri", "file:///with space"),
        (RESOURCES, "uri", ""),
        (RESOURCES, "uri", "file:///" + "x" * LONGEST_URI),
        (TEMPLATES, "uriTemplate", ""),
        (TEMPLATES, "uriTemplate", "x" * (LONGEST_URI + 1)),
        (TEMPLATES, "uriTemplate", None),
        (TEMPLATES, "uriTemplate", 7),
    ],
)
def test_names_that_are_none_are_kept_back(kind: Kind, key: str, value: object) -> None:
    assert isinstance(read(kind, **{key: value}), Flaw)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"inputSchema": None},
        {"inputSchema": {"type": "string"}},
        {"inputSchema": {}},
        {"inputSchema": "object"},
        {"inputSchema": {"type": "object"}, "outputSchema": "none"},
        {"inputSchema": {"type": "object", "properties": {"a": {"type": "object", "x-mcp-header": "A"}}}},
        {"inputSchema": {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "no token"}}}},
    ],
)
def test_a_tool_that_clients_would_trip_over_is_kept_back(more: dict[str, Any]) -> None:
    assert isinstance(read(TOOLS, name="a", **more), Flaw)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 5000])
def test_a_tool_with_a_number_that_nobody_can_read_is_kept_back(number: str) -> None:
    raw = f'{{"name":"a","inputSchema":{{"type":"object","maximum":{number}}}}}'
    assert reason(read_item(TOOLS, raw.encode()))


def test_a_schema_that_says_something_twice_is_kept_back() -> None:
    raw = b'{"name":"a","inputSchema":{"type":"object","type":"object"}}'
    assert reason(read_item(TOOLS, raw))


@pytest.mark.parametrize("padding", [MOST_BYTES, 4 * MOST_BYTES])
def test_a_definition_that_is_too_long_is_kept_back_under_its_name(padding: int) -> None:
    found = read(PROMPTS, name="big", description="x" * padding)
    assert isinstance(found, Flaw)
    assert found.name == "big"


def test_size_counts_before_hidden_characters_are_taken_out() -> None:
    assert isinstance(read(PROMPTS, name="big", description="\u200b" * MOST_BYTES), Flaw)


def test_hidden_characters_are_taken_out_and_that_is_noted() -> None:
    found = read(TOOLS, name="a", description="harm\u200bless\U000e0041", inputSchema={"type": "object"})
    assert isinstance(found, Item)
    assert json.loads(found.raw)["description"] == "harmless"
    assert found.note == "hidden characters were taken out"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name":"a","na\\u200bme":"b"}',
        b'{"na\\u200bme":"a"}',
    ],
)
def test_member_names_that_become_equal_or_known_are_no_way_around(raw: bytes) -> None:
    assert isinstance(read_item(PROMPTS, raw), Flaw)


def test_arguments_that_become_one_make_no_tool() -> None:
    raw = (
        '{"name":"a","inputSchema":{"type":"object","properties":{"p":{"type":"string"},"p\\u200b":{"type":"number"}}}}'
    )
    assert isinstance(read_item(TOOLS, raw.encode()), Flaw)


@pytest.mark.parametrize("name", ["p\u0430y", "\uff50ay", "\ufb01le", "\u0430\u0441\u0435"])
def test_a_prompt_that_looks_like_another_one_is_kept_back(name: str) -> None:
    assert reason(read(PROMPTS, name=name)) == "its name has letters that look like others"


def test_hidden_characters_among_choices_are_taken_out() -> None:
    schema = {"type": "object", "properties": {"p": {"enum": ["a\u200bb", 7, {"c": 1}]}}}
    found = read(TOOLS, name="a", inputSchema=schema)
    assert isinstance(found, Item)
    assert json.loads(found.raw)["inputSchema"]["properties"]["p"]["enum"] == ["ab", 7, {"c": 1}]


def test_the_second_of_a_name_is_named() -> None:
    assert repeated(Item("a" * 100, b"{}")).name == "a" * (SHOWN - 1) + "…"


def test_a_bad_name_is_shown_so_that_one_sees_it() -> None:
    assert shown("a\u200b\nb") == "a\\u200b\\u000ab"


@given(st.text(), st.sampled_from([TOOLS, PROMPTS, RESOURCES, TEMPLATES]))
def test_no_name_shows_anything_that_cannot_be_seen(name: str, kind: Kind) -> None:
    found = read(kind, **{kind.key: name, "inputSchema": {"type": "object"}})
    assert not hidden(found.name)
    if isinstance(found, Flaw):
        assert found.name.isprintable()
    else:
        assert msgspec.json.decode(found.raw)[kind.key] == found.name == name
