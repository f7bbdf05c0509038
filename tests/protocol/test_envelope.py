from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.protocol.codes import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_VERSION,
)
from gatewayd.protocol.envelope import Modern, check_modern, classify
from gatewayd.protocol.headers import encode_value
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, RpcError
from gatewayd.protocol.jsontext import encode_members
from gatewayd.protocol.versions import (
    LEGACY,
    META,
    META_CLIENT_CAPABILITIES,
    META_VERSION,
    NAMED,
    REQUESTS,
    SUPPORTED,
)

NOW = "2026-07-28"
ENVELOPE: dict[str, Any] = {META_VERSION: NOW, META_CLIENT_CAPABILITIES: {}}


def call(method: str = "tools/call", *, meta: Any = ENVELOPE, **params: Any) -> Request:
    return Request("r", method, json.dumps({**params, META: meta}).encode())


def check(request: Request, version: str | None = NOW, method: str | None = "", name: bytes | None = b"echo") -> Modern:
    """With the headers that a good client sends, except where told otherwise."""
    sent = request.method if method == "" else method
    return check_modern(
        request,
        version=None if version is None else version.encode(),
        method=None if sent is None else sent.encode(),
        name=name,
    )


def refusal(request: Request, **sent: Any) -> tuple[int, int]:
    with pytest.raises(RpcError) as caught:
        check(request, **sent)
    assert caught.value.id == "r"
    return caught.value.code, caught.value.status


def test_a_good_request_is_decoded_by_one_level() -> None:
    request = Request(
        1,
        "tools/call",
        b'{"name":"echo","arguments":{"n":1.0},"_meta":{"%b":"2026-07-28","%b":{"x":1},"progressToken":7,"t":[1]}}'
        % (META_VERSION.encode(), META_CLIENT_CAPABILITIES.encode()),
    )
    modern = check(request)
    assert (modern.version, modern.method, modern.name, modern.progress_token) == (
        NOW,
        "tools/call",
        "echo",
        b"7",
    )
    assert modern.params["arguments"] == b'{"n":1.0}'
    assert modern.meta["t"] == b"[1]"
    rewritten = encode_members({**modern.params, META: encode_members({**modern.meta, "progressToken": b"8"})})
    assert request.params is not None
    assert rewritten == request.params.replace(b'"progressToken":7', b'"progressToken":8')
    with pytest.raises(AttributeError):
        modern.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("method", sorted(REQUESTS["modern"]))
def test_every_modern_method_passes(method: str) -> None:
    member = NAMED.get(method)
    params = {} if member is None else {member: "na\u00efve"}
    name = None if member is None else encode_value("na\u00efve")
    modern = check(call(method, **params), name=name)
    assert modern.name == (None if member is None else "na\u00efve")
    assert modern.progress_token is None


@pytest.mark.parametrize(
    "params",
    [
        None,
        b"{}",
        b'{"name":"echo"}',
        b'{"name":"echo","_meta":null}',
        b'{"name":"echo","_meta":[]}',
        b'{"name":"echo","_meta":{}}',
        b'{"name":"echo","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}',
        b'{"name":"echo","_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}',
        b'{"_meta":{"io.modelcontextprotocol/protocolVersion":1,"io.modelcontextprotocol/clientCapabilities":{}}}',
        b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}}',
        b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":null}}',
        b'{"name":"echo","name":"rm"}',
        b'{"name":"echo","n\\u0061me":"rm"}',
        b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"a","io.modelcontextprotocol/protocolVersion":"b"}}',
    ],
)
def test_an_incomplete_envelope_comes_before_everything_else(params: bytes | None) -> None:
    request = Request("r", "tools/call", params)
    for sent in ({}, {"version": None}, {"version": "1999-01-01"}, {"method": None}, {"name": None}):
        assert refusal(request, **sent) == (INVALID_PARAMS, 400)
    assert refusal(msgspec.structs.replace(request, method="no/such")) == (INVALID_PARAMS, 400)


@pytest.mark.parametrize(
    "sent",
    [
        {"version": None},
        {"version": ""},
        {"version": "2025-11-25"},
        {"version": "2026-07-28 "},
        {"method": None},
        {"method": "Tools/Call"},
        {"method": "tools/list"},
        {"method": "=?base64?dG9vbHMvY2FsbA==?="},
        {"name": None},
        {"name": b""},
        {"name": b"Echo"},
        {"name": b"echo, echo"},
        {"name": b"=?base64?cm0=?="},
        {"name": b"=?base64?cm0?="},
        {"name": b"\xff"},
    ],
)
def test_a_header_that_differs_from_the_body(sent: dict[str, Any]) -> None:
    assert refusal(call(name="echo"), **sent) == (HEADER_MISMATCH, 400)


