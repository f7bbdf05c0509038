"""The four lists."""

from __future__ import annotations

from gatewayd.catalog.kinds import BY_METHOD, KINDS


def test_every_list_of_the_protocol_is_known_by_its_method() -> None:
    assert set(BY_METHOD) == {"tools/list", "prompts/list", "resources/list", "resources/templates/list"}
    assert {kind.method for kind in KINDS.values()} == set(BY_METHOD)


def test_templates_fall_under_resources() -> None:
    assert {name: kind.capability for name, kind in KINDS.items()} == {
        "tools": "tools",
        "prompts": "prompts",
        "resources": "resources",
        "templates": "resources",
    }
