"""The HTTP requests to one path of a service: its connections, and what every request begins with."""

from __future__ import annotations

import attrs

from gatewayd.protocol.http1 import Field, encode_fields, encode_request_head
from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result, encode
from gatewayd.protocol.versions import REPEATABLE
from gatewayd.routes.table import HttpTarget, Service
from gatewayd.upstreams.answer import HttpAnswer, OnRefusal, See, send
from gatewayd.upstreams.pool import Pool

Fields = tuple[Field, ...]


class HttpOrigin:
    """Sends requests and hands out their answers, unread. `target` is that of `service`, or another path of it."""

    def __init__(self, service: Service, target: HttpTarget, pool: Pool) -> None:
        self.service = service
        self.target = target
        self.pool = pool
        common = _common(service, target)
        content = ((b"content-type", b"application/json"),)
        self._heads = {
            method: encode_request_head(method, target.path, (*common, *more)).removesuffix(b"\r\n")
            for method, more in (("POST", content), ("GET", ()), ("DELETE", ()))
        }
        """What all requests of a method begin with."""

    def at(self, path: str) -> HttpOrigin:
        """Another path of the same service, over the same connections."""
        return HttpOrigin(self.service, attrs.evolve(self.target, path=path), self.pool)

    async def post(
        self,
        message: Request | Notification | Result | Failure,
        fields: Fields,
        *,
        in_session: bool = False,
        see: See | None = None,
        on_refusal: OnRefusal | None = None,
    ) -> HttpAnswer:
        """Send one message; the answer's head is not awaited. Raises `UpstreamError`."""
        body = encode(message)
        length = (b"content-length", b"%d" % len(body))
        request = message if isinstance(message, Request) else None
        wire = b"%b%b\r\n%b" % (self._heads["POST"], encode_fields((length, *fields)), body)
        return HttpAnswer(
            self.pool,
            await send(self.pool, await self.pool.acquire(), "POST", wire),
            "POST",
            wire,
            request_id=None if request is None else request.id,
            limit=self.service.max.response,
            repeatable=request is not None and request.method in REPEATABLE,
            in_session=in_session,
            see=see,
            on_refusal=on_refusal,
        )

    async def bodiless(
        self, method: str, fields: Fields, *, in_session: bool, request_id: Id | None = None, see: See | None = None
    ) -> HttpAnswer:
        """Send GET or DELETE. `request_id` is that of the request whose stream is taken up again."""
        wire = b"%b%b\r\n" % (self._heads[method], encode_fields(fields))
        return HttpAnswer(
            self.pool,
            await send(self.pool, await self.pool.acquire(), method, wire),
            method,
            wire,
            request_id=request_id,
            limit=self.service.max.response,
            repeatable=True,
            in_session=in_session,
            see=see,
        )


def _common(service: Service, target: HttpTarget) -> Fields:
    host = target.host if ":" not in target.host else f"[{target.host}]"
    default_port = 443 if target.scheme == "https" else 80
    authority = host if target.port == default_port else f"{host}:{target.port}"
    common: Fields = (
        (b"host", authority.encode()),
        (b"accept", b"application/json, text/event-stream"),
        (b"accept-encoding", b"identity"),
        (b"user-agent", b"gatewayd"),
    )
    if service.bearer is not None:
        common += ((b"authorization", b"Bearer " + service.bearer.reveal().encode()),)
    return common
