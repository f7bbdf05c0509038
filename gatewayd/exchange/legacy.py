"""Requests of the legacy eras: the way from an HTTP request to its session, and what a session is told in passing."""

from __future__ import annotations

import itertools
from functools import partial

import trio

from gatewayd.exchange.call import Call
from gatewayd.exchange.legacy_calls import LegacyCalls
from gatewayd.exchange.legacy_streams import LegacyStreams
from gatewayd.exchange.revisions import asked_version, offer_known
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import INVALID_PARAMS, INVALID_REQUEST, RATE_LIMITED
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, RpcError, encode
from gatewayd.protocol.jsontext import JsonError
from gatewayd.sessions.memo import Memo, target_of
from gatewayd.sessions.registry import Registry, TooManySessions
from gatewayd.sessions.session import Session
from gatewayd.upstreams.attribution import cancelled
from gatewayd.upstreams.healing import HealingPeer
from gatewayd.upstreams.service import Caller, Upstream

NO_SESSION = "Session not found: start again with initialize"
TOO_MANY = "Too many sessions; try again later"


class Legacy:
    """Serves legacy requests; owns nothing but the way from a request to its session."""

    def __init__(self, registry: Registry, ids: itertools.count[int]) -> None:
        self._registry = registry
        self._ids = ids
        self._calls = LegacyCalls(registry, ids)
        self.streams = LegacyStreams(registry, ids)

    async def serve(self, call: Call, message: Message | None) -> Outcome:
        """Serve one HTTP request. Raises `RpcError`, `UpstreamError`; cancelled with the call's scope."""
        if isinstance(message, Request) and message.method == "initialize":
            session, result = await self.initialize(call, message)
            call.reply.add_field(b"mcp-session-id", session.id.encode())
            await call.reply.finish(encode(result))
            return "ok"
        session = await self.session(call)
        try:
            match message:
                case None if call.head.method == "DELETE":
                    await self._registry.end(session)
                    await call.reply.accept(204)
                    return "ok"
                case None:
                    return await self.streams.serve(call, session)
                case _:
                    return await self.take(call, session, message)
        finally:
            session.used = trio.current_time()

    async def session(self, call: Call) -> Session:
        """The session that a request names. Raises `RpcError`: 400 where it names none, 404 where there is none."""
        ident = call.head.get(b"mcp-session-id")
        if ident is None:
            raise RpcError(INVALID_REQUEST, "Invalid request: Mcp-Session-Id is required; start with initialize")
        reopen = partial(self._reopen, call.plan.upstream, call.principal.key)
        try:
            session = await self._registry.find(ident.decode("latin-1"), call.principal, call.plan.route.path, reopen)
        except TooManySessions:
            raise RpcError(RATE_LIMITED, TOO_MANY, call.rpc_id, status=503) from None
        if session is None:
            raise RpcError(INVALID_REQUEST, NO_SESSION, status=404)
        current = self._registry.behind(session.path)
        if current is not None and session.upstream is not current:  # it was opened while a reload replaced the service
            await session.move(current)
        return session

    async def take(self, call: Call, session: Session, message: Message) -> Outcome:
        """Serve one message of a session."""
        match message:
            case Request():
                return await self._calls.serve(call, session, message)
            case Notification():
                await self._notify(session, message)
            case _:
                await self._answer(session, message)
        await call.reply.accept()
        return "ok"

    async def initialize(self, call: Call, message: Request) -> tuple[Session, Result]:
        """Open a session, upstream first; what the client is told of it."""
        upstream = call.plan.upstream
        call.set_deadline(trio.current_time() + upstream.service.timeouts.call)
        try:
            call.version = asked_version(message)
            request = offer_known(Request(next(self._ids), message.method, message.params))
        except JsonError as error:
            raise RpcError(INVALID_PARAMS, f"Invalid params: {error.reason}", message.id) from None
        key = call.principal.key
        opened = await upstream.open_legacy(request, Caller(key, tuple(call.trace_fields())))
        peer = HealingPeer(upstream, request, Caller(key), self._ids, opened.peer)
        try:
            params = request.params or b"{}"
            session = await self._registry.open(call.principal, call.plan.route.path, peer, opened.version, params)
        except TooManySessions:
            await peer.aclose()
            raise RpcError(RATE_LIMITED, TOO_MANY, message.id, status=503) from None
        except BaseException:
            await peer.aclose()
            raise
        return session, Result(message.id, opened.result)

    def _reopen(self, upstream: Upstream, key: str, memo: Memo) -> HealingPeer:
        """The way to the upstream for a session that only its id tells us of."""
        caller = Caller(key)
        known = None
        if memo.upstream is not None and memo.target == target_of(upstream.service):
            known = upstream.resume_legacy(memo.upstream, memo.version, caller)
        return HealingPeer(upstream, Request(0, "initialize", memo.initialize), caller, self._ids, known)

    async def _notify(self, session: Session, message: Notification) -> None:
        if message.method == "notifications/cancelled":
            ident = cancelled(message)
            running = session.calls.get(ident) if ident is not None else None
            if running is not None:
                running.cancel()
        else:
            await session.peer.send(message)

    async def _answer(self, session: Session, message: Result | Failure) -> None:
        """Late and repeated answers are normal after a cancellation: they are accepted and go nowhere."""
        answer = session.answered(message)
        if answer is not None:
            for running in session.calls.values():
                running.questions_changed()
            await session.peer.send(answer)
