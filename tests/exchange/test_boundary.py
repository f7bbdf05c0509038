"""What a client is told of a failure, and what it is not told."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio

from gatewayd.auth.gate import Gate
from gatewayd.auth.principal import ANONYMOUS
from gatewayd.exchange.boundary import http_status, judge, judge_end
from gatewayd.exchange.call import Call, End
from gatewayd.exchange.plan import Plan
from gatewayd.observe.correlation import Correlation
from gatewayd.observe.tree import Node
from gatewayd.protocol.codes import (
    DRAINING,
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    RATE_LIMITED,
    TOO_LARGE,
    UNSUPPORTED_VERSION,
    UPSTREAM_BROKE,
    UPSTREAM_TIMED_OUT,
    UPSTREAM_UNREACHABLE,
)
from gatewayd.protocol.http1_head import parse_request_head
from gatewayd.protocol.jsonrpc import Failure, Id, RpcError
from gatewayd.protocol.jsontext import JsonError
from gatewayd.protocol.versions import Era
from gatewayd.routes.table import ErrorStyle, Route
from gatewayd.upstreams.channel import (
    Refused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamTooLarge,
    UpstreamUnreachable,
    WrongEra,
)
from tests.sessions.fakes import Upstream

HEAD = parse_request_head(b"POST /mcp HTTP/1.1\r\nhost: x\r\n\r\n")
CORRELATION = Correlation("req-1", "00-" + "a" * 32 + "-" + "b" * 16 + "-01", False)


@attrs.define
class NoReply:
    """Nothing is sent here."""

    started: bool = False

    async def send(self, status: int, fields: object, body: bytes) -> None:
        raise NotImplementedError

    async def start(self, status: int, fields: object) -> None:
        raise NotImplementedError

    async def write(self, data: bytes) -> None:
        raise NotImplementedError

    async def end(self) -> None:
        raise NotImplementedError


def call(era: Era = "modern", ident: Id | None = "c1", errors: ErrorStyle = "jsonrpc") -> Call:
    plan = Plan(Route("/mcp", ("web",), errors=errors), Upstream(), Gate([]), 1000, 100)
    made = Call(plan, HEAD, ANONYMOUS, CORRELATION, NoReply(), Node("call", parent=None, now=0.0), 0.0)
    made.rpc_id, made.era, made.version = ident, era, "2026-07-28"
    return made


def data(failure: Failure) -> Any:
    return json.loads(failure.data or b"null")


@pytest.mark.parametrize(
    ("error", "code", "status", "outcome"),
    [
        (UpstreamUnreachable("gone", "10.0.0.1"), UPSTREAM_UNREACHABLE, 502, "upstream_error"),
        (UpstreamDied("gone", "10.0.0.1"), UPSTREAM_UNREACHABLE, 502, "upstream_error"),
        (UpstreamTimedOut("gone", "10.0.0.1"), UPSTREAM_TIMED_OUT, 504, "timeout"),
        (UpstreamTooLarge("gone", "10.0.0.1"), TOO_LARGE, 502, "upstream_error"),
        (UpstreamBroke("gone", "10.0.0.1"), UPSTREAM_BROKE, 502, "upstream_error"),
        (SessionLost("gone", "10.0.0.1"), UPSTREAM_BROKE, 502, "upstream_error"),
        (UpstreamError("gone", "10.0.0.1"), UPSTREAM_BROKE, 502, "upstream_error"),
    ],
)
def test_a_failed_service_is_named_with_its_reason_and_never_its_detail(
    error: UpstreamError, code: int, status: int, outcome: str
) -> None:
    verdict = judge(error, call())
    assert verdict.failure == Failure("c1", code, "Service web: gone", b'{"correlationId":"req-1"}')
    assert (verdict.status, verdict.outcome) == (status, outcome)
    assert "10.0.0.1" not in repr(verdict)


def test_an_unreadable_message_of_the_service_is_the_service_s_fault() -> None:
    verdict = judge(JsonError("the same name twice"), call())
    assert (verdict.failure.code, verdict.status) == (UPSTREAM_BROKE, 502)


@pytest.mark.parametrize(
    "error", [ValueError("s3cret"), KeyError("s3cret"), OSError(5, "s3cret"), AssertionError("s3cret")]
)
def test_a_defect_of_ours_says_no_more_than_that(error: Exception) -> None:
    verdict = judge(error, call())
    assert (verdict.failure.code, verdict.status, verdict.outcome) == (INTERNAL_ERROR, 500, "error")
    assert "s3cret" not in repr(verdict)
    assert verdict.failure.id == "c1"


def test_a_refusal_of_ours_keeps_its_code_status_and_data() -> None:
    verdict = judge(RpcError(HEADER_MISMATCH, "Header mismatch: x", None, b'{"header":"x"}', 400), call())
    assert verdict.failure.code == HEADER_MISMATCH
    assert verdict.failure.message == "Header mismatch: x"
    assert verdict.failure.id == "c1"
    assert data(verdict.failure) == {"header": "x", "correlationId": "req-1"}
    assert (verdict.status, verdict.outcome) == (400, "refused")


def test_a_refusal_may_know_the_id_before_the_call_does() -> None:
    assert judge(RpcError(INVALID_REQUEST, "no", 7), call(ident=None)).failure.id == 7
    assert judge(RpcError(INVALID_REQUEST, "no"), call(ident=None)).failure.id is None


def test_the_wrong_era_is_answered_with_what_is_spoken() -> None:
    verdict = judge(WrongEra("only sessions", ("2025-11-25", "2025-06-18")), call())
    assert verdict.failure.code == UNSUPPORTED_VERSION
    assert data(verdict.failure) == {
        "supported": ["2025-11-25", "2025-06-18"],
        "requested": "2026-07-28",
        "correlationId": "req-1",
    }
    assert verdict.status == 400


def test_the_service_s_own_error_is_passed_on_under_the_client_s_id() -> None:
    verdict = judge(Refused(Failure(42, -32602, "no such client", b'{"why":1}')), call())
    assert verdict.failure.id == "c1"
    assert (verdict.failure.code, verdict.failure.message) == (-32602, "no such client")
    assert data(verdict.failure) == {"why": 1, "correlationId": "req-1"}
    assert (verdict.status, verdict.outcome) == (200, "error")


@pytest.mark.parametrize("raw", [b"[1]", b'"text"', b'{"a":1,"a":2}'])
def test_data_without_room_for_ours_is_left_alone(raw: bytes) -> None:
    assert judge(Refused(Failure(42, -1, "no", raw)), call()).failure == Failure("c1", -1, "no", raw)


def test_a_service_cannot_forge_the_correlation_id() -> None:
    refused = Refused(Failure(42, -1, "no", b'{"correlationId":"forged"}'))
    assert data(judge(refused, call()).failure) == {"correlationId": "req-1"}


def test_a_call_that_took_too_long_is_told_so() -> None:
    verdict = judge_end(None, call())
    assert verdict is not None
    assert verdict.failure.code == UPSTREAM_TIMED_OUT
    assert verdict.failure.message == "Service web: no answer within 60 seconds"
    assert (verdict.status, verdict.outcome) == (504, "timeout")


def test_a_call_that_a_shutdown_ended_is_told_so() -> None:
    verdict = judge_end("drained", call())
    assert verdict is not None
    assert (verdict.failure.code, verdict.status, verdict.outcome) == (DRAINING, 503, "cancelled")
    assert "outcome of the call is unknown" in verdict.failure.message


@pytest.mark.parametrize("end", ["disconnected", "timed out", "not reading", "cancelled by client", "session ended"])
def test_where_nobody_waits_nothing_is_said(end: End) -> None:
    assert judge_end(end, call()) is None


OWN = UpstreamBroke("x")
TRANSPORT = RpcError(INVALID_REQUEST, "Session not found", status=404)
LIMIT = RpcError(RATE_LIMITED, "Too many calls", status=429)


@pytest.mark.parametrize(
    ("error", "era", "ident", "errors", "status"),
    [
        (OWN, "modern", "c1", "jsonrpc", 502),
        (OWN, "legacy", "c1", "jsonrpc", 200),
        (OWN, "legacy", "c1", "http", 502),
        (OWN, "legacy", None, "jsonrpc", 502),
        (LIMIT, "modern", "c1", "jsonrpc", 429),
        (LIMIT, "legacy", "c1", "jsonrpc", 200),
        (LIMIT, "legacy", "c1", "http", 429),
        (ValueError(), "legacy", "c1", "jsonrpc", 200),
        (ValueError(), "modern", "c1", "jsonrpc", 500),
        (TRANSPORT, "legacy", "c1", "jsonrpc", 404),
        (TRANSPORT, "legacy", None, "jsonrpc", 404),
        (WrongEra("x", ()), "legacy", "c1", "jsonrpc", 400),
        (WrongEra("x", ()), "modern", "c1", "jsonrpc", 400),
    ],
)
def test_which_http_status_carries_it(
    error: Exception, era: Era, ident: Id | None, errors: ErrorStyle, status: int
) -> None:
    made = call(era, ident, errors)
    assert http_status(judge(error, made), made) == status


async def test_only_the_first_reason_ends_a_call() -> None:
    made = call()
    with made.scope:
        made.end("session ended")
        made.end("drained")
        await trio.lowlevel.checkpoint()
    assert made.ended == "session ended"
    assert made.scope.cancelled_caught
