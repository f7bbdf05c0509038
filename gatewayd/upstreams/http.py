"""Streamable HTTP upstreams of both eras."""

from __future__ import annotations

import trio

from gatewayd.observe.metrics import Processes
from gatewayd.protocol.headers import encode_value
from gatewayd.protocol.http1 import HttpError, encode_fields, encode_request_head
from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result, encode
from gatewayd.protocol.versions import LEGACY, MODERN, REPEATABLE
from gatewayd.routes.table import HttpTarget, Service
from gatewayd.upstreams.answer import Abandon, HttpAnswer, final_answer, send
from gatewayd.upstreams.channel import Answer, Refused, UpstreamBroke, UpstreamTimedOut, WrongEra
from gatewayd.upstreams.eras import (
    EraMemory,
    Revisions,
    chosen_version,
    discover_request,
    modern_versions_in,
    offered_in,
)
from gatewayd.upstreams.http_session import HttpLegacyPeer
from gatewayd.upstreams.pool import Pool
from gatewayd.upstreams.service import Caller, Opened, Usage
from gatewayd.upstreams.supervise import Launched

Field = tuple[bytes, bytes]

NO_VERDICT = frozenset({401, 403, 429})
"""Statuses that say nothing about the protocol era; neither do those from 500 on, which tell of an outage."""


class HttpUpstream:
    """One service over Streamable HTTP: a pool of connections and what is known of its era. An `Upstream`."""

    def __init__(self, service: Service) -> None:
        assert isinstance(service.target, HttpTarget)
        self.usage = Usage()
        self.service = service
        self.target = service.target
        self.pool = Pool(service.target, connect_timeout=service.timeouts.connect, trust=service.trust)
        self.eras = EraMemory()
        self.launched = Launched()
        host = self.target.host if ":" not in self.target.host else f"[{self.target.host}]"
        default_port = 443 if self.target.scheme == "https" else 80
        authority = host if self.target.port == default_port else f"{host}:{self.target.port}"
        common: tuple[Field, ...] = (
            (b"host", authority.encode()),
            (b"accept", b"application/json, text/event-stream"),
            (b"accept-encoding", b"identity"),
            (b"user-agent", b"gatewayd"),
        )
        if service.bearer is not None:
            common += ((b"authorization", b"Bearer " + service.bearer.reveal().encode()),)
        content = ((b"content-type", b"application/json"),)
        self._heads = {
            method: encode_request_head(method, self.target.path, (*common, *more)).removesuffix(b"\r\n")
            for method, more in (("POST", content), ("GET", ()), ("DELETE", ()))
        }
        """What all requests of a method begin with."""

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        """See `Upstream.request`."""
        await self.eras.require_modern(lambda: self._probe(caller))
        return await self._post_modern(message, version, name, caller)

    async def revisions(self, caller: Caller) -> Revisions:
        """See `Upstream.revisions`."""
        return await self.eras.revisions(lambda: self._probe(caller))

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        """See `Upstream.open_legacy`."""
        answer = await self.post(message, caller.fields)
        try:
            head = await answer.read_head()
            result = await final_answer(answer)
            if isinstance(result, Failure):
                supported = modern_versions_in(result)
                if supported:
                    raise WrongEra("the service speaks only revisions without sessions", supported)
                raise Refused(result)
            version = chosen_version(result)
            session = head.get(b"mcp-session-id")
        except HttpError as error:
            raise UpstreamBroke("the service does not speak proper HTTP", error.reason) from error
        finally:
            await answer.aclose()
        return Opened(HttpLegacyPeer(self, session, version), version, result.result)

    async def post(
        self,
        message: Request | Notification | Result | Failure,
        fields: tuple[Field, ...],
        *,
        in_session: bool = False,
        abandon: Abandon | None = None,
    ) -> HttpAnswer:
        """Send one message; the answer's head is not awaited. `abandon` tells the service of a request given up."""
        body = encode(message)
        length = (b"content-length", b"%d" % len(body))
        request = message if isinstance(message, Request) else None
        return await self._exchange(
            "POST",
            b"%b%b\r\n%b" % (self._heads["POST"], encode_fields((length, *fields)), body),
            request_id=request.id if request is not None else None,
            repeatable=request is not None and request.method in REPEATABLE,
            in_session=in_session,
            abandon=abandon,
        )

    async def bodiless(self, method: str, fields: tuple[Field, ...], *, in_session: bool) -> HttpAnswer:
        """Send GET or DELETE for a legacy peer."""
        wire = b"%b%b\r\n" % (self._heads[method], encode_fields(fields))
        return await self._exchange(method, wire, request_id=None, repeatable=True, in_session=in_session, abandon=None)

    async def aclose(self) -> None:
        """Close idle connections; those in use are closed when their answers are."""
        await self.pool.aclose()

    def processes(self) -> Processes:
        """See `Upstream.processes`: the server itself, where the gateway runs it."""
        return Processes(int(self.launched.running), max(0, self.launched.starts - 1))

    def statistics(self) -> dict[str, object]:
        """What `/services` shows."""
        return {"kind": "http", "url": self.target.url, "connections": self.pool.open, "eras": self.eras.known()}

    async def _exchange(
        self,
        method: str,
        wire: bytes,
        *,
        request_id: Id | None,
        repeatable: bool,
        in_session: bool,
        abandon: Abandon | None,
    ) -> HttpAnswer:
        connection = await send(self.pool, await self.pool.acquire(), method, wire)
        return HttpAnswer(
            self.pool,
            connection,
            method,
            wire,
            request_id=request_id,
            limit=self.service.max.response,
            repeatable=repeatable,
            in_session=in_session,
            abandon=abandon,
        )

    async def _post_modern(self, message: Request, version: str, name: str | None, caller: Caller) -> HttpAnswer:
        fields: tuple[Field, ...] = (
            (b"mcp-protocol-version", version.encode()),
            (b"mcp-method", message.method.encode()),
            *caller.fields,
        )
        if name is not None:
            fields += ((b"mcp-name", encode_value(name)),)
        return await self.post(message, fields)

    async def _probe(self, caller: Caller) -> Revisions:
        try:
            with trio.fail_after(self.service.timeouts.connect):
                answer = await self._post_modern(discover_request(), MODERN[0], None, Caller(caller.key))
                try:
                    final = await final_answer(answer)
                except UpstreamBroke:
                    if answer.head is None or _no_verdict(answer.head.status):
                        raise
                    return LEGACY
                finally:
                    await answer.aclose()
        except trio.TooSlowError:
            raise UpstreamTimedOut("the service did not say in time which protocol it speaks") from None
        status = answer.head.status if answer.head is not None else 200
        offered = offered_in(final, status)
        if offered == LEGACY and _no_verdict(status):
            raise UpstreamBroke(f"the service answered with HTTP status {status}")
        return offered


def _no_verdict(status: int) -> bool:
    return status >= 500 or status in NO_VERDICT
