"""What a session id says, to whom, and that it stays fit for a header."""

from __future__ import annotations

import json

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.auth.keychain import Keychain
from gatewayd.auth.principal import ANONYMOUS, Principal
from gatewayd.protocol.jsontext import JsonError
from gatewayd.routes.table import HttpTarget, Launch, StdioTarget, Timeouts
from gatewayd.sessions.memo import (
    LONGEST_INITIALIZE,
    LONGEST_UPSTREAM,
    PURPOSE,
    Memo,
    new_memo,
    read_memo,
    shortened,
    target_of,
)
from tests.sessions.fakes import ALICE, BOB, INITIALIZE, KEY, SERVICE

KEYCHAIN = Keychain([KEY])
TARGET = target_of(SERVICE)
MEMO = Memo(12.5, b"nonce", "2025-06-18", INITIALIZE, "upstream-1", TARGET)
VERSION = "2025-11-25"


def test_its_own_principal_reads_it_on_its_own_path() -> None:
    assert read_memo(KEYCHAIN, MEMO.seal(KEYCHAIN, ALICE, "/mcp"), ALICE, "/mcp") == MEMO


@pytest.mark.parametrize(
    ("principal", "path"),
    [
        (BOB, "/mcp"),
        (ANONYMOUS, "/mcp"),
        (Principal("alice", "other"), "/mcp"),
        (ALICE, "/mcp/"),
        (ALICE, ""),
        (Principal("", "staff:alice"), "/mcp"),
    ],
)
def test_nobody_else_does(principal: Principal, path: str) -> None:
    assert read_memo(KEYCHAIN, MEMO.seal(KEYCHAIN, ALICE, "/mcp"), principal, path) is None


def test_it_opens_with_old_keys_but_not_with_those_that_are_gone() -> None:
    ident = MEMO.seal(KEYCHAIN, ALICE, "/mcp")
    assert read_memo(Keychain([b"n" * 32, KEY]), ident, ALICE, "/mcp") == MEMO
    assert read_memo(Keychain([b"n" * 32]), ident, ALICE, "/mcp") is None


@given(st.data())
def test_a_damaged_id_is_none(data: st.DataObject) -> None:
    ident = MEMO.seal(KEYCHAIN, ALICE, "/mcp")
    place = data.draw(st.integers(0, len(ident) - 1))
    piece = data.draw(st.text(max_size=3).filter(lambda piece: piece != ident[place]))
    assert read_memo(KEYCHAIN, ident[:place] + piece + ident[place + 1 :], ALICE, "/mcp") is None


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", msgspec.msgpack.encode([1.0]), msgspec.msgpack.encode([1.0, b"n", "v", "text", None]), b"{}"],
)
def test_what_another_version_of_the_gateway_sealed_is_none(payload: bytes) -> None:
    ident = KEYCHAIN.seal(PURPOSE, payload, f"/mcp\n{ALICE.key}")
    assert read_memo(KEYCHAIN, ident, ALICE, "/mcp") is None


def test_what_was_sealed_for_something_else_is_none() -> None:
    ident = KEYCHAIN.seal("parked", msgspec.msgpack.encode(MEMO), f"/mcp\n{ALICE.key}")
    assert read_memo(KEYCHAIN, ident, ALICE, "/mcp") is None


def test_two_sessions_that_are_alike_are_two() -> None:
    one, other = (new_memo(1.0, VERSION, INITIALIZE, None, TARGET) for _ in range(2))
    assert one.nonce != other.nonce
    assert msgspec.structs.replace(one, nonce=b"") == msgspec.structs.replace(other, nonce=b"")


@pytest.mark.parametrize(
    ("upstream", "kept"),
    [(None, None), ("", ""), ("u" * LONGEST_UPSTREAM, "u" * LONGEST_UPSTREAM), ("u" * (LONGEST_UPSTREAM + 1), None)],
)
def test_an_upstream_s_id_is_remembered_unless_it_is_overlong(upstream: str | None, kept: str | None) -> None:
    assert new_memo(1.0, VERSION, INITIALIZE, upstream, TARGET).upstream == kept


def test_ordinary_params_stay_as_they_are() -> None:
    params = b'{ "protocolVersion":"x", "_meta":{"a":1.0} }'
    exact = params + b" " * (LONGEST_INITIALIZE - len(params))
    assert shortened(params) is params
    assert shortened(exact) is exact


def test_of_long_params_what_servers_adapt_to_is_left() -> None:
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {
            "roots": {"listChanged": True},
            "elicitation": {"form": {}, "url": {}},
            "sampling": {"tools": {"much": "x" * 200}},
            "experimental": {"much": "x" * 2000},
        },
        "clientInfo": {"name": "\N{SNOWMAN}" * 500, "version": 7, "icons": ["x" * 500]},
        "_meta": {"much": "x" * 2000},
    }
    assert json.loads(shortened(json.dumps(params).encode())) == {
        "protocolVersion": "2025-06-18",
        "capabilities": {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {"form": {}, "url": {}}},
        "clientInfo": {"name": "\N{SNOWMAN}" * 128, "version": ""},
    }


@pytest.mark.parametrize("odd", ["null", "[]", '"x"', "7", '{"name":"a","name":"b"}'])
def test_long_params_that_only_the_upstream_could_judge_do_not_end_in_an_error(odd: str) -> None:
    params = f'{{"clientInfo":{odd},"capabilities":{odd},"much":"{"x" * 2000}"}}'
    assert json.loads(shortened(params.encode())) == {
        "protocolVersion": "",
        "capabilities": {},
        "clientInfo": {"name": "", "version": ""},
    }


@pytest.mark.parametrize("params", [b"[%b]" % (b" " * 2000), b'{"a":1,"a":2,"b":"%b"}' % (b"x" * 2000)])
def test_params_that_are_no_object_are_refused(params: bytes) -> None:
    with pytest.raises(JsonError):
        new_memo(1.0, VERSION, params, None, TARGET)


@given(
    st.dictionaries(
        st.sampled_from(["capabilities", "clientInfo", "other"]),
        st.dictionaries(
            st.sampled_from(["roots", "sampling", "elicitation", "name", "version", "x"]),
            st.one_of(st.text(min_size=500, max_size=2000), st.lists(st.text(), max_size=50)),
        ),
    )
)
def test_a_session_id_fits_a_header_whatever_the_client_declares(params: dict[str, object]) -> None:
    raw = json.dumps({"protocolVersion": VERSION, **params}).encode()
    memo = new_memo(1.0, VERSION, raw, "u" * LONGEST_UPSTREAM, TARGET)
    ident = memo.seal(KEYCHAIN, ALICE, "/" + "p" * 500)
    assert len(ident) < 6000
    assert read_memo(KEYCHAIN, ident, ALICE, "/" + "p" * 500) == memo


def test_a_service_in_another_place_is_another_target() -> None:
    moved = attrs.evolve(SERVICE, target=HttpTarget("http://other/mcp", "http", "other", 80, "/mcp"))
    slower = attrs.evolve(SERVICE, timeouts=Timeouts(call=1.0))
    process = attrs.evolve(SERVICE, target=StdioTarget(Launch(("server", "--flag"))))
    assert len({target_of(service) for service in (SERVICE, moved, process)}) == 3
    assert target_of(slower) == target_of(SERVICE)
