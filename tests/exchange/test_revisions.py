"""Which revisions are offered: those that the gateway speaks."""

from __future__ import annotations

import json

import pytest

from gatewayd.exchange.revisions import asked_version, complete, offer_all, offer_known
from gatewayd.protocol.jsonrpc import Failure, Request, Result
from gatewayd.protocol.jsontext import JsonError
from gatewayd.protocol.versions import LEGACY, SUPPORTED


@pytest.mark.parametrize("offered", [["2026-07-28"], ["2027-01-01"], [], "2026-07-28", None, [1]])
def test_discovery_lists_what_the_gateway_speaks_the_newest_first(offered: object) -> None:
    raw = json.dumps({"supportedVersions": offered, "capabilities": {"x": 1}}).encode()
    shown = offer_all(Result(7, raw))
    assert isinstance(shown, Result)
    assert shown.id == 7
    said = {"resultType": "complete", "supportedVersions": list(SUPPORTED), "capabilities": {"x": 1}}
    assert json.loads(shown.result) == said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"resultType": "complete", "a": 1}, {"resultType": "complete", "a": 1}),
        ({"a": 1, "resultType": "input_required"}, {"a": 1, "resultType": "input_required"}),
        ({"a": {"resultType": "x"}}, {"resultType": "complete", "a": {"resultType": "x"}}),
        ({}, {"resultType": "complete"}),
    ],
)
def test_a_result_that_does_not_say_what_it_is_is_complete(said: object, shown: object) -> None:
    completed = complete(Result(7, json.dumps(said).encode()))
    assert isinstance(completed, Result)
    assert json.loads(completed.result) == shown
    assert complete(Failure(7, -32601, "no")) == Failure(7, -32601, "no")


def test_a_failed_discovery_stays_as_it_is() -> None:
    assert offer_all(Failure(7, -32601, "no")) == Failure(7, -32601, "no")


def test_an_ambiguous_discovery_is_not_guessed_at() -> None:
    with pytest.raises(JsonError):
        offer_all(Result(7, b'{"supportedVersions":[],"supportedVersions":["2026-07-28"]}'))


@pytest.mark.parametrize("version", LEGACY)
def test_a_known_revision_is_asked_for_to_the_letter(version: str) -> None:
    request = Request(1, "initialize", b'{ "protocolVersion" : "%b", "capabilities":{}}' % version.encode())
    assert offer_known(request) is request
    assert asked_version(request) == version


@pytest.mark.parametrize(
    ("params", "asked"),
    [
        (b'{"protocolVersion":"2099-01-01","x":1}', "2099-01-01"),
        (b'{"protocolVersion":"2026-07-28","x":1}', "2026-07-28"),
        (b'{"protocolVersion":7,"x":1}', None),
        (b'{"x":1}', None),
    ],
)
def test_an_unknown_revision_becomes_our_newest_one_with_sessions(params: bytes, asked: str | None) -> None:
    request = Request(1, "initialize", params)
    assert asked_version(request) == asked
    offered = offer_known(request)
    assert (offered.id, offered.method) == (1, "initialize")
    assert json.loads(offered.params or b"") == {"protocolVersion": LEGACY[0], "x": 1}


def test_without_params_our_newest_revision_is_asked_for() -> None:
    assert offer_known(Request(1, "initialize")).params == b'{"protocolVersion":"%b"}' % LEGACY[0].encode()


def test_an_ambiguous_initialize_is_not_guessed_at() -> None:
    with pytest.raises(JsonError):
        offer_known(Request(1, "initialize", b'{"protocolVersion":"2025-11-25","protocolVersion":"2024-11-05"}'))
