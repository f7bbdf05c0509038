"""What people read before they approve of tools."""

from __future__ import annotations

from typing import Any

from gatewayd.dsl.lockchanges import changes, render_changes
from tests.dsl.lock_entries import described

SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
SEARCH: dict[str, Any] = {"description": "Search.", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True}}
MORE = {**SCHEMA, "properties": {**SCHEMA["properties"], "all": {"type": "boolean"}}}  # type: ignore[dict-item]


def shown(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    """The lines that people read."""
    text = render_changes(changes(described(old), described(new)))
    assert text == "" or text.endswith("\n")
    return text.splitlines()


def test_no_changes() -> None:
    assert shown({"a": {"search": SEARCH}}, {"a": {"search": dict(reversed(SEARCH.items()))}, "b": {}}) == []


def test_new_tools_and_tools_that_are_gone() -> None:
    assert shown({"b": {"old": {}}}, {"a": {"search": SEARCH}, "b": {"new": {"description": "New."}}}) == [
        "a",
        "  + search",
        '      + "Search."',
        "      + query: string",
        "      + readOnlyHint = true",
        "b",
        "  + new",
        '      + "New."',
        "  - old",
    ]


def test_changed_parts() -> None:
    now = {"description": "Search.\u202e", "inputSchema": MORE, "annotations": {"readOnlyHint": False}}
    assert shown({"a": {"search": SEARCH}}, {"a": {"search": now}}) == [
        "a",
        "  ~ search: another description",
        '      - "Search."',
        r'      + "Search.\u202e"',
        "  ~ search: another schema",
        "      + all?: boolean",
        "  ~ search: other annotations",
        "      - readOnlyHint = true",
        "      + readOnlyHint = false",
    ]


def test_changes_that_the_lock_does_not_show_are_still_told() -> None:
    now = {**SEARCH, "title": "x", "inputSchema": {**SCHEMA, "additionalProperties": False}}
    assert shown({"a": {"search": SEARCH}}, {"a": {"search": now}}) == [
        "a",
        "  ~ search: another description",
        "      in its title",
        "  ~ search: another schema",
        "      below the names and types of its arguments, or in its output",
    ]
    assert shown({"a": {"x": {}}}, {"a": {"x": {"annotations": {}}}})[-1] == "      in their order or form"


def test_a_server_cannot_draw_on_the_screen() -> None:
    text = "\n".join(shown({}, {"a\x1b": {"b\x1b[2J\n  - c": {"description": "\x1b[2J\r"}}}))
    assert "\x1b" not in text
    assert text.count("\n") == 2


def test_changes_say_what_they_are() -> None:
    found = changes(described({"a": {"x": {}, "y": {}}}), described({"a": {"y": {"title": "Y"}, "z": {}}}))
    assert [(change.tool, change.kind, change.parts) for change in found] == [
        ("x", "removed", ()),
        ("y", "changed", ("description",)),
        ("z", "added", ()),
    ]
