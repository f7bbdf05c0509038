"""Who may go on, decided from the head of a request alone: route, host, origin, method, media types, credentials.

Everything here comes before the body is read, so that nobody without credentials can make us read one. Paths are
compared as they were sent: no decoding, no normalisation, so there is one spelling of each route and no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs
import msgspec

from gatewayd.auth.principal import Principal
from gatewayd.exchange.plan import Plan, Plans
from gatewayd.exchange.reply import JSON, Field
from gatewayd.observe.correlation import Correlation, from_headers
from gatewayd.observe.metrics import Refusal as Reason
from gatewayd.protocol.codes import DRAINING, INVALID_REQUEST, REFUSED, TOO_LARGE
from gatewayd.protocol.http1 import HttpError, RequestHead
from gatewayd.protocol.jsonrpc import Failure, encode
from gatewayd.protocol.jsontext import text

ALLOWED = b"GET, POST, DELETE, OPTIONS"
CORS_REQUEST = (
    b"Authorization, X-API-Key, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Last-Event-ID, "
    b"Mcp-Method, Mcp-Name, X-Request-Id, Traceparent"
)
CORS_EXPOSED = b"Mcp-Session-Id, WWW-Authenticate, X-Request-Id, Retry-After"
SECURITY: tuple[Field, ...] = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
RETRY_SECONDS = b"1"


@attrs.frozen
class Door:
    """The listener that a request came in by."""

    scheme: Literal["http", "https"]
    hosts: frozenset[bytes]
    """The `Host` values that the address itself implies, in lower case; more are in the configuration."""


@attrs.frozen
class Refused:
    """An answer without a call."""

    status: int
    fields: tuple[Field, ...]
    body: bytes
    reason: Reason | None
    """For the metrics; None where nothing was refused (a preflight)."""


class Admitted(msgspec.Struct, frozen=True):
    """A request that may become a call, and what every answer to it carries."""

    plan: Plan
    principal: Principal
    correlation: Correlation
    fields: tuple[Field, ...]


def admit(head: RequestHead, plans: Plans, door: Door, *, draining: bool) -> Admitted | Refused:
    """Judge a head. The order follows MCP 2026-07-28 where it has one: host, origin, route, credentials, media types.

    Raises nothing: a repeated field that may occur once is a refusal, too.
    """
    try:
        correlation = from_headers(_lenient(head, b"x-request-id"), _lenient(head, b"traceparent"))
        fields: tuple[Field, ...] = (*SECURITY, (b"x-request-id", correlation.request_id.encode()))
        return _judge(head, plans, door, correlation, fields, draining=draining)
    except HttpError as error:
        return refuse(error.status, error.reason, "bad_request", SECURITY)


def _judge(
    head: RequestHead,
    plans: Plans,
    door: Door,
    correlation: Correlation,
    fields: tuple[Field, ...],
    *,
    draining: bool,
) -> Admitted | Refused:
    host = head.get(b"host")
    if host is None or not _host_allowed(host.lower(), plans, door):
        return refuse(421, "this host name is not served here; see `hosts` in [gateway]", "forbidden_host", fields)
    origin = head.get(b"origin")
    if origin is not None:
        if not _origin_allowed(origin, host, plans, door):
            return refuse(403, "this origin may not call; see `origins` in [gateway]", "forbidden_origin", fields)
        fields += _cors(origin)
    plan = plans.routes.get(head.path)
    if plan is None:
        return refuse(404, "no route has this path", "not_found", fields)
    if head.method == "OPTIONS":
        return Refused(204, (*fields, *_preflight(head)), b"", None)
    principal = plan.gate.admit(head.get(b"authorization"), head.get(b"x-api-key"))
    if principal is None:
        challenge = (b"www-authenticate", b'Bearer realm="gatewayd"')
        return refuse(401, "no valid credentials were presented", "unauthorized", (*fields, challenge))
    if head.method not in ("POST", "GET", "DELETE"):
        return refuse(405, "MCP uses POST, GET and DELETE", "method_not_allowed", (*fields, (b"allow", ALLOWED)))
    if draining:
        retry = (b"retry-after", RETRY_SECONDS)
        return refuse(503, "the gateway is shutting down", "draining", (*fields, retry), DRAINING)
    return _media(head, plan, fields) or Admitted(plan, principal, correlation, fields)


def refuse(status: int, message: str, reason: Reason, fields: Iterable[Field], code: int | None = None) -> Refused:
    """An answer with an HTTP status and an id-less JSON-RPC error: the id, if any, is still in the unread body."""
    if code is None:
        code = {403: REFUSED, 413: TOO_LARGE, 401: REFUSED}.get(status, INVALID_REQUEST)
    known = dict(fields).get(b"x-request-id")
    data = None if known is None else b'{"correlationId":%b}' % text(known.decode())
    return Refused(status, (*fields, JSON), encode(Failure(None, code, message, data)), reason)


def _media(head: RequestHead, plan: Plan, fields: tuple[Field, ...]) -> Refused | None:
    """The rules on `Accept`, `Content-Type` and size (MCP 2025-11-25 and 2026-07-28, Streamable HTTP)."""
    if head.method == "DELETE":
        return None
    accept = b",".join(head.values(b"accept")).lower() or b"*/*"
    if not _accepts(accept, b"text/event-stream"):
        return refuse(406, "the client must accept text/event-stream", "unsupported_media_type", fields)
    if head.method == "GET":
        return None
    if not _accepts(accept, b"application/json"):
        return refuse(406, "the client must accept application/json", "unsupported_media_type", fields)
    media = (head.get(b"content-type") or b"").split(b";", 1)[0].strip().lower()
    if media != b"application/json":
        return refuse(415, "the body must be application/json", "unsupported_media_type", fields)
    if head.get(b"content-encoding") is not None:
        return refuse(415, "compressed bodies are not accepted", "unsupported_media_type", fields)
    if head.length is not None and head.length > plan.max_request:
        return refuse(413, f"the request is larger than {plan.max_request} bytes", "too_large", fields)
    return None


def _accepts(accept: bytes, media: bytes) -> bool:
    if media in accept and b"q=0" not in accept:
        return True
    wanted = {media, media.split(b"/")[0] + b"/*", b"*/*"}
    for item in accept.split(b","):
        name, _, parameters = item.partition(b";")
        if name.strip() in wanted and parameters.replace(b" ", b"") not in (b"q=0", b"q=0.0"):
            return True
    return False


def _host_allowed(host: bytes, plans: Plans, door: Door) -> bool:
    """Whether the name is ours: anything else may be a page that points its own name at us (DNS rebinding)."""
    if host in door.hosts or host in plans.hosts:
        return True
    name, _, port = host.rpartition(b":")
    return port.isdigit() and name in plans.hosts


def _origin_allowed(origin: bytes, host: bytes, plans: Plans, door: Door) -> bool:
    """A page of our own address may call; any other only when configured. `null` is nobody."""
    return origin.lower() == b"%b://%b" % (door.scheme.encode(), host.lower()) or origin in plans.origins


def _cors(origin: bytes) -> tuple[Field, ...]:
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", CORS_EXPOSED),
        (b"vary", b"Origin"),
    )


def _preflight(head: RequestHead) -> tuple[Field, ...]:
    if head.get(b"origin") is None:
        return ((b"allow", ALLOWED),)
    wanted = head.get(b"access-control-request-headers") or b""
    extra = [name for name in wanted.lower().replace(b" ", b"").split(b",") if name.startswith(b"mcp-param-")]
    return (
        (b"allow", ALLOWED),
        (b"access-control-allow-methods", ALLOWED),
        (b"access-control-allow-headers", b", ".join([CORS_REQUEST, *extra[:32]])),
        (b"access-control-max-age", b"600"),
    )


def _lenient(head: RequestHead, name: bytes) -> bytes | None:
    """A field that only helps to correlate: repeated is as good as missing."""
    values = head.values(name)
    return values[0] if len(values) == 1 else None
