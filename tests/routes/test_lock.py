"""What counts as a change of a tool, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.routes.lock import Pin, Pins, drift, pin

TOOL: dict[str, Any] = {
    "name": "search",
    "title": "Search",
    "description": "Search issues.",
    "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}},
    "annotations": {"readOnlyHint": True},
}
PINS: Pins = {"github": {"search": pin(TOOL), "get": pin({"name": "get"})}, "empty": {}}

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def reversed_members(value: Any) -> Any:
    """The same value with all members in another order."""
    if isinstance(value, dict):
        return {key: reversed_members(value[key]) for key in reversed(value)}
    return [reversed_members(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.sampled_from(list(TOOL)), values))
def test_the_order_of_members_does_not_count(tool: dict[str, Any]) -> None:
    assert pin(tool) == pin(reversed_members(tool))
    assert all(len(digest) == 64 for digest in (pin(tool).description, pin(tool).schema, pin(tool).annotations))


def test_neither_do_parts_that_nobody_decides_by() -> None:
    assert pin({**TOOL, "name": "other", "_meta": {"x": 1}, "icons": []}) == pin(TOOL)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"title": "Find"}, "description"),
        ({"description": "Search issues"}, "description"),
        ({"description": "Search\u200b issues."}, "description"),
        ({"inputSchema": {"type": "object"}}, "schema"),
        ({"outputSchema": {"type": "object"}}, "schema"),
        ({"annotations": {"readOnlyHint": False}}, "annotations"),
        ({"annotations": {}, "title": ""}, "description, annotations"),
    ],
)
def test_changes_are_named(change: dict[str, Any], what: str) -> None:
    assert drift(PINS, "github", "search", pin({**TOOL, **change})) == f"has changed: {what}"


def test_a_tool_that_is_as_it_was() -> None:
    assert drift(PINS, "github", "search", pin(dict(TOOL))) is None


def test_new_tools_and_those_that_shadow_others() -> None:
    now = Pin("a", "b", "c")
    assert drift(PINS, "github", "delete", now) == "is new"
    assert drift(PINS, "empty", "search", now) == "is new, and shadows that of github"
    assert drift(PINS, "unknown", "get", now) == "is new, and shadows that of github"
    assert drift({}, "github", "search", now) == "is new"
