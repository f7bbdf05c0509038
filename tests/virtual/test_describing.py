"""What a virtual server says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.catalog.offers import Offers, read_offers
from gatewayd.protocol.jsontext import encode_members
from gatewayd.routes.virtual import Discovery
from gatewayd.virtual.describing import LONGEST_INSTRUCTIONS, LONGEST_SECTION, SEARCHING, Introduction, description

INFO = "io.modelcontextprotocol/serverInfo"
TASKS = "io.modelcontextprotocol/tasks"


def offers(capabilities: Any, instructions: str | None = None, info: Any = None) -> Offers:
    said = {"capabilities": capabilities, "instructions": instructions, "_meta": {INFO: info}}
    return read_offers(json.dumps(said).encode())


def described(*said: Offers | None, discovery: Discovery = "list") -> Any:
    members = [Introduction(f"s{number}", one) for number, one in enumerate(said)]
    return json.loads(encode_members(description("/all", members, discovery)))


def test_a_client_may_do_what_one_of_the_members_can_do() -> None:
    told = described(
        offers({"tools": {}, "logging": {}}), offers({"resources": {"subscribe": True}, "completions": {}})
    )
    assert told["capabilities"] == {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "completions": {},
        "logging": {},
    }
    assert described(offers({"resources": {}}))["capabilities"] == {
        "resources": {"subscribe": False, "listChanged": True}
    }


def test_a_member_that_has_not_said_anything_may_have_any_list() -> None:
    told = described(offers({"tools": {}}), None)["capabilities"]
    assert set(told) == {"tools", "prompts", "resources"}
    assert told["resources"]["subscribe"]
    assert set(described(None)["capabilities"]) == {"tools", "prompts", "resources"}


def test_what_nobody_here_knows_is_promised_only_where_all_members_do() -> None:
    one = offers({"extensions": {"x/y": {"v": 1}, "x/z": {}, TASKS: {}}, "experimental": {"e": {}}})
    other = offers({"extensions": {"x/y": {"v": 2}, "x/z": {}}})
    assert described(one, other)["capabilities"] == {"extensions": {"x/z": {}, TASKS: {}}}
    assert described(one)["capabilities"]["experimental"] == {"e": {}}


def test_one_member_speaks_for_itself_and_several_through_the_gateway() -> None:
    said = offers({}, "do this", {"name": "web", "version": "3"})
    alone = described(said)
    assert (alone["instructions"], alone["_meta"][INFO]) == ("do this", {"name": "web", "version": "3"})
    both = described(said, offers({}, "do that"), offers({}))
    assert both["instructions"] == "## s0\n\ndo this\n\n## s1\n\ndo that"
    assert both["_meta"][INFO]["name"] == "gatewayd"
    assert both["_meta"][INFO]["title"] == "gatewayd /all"
    assert described(None)["_meta"][INFO]["name"] == "gatewayd"


def test_instructions_have_an_end() -> None:
    assert len(described(offers({}, "x" * 100_000))["instructions"]) == LONGEST_SECTION
    many = described(*(offers({}, "x" * 100_000) for _ in range(20)))["instructions"]
    assert len(many) == LONGEST_INSTRUCTIONS
    assert many.endswith("…")


def test_who_has_to_search_is_told_so() -> None:
    assert described(offers({"tools": {}}), discovery="search")["instructions"] == SEARCHING
    assert "instructions" not in described(offers({"tools": {}}))


@pytest.mark.parametrize("said", [(), (None, None)])
def test_there_is_always_an_answer(said: tuple[None, ...]) -> None:
    told = described(*said)
    assert told["resultType"] == "complete"
    assert "2026-07-28" in told["supportedVersions"]
