"""Upstreams over HTTP, of both eras and both transports."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import trio

from gatewayd.observe.metrics import Processes
from gatewayd.protocol.headers import encode_value
from gatewayd.protocol.jsonrpc import Failure, Request
from gatewayd.protocol.versions import LEGACY, MODERN
from gatewayd.routes.table import HttpTarget, Service
from gatewayd.upstreams.answer import HttpAnswer, OnRefusal, final_answer
from gatewayd.upstreams.channel import Answer, LegacyPeer, UpstreamBroke, UpstreamTimedOut, WrongEra
from gatewayd.upstreams.eras import EraMemory, Revisions, discover_request, no_verdict, offered_in, only_legacy
from gatewayd.upstreams.http_session import HttpLegacyPeer
from gatewayd.upstreams.opening import Denial, open_streamable
from gatewayd.upstreams.origin import Fields, HttpOrigin
from gatewayd.upstreams.pool import Pool
from gatewayd.upstreams.service import Caller, Opened, Usage
from gatewayd.upstreams.session_wire import SessionWire
from gatewayd.upstreams.sse_session import NoEndpoint, open_sse
from gatewayd.upstreams.supervise import Launched, supervise

PERHAPS_SSE = frozenset({400, 404, 405})
"""What a service of the HTTP+SSE transport answers to a POST (MCP 2025-06-18, backwards compatibility)."""


class HttpUpstream:
    """One service over HTTP: a pool of connections, and what is known of its era and transport. An `Upstream`.

    `nursery` runs the streams of HTTP+SSE sessions.
    """

    def __init__(self, service: Service, nursery: trio.Nursery) -> None:
        assert isinstance(service.target, HttpTarget)
        self.usage = Usage()
        self.service = service
        self.pool = Pool(service.target, connect_timeout=service.timeouts.connect, trust=service.trust)
        self.origin = HttpOrigin(service, service.target, self.pool)
        self.eras = EraMemory()
        self.launched = Launched()
        self._nursery = nursery
        self._sse = False
        """Whether the last session was one of HTTP+SSE."""

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        """See `Upstream.request`."""
        await self.eras.require_modern(self._probe)
        return await self._post_modern(message, version, name, caller.fields, self._doubt)

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        """See `Upstream.open_legacy`. Tries what worked last time; then Streamable HTTP, then HTTP+SSE."""
        try:
            if self._sse and (again := await self._open_sse(message, caller)) is not None:
                return again
            opened = await open_streamable(self.origin, message, caller.fields)
            if isinstance(opened, Denial):
                return await self._find_out(opened, message, caller)
            return opened
        except WrongEra:
            self.eras.doubt_legacy()
            raise

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        """See `Upstream.resume_legacy`."""
        return None if self._sse else HttpLegacyPeer(SessionWire(self.origin, session, version))

    def processes(self) -> Processes:
        """See `Upstream.processes`: the server itself, where the gateway runs it."""
        return Processes(int(self.launched.running), max(0, self.launched.starts - 1))

    def statistics(self) -> dict[str, object]:
        """What `/services` shows."""
        url = self.origin.target.url
        return {"kind": "http", "url": url, "connections": self.pool.open, "eras": self.eras.known()}

    async def _find_out(self, denial: Denial, message: Request, caller: Caller) -> Opened:
        """Why `initialize` was refused: it may be that the service has no sessions, or has them the old way."""
        if denial.modern:
            await self.eras.require_legacy(self._probe)
        if denial.status in PERHAPS_SSE and (opened := await self._open_sse(message, caller)) is not None:
            return opened
        if not denial.modern:
            await self.eras.require_legacy(self._probe)
        raise denial.error

    async def _open_sse(self, message: Request, caller: Caller) -> Opened | None:
        """A session of HTTP+SSE; None where the service does not speak that transport."""
        try:
            opened = await open_sse(self.origin, self._nursery, message, caller)
        except NoEndpoint:
            self._sse = False
            return None
        self._sse = True
        return opened

    def _doubt(self, status: int, failure: Failure | None) -> None:
        if only_legacy(status, failure):
            self.eras.doubt()

    async def _post_modern(
        self, message: Request, version: str, name: str | None, more: Fields, on_refusal: OnRefusal | None = None
    ) -> HttpAnswer:
        fields: Fields = (
            (b"mcp-protocol-version", version.encode()),
            (b"mcp-method", message.method.encode()),
            *more,
        )
        if name is not None:
            fields += ((b"mcp-name", encode_value(name)),)
        return await self.origin.post(message, fields, on_refusal=on_refusal)

    async def _probe(self) -> Revisions:
        try:
            with trio.fail_after(self.service.timeouts.connect):
                answer = await self._post_modern(discover_request(), MODERN[0], None, ())
                try:
                    final = await final_answer(answer)
                except UpstreamBroke:
                    if answer.head is None or no_verdict(answer.head.status):
                        raise
                    return LEGACY
                finally:
                    await answer.aclose()
        except trio.TooSlowError:
            raise UpstreamTimedOut("the service did not say in time which protocol it speaks") from None
        status = answer.head.status if answer.head is not None else 200
        offered = offered_in(final, status)
        if offered == LEGACY and no_verdict(status):
            raise UpstreamBroke(f"the service answered with HTTP status {status}")
        return offered


@asynccontextmanager
async def open_http_upstream(service: Service) -> AsyncGenerator[HttpUpstream]:
    """A service with an `HttpTarget`, with the tasks it needs; the server itself, if the gateway runs it, among them.

    All end with the block, and what is idle is closed. Exceptions leave in a group.
    """
    assert isinstance(service.target, HttpTarget)
    async with trio.open_nursery() as nursery:
        upstream = HttpUpstream(service, nursery)
        nursery.start_soon(upstream.pool.reap)
        if service.target.launch is not None:
            nursery.start_soon(partial(supervise, service.target.launch, name=service.name, launched=upstream.launched))
        try:
            yield upstream
        finally:
            nursery.cancel_scope.cancel()
            await upstream.pool.aclose()
