"""The admin plane as an ASGI application, for people, probes and Prometheus. It shows; it changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from functools import partial
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatewayd.control.view import View
from gatewayd.observe.exposition import CONTENT_TYPE

ALLOWED = ("GET", "HEAD")

PATHS = {
    "/": "this list",
    "/healthz": "200 while the gateway turns",
    "/readyz": "200 while new calls are welcome, or 503 and the reason",
    "/metrics": "counters for Prometheus",
    "/services": "the upstream services and how they do, and the routes over several of them",
    "/api/v1/tree": "the live nursery tree",
}

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


_HOST = re.compile(rb"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?")


def build_app(view: View, hosts: Collection[str] | None = None) -> ASGIApp:
    """The application over one gateway's view.

    `hosts`: the names (lower case, without port) that a `Host` header may have; every other is refused with
    421, so that a web page cannot reach a loopback listener by rebinding its own name. None: any name, for a
    listener that is not on loopback, where names are the administrator's business.

    No CORS header is ever sent, and no path takes anything but GET and HEAD.
    """
    answers: dict[str, Callable[[], Response]] = {
        "/": lambda: _json({"paths": PATHS, "table": view.table()}),
        "/healthz": lambda: PlainTextResponse("ok\n"),
        "/readyz": lambda: _ready(view),
        "/metrics": lambda: Response(view.metrics(), headers={"content-type": CONTENT_TYPE}),
        "/services": lambda: _json({"services": view.services(), "routes": view.routes(), "table": view.table()}),
        "/api/v1/tree": lambda: _json(view.tree()),
    }
    app = Starlette(
        routes=[Route(path, partial(_answer, answer), methods=ALLOWED) for path, answer in answers.items()],
        exception_handlers={HTTPException: _refusal, Exception: _failure},
    )
    app.router.redirect_slashes = False
    return partial(_guard, app, frozenset(hosts) if hosts is not None else None)


async def _answer(answer: Callable[[], Response], request: Request) -> Response:
    return answer()


def _ready(view: View) -> Response:
    ready, reason = view.ready()
    return _json({"ready": ready, "reason": reason}, status=200 if ready else 503)


async def _refusal(request: Request, error: Exception) -> Response:
    """404 and 405, as JSON like everything else."""
    refusal = cast("HTTPException", error)
    headers = {"allow": ", ".join(ALLOWED)} if refusal.status_code == 405 else None
    return _json({"error": refusal.detail}, status=refusal.status_code, headers=headers)


async def _failure(request: Request, error: Exception) -> Response:
    """Anything else: the details are in the log only."""
    return _json({"error": "Internal Server Error"}, status=500)


def _json(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(value, indent=2, default=str).encode("ascii") + b"\n"
    return Response(body, status, headers, media_type="application/json")


async def _guard(app: ASGIApp, hosts: frozenset[str] | None, scope: Scope, receive: Receive, send: Send) -> None:
    """Around every request: the `Host` check before anything else, the security headers on every answer."""

    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *SECURITY_HEADERS]
        await send(message)

    if scope["type"] != "http":
        await app(scope, receive, send)
    elif hosts is not None and _host_name(scope) not in hosts:
        refusal = _json({"error": "This name is not served here."}, status=421)
        await refusal(scope, receive, send_guarded)
    else:
        await app(scope, receive, send_guarded)


def _host_name(scope: Scope) -> str | None:
    """The one `Host` without its port, lower case; None where there is none, or more than one."""
    found = [value for name, value in scope["headers"] if name == b"host"]
    match = _HOST.fullmatch(found[0].lower()) if len(found) == 1 else None
    return (match[1] or match[2]).decode("ascii") if match else None
