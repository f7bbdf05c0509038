"""Where exceptions end: the one place that turns a failure into what the client is told.

Own codes lie outside of the range that JSON-RPC reserves. `data.correlationId` is in every answer of ours; nothing
else from inside is: no upstream address, no library's words, no stack.
"""

from __future__ import annotations

import attrs

from gatewayd.exchange.call import Call, End
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import (
    DRAINING,
    INTERNAL_ERROR,
    TOO_LARGE,
    UNSUPPORTED_VERSION,
    UPSTREAM_BROKE,
    UPSTREAM_TIMED_OUT,
    UPSTREAM_UNREACHABLE,
)
from gatewayd.protocol.jsonrpc import Failure, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_elements, encode_members, members, text
from gatewayd.upstreams.channel import (
    Refused,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamTooLarge,
    UpstreamUnreachable,
    WrongEra,
)

UPSTREAM_CODES: tuple[tuple[type[UpstreamError], int, int], ...] = (
    (UpstreamUnreachable, UPSTREAM_UNREACHABLE, 502),
    (UpstreamDied, UPSTREAM_UNREACHABLE, 502),
    (UpstreamTimedOut, UPSTREAM_TIMED_OUT, 504),
    (UpstreamTooLarge, TOO_LARGE, 502),
    (UpstreamBroke, UPSTREAM_BROKE, 502),
)
OWN_CODES = range(-31999, -30999)


@attrs.frozen
class Verdict:
    """A failure as the client will see it, and how it is counted."""

    failure: Failure
    status: int
    """The fitting HTTP status."""
    outcome: Outcome


def judge(error: Exception, call: Call) -> Verdict:
    """What to answer for an exception. Anything unknown is an internal error, and says no more than that."""
    data: dict[str, bytes] = {}
    match error:
        case RpcError():
            failure, status = error.failure(), error.status
            outcome: Outcome = "refused"
        case WrongEra():
            supported = encode_elements(map(text, error.supported))
            data = {"supported": supported, "requested": text(call.version or "")}
            failure = Failure(None, UNSUPPORTED_VERSION, f"Unsupported protocol version: {error.reason}")
            status, outcome = 400, "refused"
        case Refused():
            failure, status, outcome = error.failure, 200, "error"
        case JsonError():  # a client's text was checked before it got here
            return judge(UpstreamBroke("the service sent something that is not JSON-RPC", error.reason), call)
        case UpstreamError():
            code, status = next(
                ((code, status) for kind, code, status in UPSTREAM_CODES if isinstance(error, kind)),
                (UPSTREAM_BROKE, 502),
            )
            service = error.service or call.plan.upstream.service.name
            failure = Failure(None, code, f"Service {service}: {error.reason}")
            outcome = "timeout" if isinstance(error, UpstreamTimedOut) else "upstream_error"
        case _:
            failure, status, outcome = Failure(None, INTERNAL_ERROR, "Internal error of the gateway"), 500, "error"
    return Verdict(_complete(failure, call, data), status, outcome)


def judge_end(reason: End | None, call: Call) -> Verdict | None:
    """What to answer when a call was ended from outside; None: nothing, because nobody waits for an answer."""
    match reason:
        case None:  # the call's own deadline
            seconds = call.plan.upstream.service.timeouts.call
            service = call.plan.upstream.service.name
            told = f"Service {service}: no answer within {seconds:g} seconds"
            return Verdict(_complete(Failure(None, UPSTREAM_TIMED_OUT, told), call, {}), 504, "timeout")
        case "drained":
            told = "the gateway is shutting down; the outcome of the call is unknown"
            return Verdict(_complete(Failure(None, DRAINING, told), call, {}), 503, "cancelled")
        case _:
            return None


def http_status(verdict: Verdict, call: Call) -> int:
    """The HTTP status to use.

    Legacy clients tear their session down on most statuses but 200, so the gateway's own errors about a call reach
    them with 200 unless the route says `errors = "http"`. What the transport's rules refuse keeps the status that
    those rules give: a session that is gone must be a 404, or the client never begins a new one.
    """
    about_a_call = verdict.failure.code in OWN_CODES or verdict.failure.code == INTERNAL_ERROR
    if call.era == "legacy" and call.plan.route.errors == "jsonrpc" and about_a_call and verdict.failure.id is not None:
        return 200
    return verdict.status


def _complete(failure: Failure, call: Call, data: dict[str, bytes]) -> Failure:
    """Add the id where it is missing, and the correlation id where there is room for it."""
    ident = call.rpc_id if failure.id is None else failure.id
    try:
        known = members(failure.data) if failure.data is not None else {}
    except JsonError:
        return Failure(ident, failure.code, failure.message, failure.data)
    parts = {**known, **data, "correlationId": text(call.correlation.request_id)}
    return Failure(ident, failure.code, failure.message, encode_members(parts))