def test_an_encoded_name_is_compared_after_decoding() -> None:
    assert check(call(name="echo"), name=b"=?base64?ZWNobw==?=").name == "echo"
    assert check(call(name=""), name=b"").name == ""


def test_header_and_body_are_compared_before_the_version_is_judged() -> None:
    old = {**ENVELOPE, META_VERSION: "1999-01-01"}
    assert refusal(call(meta=old, name="echo")) == (HEADER_MISMATCH, 400)
    assert refusal(call(meta=old, name="echo"), version="1999-01-01", name=b"rm") == (HEADER_MISMATCH, 400)
    assert refusal(call("no/such", meta=old), version="1999-01-01", method="tools/list") == (
        HEADER_MISMATCH,
        400,
    )
    assert refusal(call("no/such", meta=old), version="1999-01-01") == (UNSUPPORTED_VERSION, 400)


@pytest.mark.parametrize("version", ["1999-01-01", "2099-12-31", "", *LEGACY])
def test_an_unsupported_version_is_told_what_is_supported(version: str) -> None:
    with pytest.raises(RpcError) as caught:
        check(call("tools/list", meta={**ENVELOPE, META_VERSION: version}), version=version)
    assert caught.value.code == UNSUPPORTED_VERSION
    assert caught.value.data is not None
    assert json.loads(caught.value.data) == {"supported": list(SUPPORTED), "requested": version}


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "tasks/list", "no/such", "tools/call ", "notifications/cancelled"]
)
def test_an_unknown_or_removed_method_is_404(method: str) -> None:
    assert refusal(call(method)) == (METHOD_NOT_FOUND, 404)


def test_a_name_that_the_body_lacks() -> None:
    assert refusal(call(), name=None) == (INVALID_PARAMS, 400)
    assert refusal(call(name=5), name=None) == (INVALID_PARAMS, 400)
    assert refusal(call(name=5), name=b"5") == (HEADER_MISMATCH, 400)
    assert refusal(call()) == (HEADER_MISMATCH, 400)


def test_a_name_header_where_none_belongs_is_ignored() -> None:
    assert check(call("tools/list"), name=b"\xff").name is None


