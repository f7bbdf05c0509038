"""What a server says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.catalog.offers import read_offers
from gatewayd.protocol.jsontext import JsonError

INFO = "io.modelcontextprotocol/serverInfo"


def raw(**parts: Any) -> bytes:
    return json.dumps(parts).encode()


def test_capabilities_and_their_parts() -> None:
    offers = read_offers(raw(capabilities={"tools": {"listChanged": True}, "resources": {"subscribe": "yes"}}))
    assert offers.has("tools")
    assert offers.has("tools", "listChanged")
    assert offers.has("resources")
    assert not offers.has("resources", "subscribe")
    assert not offers.has("prompts")
    assert not offers.has("prompts", "listChanged")
    assert offers.announced == {"tools"}


def test_what_a_server_says_of_itself_is_kept_to_the_letter() -> None:
    offers = read_offers(b'{"instructions":"do","_meta":{"%s":{"name" : "x"}}}' % INFO.encode())
    assert offers.instructions == "do"
    assert offers.server_info == b'{"name" : "x"}'


@pytest.mark.parametrize("parts", [{}, {"capabilities": 7, "instructions": [], "_meta": {INFO: "x"}}, {"_meta": 7}])
def test_what_makes_no_sense_counts_as_missing(parts: dict[str, Any]) -> None:
    offers = read_offers(raw(**parts))
    assert (dict(offers.capabilities), offers.instructions, offers.server_info) == ({}, None, None)
    assert offers.announced == frozenset()


@pytest.mark.parametrize("result", [b"7", b'{"a":1,"a":2}'])
def test_what_is_no_result_is_an_error(result: bytes) -> None:
    with pytest.raises(JsonError):
        read_offers(result)


def test_instructions_show_nothing_that_cannot_be_seen() -> None:
    assert read_offers(raw(instructions="harm\u200bless\U000e0041")).instructions == "harmless"
