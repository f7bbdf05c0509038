"""Finding tools by what they do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.catalog.kinds import TOOLS as KIND
from gatewayd.protocol.jsontext import JsonError
from gatewayd.routes.virtual import Member
from gatewayd.virtual.merge import Entry, View
from gatewayd.virtual.search import CALL, LONGEST_QUERY, MOST, SEARCH, TOOLS, USUAL, Index, asked, called, found


def entry(name: str, description: str = "", **more: Any) -> Entry:
    raw = {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}
    return Entry(name, Member("a"), name, json.dumps(raw).encode())


ENTRIES = (
    entry("git__create_issue", "Open a new issue in a repository", annotations={}),
    entry("git__listBranches", "Show all branches"),
    entry("mail__send", "Send a letter", inputSchema={"type": "object", "properties": {"recipient": {}}}),
    entry("mail__search", "Find letters, mentions of issues included", title="Rummage"),
)
INDEX = Index(View(KIND, ENTRIES, ()))


def names(query: str, limit: int = USUAL) -> list[str]:
    return [one.name for one in INDEX.search(query, limit)]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("create issue", "git__create_issue"),
        ("creating issues", "git__create_issue"),
        ("LIST branches", "git__listBranches"),
        ("listBranches", "git__listBranches"),
        ("recip", "mail__send"),
        ("rummage", "mail__search"),
        ("letter", "mail__send"),
    ],
)
def test_tools_are_found_by_name_title_description_and_arguments(query: str, first: str) -> None:
    assert names(query)[0] == first


def test_a_name_says_more_than_a_description() -> None:
    assert names("issue") == ["git__create_issue", "mail__search"]


def test_who_asks_for_nothing_gets_the_first_ones() -> None:
    assert names("", 2) == names("!?_", 2) == ["git__create_issue", "git__listBranches"]
    assert names("zebra") == []
    assert len(names("mail git", 3)) == 3


@given(st.text())
def test_no_query_is_an_instruction_to_the_search_engine(query: str) -> None:
    assert set(names(query)) <= {one.name for one in ENTRIES}


@pytest.mark.parametrize(
    "query", ["name:x", '"', "a NEAR b", "* OR *", "-x", "x" * 10**6, " ".join(map(chr, range(0x4E00, 0x5100)))]
)
def test_queries_that_are_out_to_break_something(query: str) -> None:
    assert INDEX.search(query, MOST) is not None
    assert len(query) < LONGEST_QUERY or names(query[:LONGEST_QUERY]) == names(query)


def test_a_result_is_the_same_for_models_and_for_programs() -> None:
    result = json.loads(found(ENTRIES[:1]))
    assert result["structuredContent"] == json.loads(result["content"][0]["text"])
    (tool,) = result["structuredContent"]["tools"]
    assert set(tool) == {"name", "description", "inputSchema"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (None, ("", USUAL)),
        (b'{"query":"x","limit":3}', ("x", 3)),
        (b'{"query":7,"limit":"3"}', ("", USUAL)),
        (b'{"limit":0}', ("", USUAL)),
        (b'{"limit":-5}', ("", 1)),
        (b'{"limit":100000}', ("", MOST)),
    ],
)
def test_what_makes_no_sense_is_as_usual(arguments: bytes | None, wanted: tuple[str, int]) -> None:
    assert asked(arguments) == wanted


def test_what_is_to_be_called() -> None:
    assert called(b'{"name":"x","arguments":{"a" : 1}}') == ("x", b'{"a" : 1}')
    assert called(b'{"name":7}') == (None, b"{}")
    assert called(None) == (None, b"{}")
    with pytest.raises(JsonError):
        called(b"[]")
    with pytest.raises(JsonError):
        asked(b"[]")


def test_two_tools_take_the_place_of_all_others() -> None:
    assert [tool["name"] for tool in json.loads(TOOLS)] == [SEARCH, CALL]
