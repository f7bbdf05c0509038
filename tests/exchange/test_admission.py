"""Who may go on, judged by the head of a request alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatewayd.auth.gate import Gate
from gatewayd.auth.keyring import Keyring, digest
from gatewayd.auth.principal import ANONYMOUS, Principal
from gatewayd.exchange.admission import ALLOWED, Admitted, Door, Refused, admit
from gatewayd.exchange.plan import Plan, Plans
from gatewayd.observe.metrics import Refusal
from gatewayd.protocol.codes import DRAINING, INVALID_REQUEST, REFUSED, TOO_LARGE
from gatewayd.protocol.http1_head import parse_request_head
from gatewayd.routes.table import ApiKey, Gateway, Route
from tests.sessions.fakes import Upstream

KEY = "gwk_alice-alice-alice-alice"
RING = Keyring([ApiKey("alice", digest(KEY))])
PLANS = Plans(
    Gateway(),
    {
        path: Plan(Route(path, ("web",)), Upstream(), gate, 1000, 100)
        for path, gate in {"/mcp": Gate([]), "/closed": Gate([("staff", RING)]), "/a%2Fb": Gate([])}.items()
    },
    frozenset({b"gateway.test", b"fixed.test:8443", b"[2001:db8::1]"}),
    frozenset({b"https://app.test", b"http://localhost:3000"}),
)
DOOR = Door("http", frozenset({b"127.0.0.1:8080", b"localhost:8080", b"[::1]:8080"}))
FIELDS = {
    "Host": "gateway.test",
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "X-Request-Id": "req-1",
}

Fields = dict[str, str | None]


def judge(
    method: str = "POST",
    target: str = "/mcp",
    *more: str,
    door: Door = DOOR,
    draining: bool = False,
    changed: Fields | None = None,
) -> Admitted | Refused:
    """Judge a request that is right but for what is given. A field changed to None is left out."""
    fields = {**FIELDS, **(changed or {})}
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in fields.items() if value is not None),
    ]
    return admit(parse_request_head("\r\n".join([*lines, *more, "", ""]).encode()), PLANS, door, draining=draining)


def refused(judged: Admitted | Refused, status: int, reason: Refusal) -> Refused:
    assert isinstance(judged, Refused)
    assert (judged.status, judged.reason) == (status, reason)
    return judged


def admitted(judged: Admitted | Refused) -> Admitted:
    assert isinstance(judged, Admitted), judged
    return judged


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_proper_request_goes_on(method: str) -> None:
    passed = admitted(judge(method))
    assert passed.principal == ANONYMOUS
    assert passed.plan is PLANS.routes["/mcp"]
    assert dict(passed.fields) == {
        b"x-content-type-options": b"nosniff",
        b"cache-control": b"no-store",
        b"x-request-id": b"req-1",
    }


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("gateway.test", True),
        ("GATEWAY.Test", True),
        ("gateway.test:1234", True),
        ("fixed.test:8443", True),
        ("fixed.test", False),
        ("fixed.test:8444", False),
        ("127.0.0.1:8080", True),
        ("127.0.0.1:8081", False),
        ("127.0.0.1", False),
        ("LOCALHOST:8080", True),
        ("[::1]:8080", True),
        ("[::1]", False),
        ("[2001:db8::1]", True),
        ("[2001:DB8::1]:99", True),
        ("evil.test", False),
        ("gateway.test.evil.test", False),
        ("evil-gateway.test", False),
        ("gateway.test.", False),
    ],
)
def test_only_our_own_names_are_served(host: str, fine: bool) -> None:
    judged = judge(changed={"Host": host})
    if fine:
        admitted(judged)
    else:
        refused(judged, 421, "forbidden_host")


@pytest.mark.parametrize(
    ("origin", "fine"),
    [
        (None, True),
        ("http://gateway.test", True),
        ("HTTP://Gateway.Test", True),
        ("https://app.test", True),
        ("http://localhost:3000", True),
        ("http://localhost:3001", False),
        ("http://app.test", False),
        ("https://gateway.test", False),
        ("http://gateway.test:80", False),
        ("https://app.test.evil.test", False),
        ("https://evil.test", False),
        ("null", False),
        ("", False),
        ("*", False),
    ],
)
def test_only_pages_of_ours_and_trusted_ones_may_call(origin: str | None, fine: bool) -> None:
    judged = judge(changed={"Origin": origin})
    if not fine:
        assert b"access-control-allow-origin" not in dict(refused(judged, 403, "forbidden_origin").fields)
        return
    fields = dict(admitted(judged).fields)
    assert fields.get(b"access-control-allow-origin") == (None if origin is None else origin.encode())
    assert fields.get(b"vary") == (None if origin is None else b"Origin")
    assert b"access-control-allow-credentials" not in fields


def test_over_tls_the_own_origin_is_the_one_with_tls() -> None:
    door = Door("https", frozenset())
    admitted(judge(door=door, changed={"Origin": "https://gateway.test"}))
    refused(judge(door=door, changed={"Origin": "http://gateway.test"}), 403, "forbidden_origin")


def test_a_page_that_points_its_name_at_us_is_stopped_by_its_host() -> None:
    judged = judge(changed={"Host": "evil.test", "Origin": "http://evil.test"})
    assert b"access-control-allow-origin" not in dict(refused(judged, 421, "forbidden_host").fields)


@pytest.mark.parametrize(
    ("target", "fine"),
    [
        ("/mcp", True),
        ("/mcp?x=1", True),
        ("/mcp?", True),
        ("/a%2Fb", True),
        ("/a%2fb", False),
        ("/a/b", False),
        ("/mcp/", False),
        ("//mcp", False),
        ("/./mcp", False),
        ("/x/../mcp", False),
        ("/MCP", False),
        ("/%6dcp", False),
        ("/", False),
    ],
)
def test_a_route_has_one_spelling(target: str, fine: bool) -> None:
    judged = judge(target=target)
    if fine:
        admitted(judged)
    else:
        refused(judged, 404, "not_found")


@pytest.mark.parametrize("changed", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}])
def test_a_key_opens_a_closed_route(changed: Fields) -> None:
    assert admitted(judge(target="/closed", changed=changed)).principal == Principal("alice", "staff")


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize("changed", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": KEY, "Authorization": f"Bearer {KEY}"}])
def test_without_a_key_a_closed_route_tells_nothing_more(method: str, changed: Fields) -> None:
    away = refused(judge(method, "/closed", changed=changed), 401, "unauthorized")
    assert dict(away.fields)[b"www-authenticate"].startswith(b"Bearer")
    assert KEY.encode() not in repr(away).encode()


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "Origin", "Content-Type", "Content-Encoding"])
def test_a_repeated_field_is_refused_and_not_chosen_from(name: str) -> None:
    target = "/mcp" if name.startswith("Content") else "/closed"
    refused(judge("POST", target, f"{name}: a", f"{name}: b", changed={name: None}), 400, "bad_request")


@pytest.mark.parametrize("name", ["X-Request-Id", "Traceparent"])
def test_a_repeated_field_that_only_helps_to_correlate_is_ignored(name: str) -> None:
    passed = admitted(judge("POST", "/mcp", f"{name}: a", f"{name}: b", changed={name: None}))
    assert passed.correlation.request_id not in ("a", "b")


@pytest.mark.parametrize("method", ["PUT", "HEAD", "PATCH", "TRACE"])
def test_other_methods_are_not_allowed(method: str) -> None:
    assert (b"allow", ALLOWED) in refused(judge(method), 405, "method_not_allowed").fields


def test_a_gateway_that_drains_takes_nothing_new() -> None:
    away = refused(judge(draining=True), 503, "draining")
    assert (b"retry-after", b"1") in away.fields
    assert json.loads(away.body)["error"]["code"] == DRAINING
    refused(judge(target="/closed", draining=True), 401, "unauthorized")


BOTH, JSON_ONLY, STREAM_ONLY, NEITHER = (True, True), (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        (None, BOTH),
        ("", BOTH),
        ("*/*", BOTH),
        ("application/json, text/event-stream", BOTH),
        ("text/event-stream,application/json", BOTH),
        ("Application/JSON, Text/Event-Stream", BOTH),
        ("application/*, text/*", BOTH),
        ("application/json;q=0.5, text/event-stream;q=0.1", BOTH),
        ("application/json; charset=utf-8, text/event-stream", BOTH),
        ("application/json ;q=1.0 , text/event-stream", BOTH),
        ("application/json", JSON_ONLY),
        ("application/*", JSON_ONLY),
        ("application/json, text/event-stream;q=0", JSON_ONLY),
        ("application/json, text/event-stream; q=0.0", JSON_ONLY),
        ("text/event-stream", STREAM_ONLY),
        ("text/*, application/json;q=0", STREAM_ONLY),
        ("text/html", NEITHER),
        ("*/*;q=0", NEITHER),
    ],
)
def test_the_client_must_accept_what_it_may_be_answered_with(accept: str | None, accepted: tuple[bool, bool]) -> None:
    json_fine, stream_fine = accepted
    posted, got = judge("POST", changed={"Accept": accept}), judge("GET", changed={"Accept": accept})
    if json_fine and stream_fine:
        admitted(posted)
    else:
        refused(posted, 406, "unsupported_media_type")
    if stream_fine:
        admitted(got)
    else:
        refused(got, 406, "unsupported_media_type")
    admitted(judge("DELETE", changed={"Accept": accept}))


def test_several_accept_fields_are_one_list() -> None:
    admitted(judge("POST", "/mcp", "Accept: text/event-stream", changed={"Accept": "application/json"}))


@pytest.mark.parametrize(
    ("media", "fine"),
    [
        ("application/json", True),
        ("APPLICATION/JSON; charset=utf-8", True),
        ("application/json ;x=y", True),
        (None, False),
        ("", False),
        ("text/plain", False),
        ("application/json-rpc", False),
        ("application/x-www-form-urlencoded", False),
        ("text/plain; application/json", False),
    ],
)
def test_a_body_must_be_json(media: str | None, fine: bool) -> None:
    """Other types could be sent by any page, without a preflight."""
    judged = judge(changed={"Content-Type": media})
    if fine:
        admitted(judged)
    else:
        refused(judged, 415, "unsupported_media_type")
    admitted(judge("GET", changed={"Content-Type": media}))


@pytest.mark.parametrize("coding", ["gzip", "identity", ""])
def test_a_compressed_body_is_not_unpacked(coding: str) -> None:
    refused(judge(changed={"Content-Encoding": coding}), 415, "unsupported_media_type")


def test_a_body_that_is_declared_too_large_is_not_read() -> None:
    admitted(judge(changed={"Content-Length": "1000"}))
    away = refused(judge(changed={"Content-Length": "1001"}), 413, "too_large")
    assert json.loads(away.body)["error"]["code"] == TOO_LARGE
    admitted(judge(changed={"Transfer-Encoding": "chunked"}))


@pytest.mark.parametrize(
    ("judged", "code"),
    [
        (judge(changed={"Host": "evil.test"}), INVALID_REQUEST),
        (judge(changed={"Origin": "null"}), REFUSED),
        (judge(target="/nowhere"), INVALID_REQUEST),
        (judge(target="/closed"), REFUSED),
        (judge("PUT"), INVALID_REQUEST),
        (judge(changed={"Content-Type": None}), INVALID_REQUEST),
        (judge(draining=True), DRAINING),
    ],
)
def test_a_refusal_names_its_request_but_has_no_id(judged: Refused, code: int) -> None:
    body: dict[str, Any] = json.loads(judged.body)
    assert body.keys() == {"jsonrpc", "error"}
    assert body["error"]["code"] == code
    assert body["error"]["data"] == {"correlationId": "req-1"}
    fields = dict(judged.fields)
    assert fields[b"content-type"] == b"application/json"
    assert fields[b"x-request-id"] == b"req-1"
    assert fields[b"x-content-type-options"] == b"nosniff"
    assert fields[b"cache-control"] == b"no-store"


def preflight(target: str = "/mcp", origin: str | None = "https://app.test", wanted: str | None = None) -> Refused:
    changed: Fields = {"Origin": origin, "Access-Control-Request-Headers": wanted, "Accept": None, "Content-Type": None}
    judged = judge("OPTIONS", target, changed=changed)
    assert isinstance(judged, Refused)
    return judged


@pytest.mark.parametrize("target", ["/mcp", "/closed"])
def test_a_preflight_of_a_trusted_page_needs_no_key(target: str) -> None:
    answer = preflight(target)
    fields = dict(answer.fields)
    assert (answer.status, answer.body, answer.reason) == (204, b"", None)
    assert fields[b"access-control-allow-origin"] == b"https://app.test"
    assert fields[b"access-control-allow-methods"] == ALLOWED
    allowed = fields[b"access-control-allow-headers"].lower().split(b", ")
    assert {b"authorization", b"content-type", b"mcp-session-id", b"mcp-protocol-version", b"mcp-method"} <= set(
        allowed
    )
    assert b"mcp-session-id" in fields[b"access-control-expose-headers"].lower()


def test_a_preflight_allows_the_parameter_fields_that_are_asked_for_and_no_others() -> None:
    wanted = ", ".join(
        ["content-type", "X-Evil", "Mcp-Param-Region", *(f"mcp-param-{number}" for number in range(100))]
    )
    allowed = dict(preflight(wanted=wanted).fields)[b"access-control-allow-headers"].split(b", ")
    assert b"mcp-param-region" in allowed
    assert b"x-evil" not in allowed
    assert len([name for name in allowed if name.startswith(b"mcp-param-")]) == 32


def test_a_preflight_of_any_other_page_is_refused() -> None:
    refused(preflight(origin="https://evil.test"), 403, "forbidden_origin")


def test_asking_for_options_is_answered_without_cors_where_no_page_asks() -> None:
    answer = preflight(origin=None)
    assert answer.status == 204
    assert (b"allow", ALLOWED) in answer.fields
    assert not any(name.startswith(b"access-control") for name, _ in answer.fields)