OLD = b"2025-06-18"
PLAIN = Request("r", "tools/list", b'{"_meta":{"progressToken":1},"a":"\\n"}')
INITIALIZE = Request("r", "initialize", b'{"protocolVersion":"2025-06-18"}')
ENVELOPED = Request("r", "tools/list", b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}')
ESCAPED = Request("r", "tools/list", b'{"_m\\u0065ta":{"io.modelcontextprotocol\\/protocolVersion":"2026-07-28"}}')
OLD_ENVELOPE = Request("r", "tools/list", b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-06-18"}}')
ODD_ENVELOPE = Request("r", "tools/list", b'{"_meta":{"io.modelcontextprotocol/protocolVersion":7}}')
MENTIONED = Request(
    "r", "tools/call", b'{"arguments":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"_meta":5}'
)

CHOICES: tuple[tuple[str, bytes | None, bool, Message | None, str], ...] = (
    ("POST", NOW.encode(), False, ENVELOPED, "modern"),
    ("POST", NOW.encode(), True, INITIALIZE, "modern"),
    ("POST", NOW.encode(), False, PLAIN, "modern"),
    ("POST", NOW.encode(), False, Notification("notifications/cancelled"), "modern"),
    ("POST", OLD, True, PLAIN, "legacy"),
    ("POST", b"2024-11-05", True, PLAIN, "legacy"),
    ("POST", OLD, False, INITIALIZE, "legacy"),
    ("POST", OLD, True, OLD_ENVELOPE, "legacy"),
    ("POST", OLD, True, MENTIONED, "legacy"),
    ("POST", OLD, True, Result(1, b"{}"), "legacy"),
    ("POST", None, False, INITIALIZE, "legacy"),
    ("POST", None, True, PLAIN, "legacy"),
    ("POST", None, True, Notification("notifications/initialized"), "legacy"),
    ("POST", None, True, Failure(1, -1, "no"), "legacy"),
    ("POST", None, False, PLAIN, "legacy"),
    ("POST", None, False, MENTIONED, "legacy"),
    ("GET", None, True, None, "legacy"),
    ("GET", OLD, True, None, "legacy"),
    ("DELETE", OLD, True, None, "legacy"),
    ("DELETE", None, True, None, "legacy"),
)


@pytest.mark.parametrize(("http_method", "version", "session", "message", "era"), CHOICES)
def test_the_era_of_a_request(
    http_method: str, version: bytes | None, session: bool, message: Message | None, era: str
) -> None:
    assert classify(http_method, version, session=session, message=message) == era


REFUSALS: tuple[tuple[str, bytes | None, bool, Message | None, int, int], ...] = (
    ("POST", None, False, ENVELOPED, HEADER_MISMATCH, 400),
    ("POST", None, True, ENVELOPED, HEADER_MISMATCH, 400),
    ("POST", None, False, ESCAPED, HEADER_MISMATCH, 400),
    ("POST", None, False, OLD_ENVELOPE, HEADER_MISMATCH, 400),
    ("POST", None, False, ODD_ENVELOPE, HEADER_MISMATCH, 400),
    ("POST", OLD, True, ENVELOPED, HEADER_MISMATCH, 400),
    ("POST", OLD, True, ESCAPED, HEADER_MISMATCH, 400),
    ("POST", OLD, True, ODD_ENVELOPE, HEADER_MISMATCH, 400),
    ("POST", b"2025-11-25", True, OLD_ENVELOPE, HEADER_MISMATCH, 400),
    ("POST", OLD, True, Request("r", "x", b'{"a":"\\n","_meta":{},"_meta":{}}'), INVALID_PARAMS, 400),
    ("POST", b"1999-01-01", False, PLAIN, UNSUPPORTED_VERSION, 400),
    ("POST", b"", True, PLAIN, UNSUPPORTED_VERSION, 400),
    ("POST", b'\xff"', True, None, UNSUPPORTED_VERSION, 400),
    ("POST", b"2025-06-18, 2026-07-28", True, PLAIN, UNSUPPORTED_VERSION, 400),
    ("GET", b"1999-01-01", True, None, UNSUPPORTED_VERSION, 400),
    ("GET", NOW.encode(), True, None, INVALID_REQUEST, 405),
    ("DELETE", NOW.encode(), True, None, INVALID_REQUEST, 405),
    ("GET", None, False, None, INVALID_REQUEST, 400),
    ("GET", OLD, False, None, INVALID_REQUEST, 400),
    ("DELETE", OLD, False, None, INVALID_REQUEST, 400),
    ("PUT", NOW.encode(), True, None, INVALID_REQUEST, 405),
    ("post", None, True, PLAIN, INVALID_REQUEST, 405),
)


@pytest.mark.parametrize(("http_method", "version", "session", "message", "code", "status"), REFUSALS)
def test_requests_of_no_era(
    http_method: str, version: bytes | None, session: bool, message: Message | None, code: int, status: int
) -> None:
    with pytest.raises(RpcError) as caught:
        classify(http_method, version, session=session, message=message)
    assert (caught.value.code, caught.value.status) == (code, status)
    if code == UNSUPPORTED_VERSION:
        assert caught.value.data is not None
        assert json.loads(caught.value.data)["supported"] == list(SUPPORTED)
    if isinstance(message, Request) and status == 400:
        assert caught.value.id == "r"


values: st.SearchStrategy[Any] = st.sampled_from(
    [NOW, "2025-06-18", "", 1, None, {}, [], {META_VERSION: NOW, META_CLIENT_CAPABILITIES: {}}]
)
names = st.sampled_from([META, "name", "uri", META_VERSION, META_CLIENT_CAPABILITIES])
header = st.none() | st.binary(max_size=6) | st.sampled_from([NOW.encode(), b"tools/call", b"ping"])


@given(
    st.dictionaries(names, values | st.dictionaries(names, values)),
    st.text(min_size=1, max_size=5),
    header,
    header,
    header,
)
def test_any_request_passes_or_raises_the_one_error(
    params: dict[str, Any], method: str, version: bytes | None, mirrored: bytes | None, name: bytes | None
) -> None:
    for request in (
        Request("r", method, json.dumps(params).encode()),
        Request("r", "tools/call", json.dumps(params).encode()),
    ):
        refused = outcome(request, version, mirrored, name)
        if refused is not None:
            assert refused.id == "r"
            assert refused.status in (400, 404)


def outcome(request: Request, version: bytes | None, mirrored: bytes | None, name: bytes | None) -> RpcError | None:
    try:
        era = classify("POST", version, session=False, message=request)
        modern = check_modern(request, version=version, method=mirrored, name=name)
    except RpcError as error:
        return error
    assert era == "modern"
    assert version == modern.version.encode()
    assert mirrored == modern.method.encode()
    return None
