"""Requests of the legacy eras over a legacy upstream: sessions, the GET stream, requests of the server."""

from __future__ import annotations

import itertools
import math

import attrs
import structlog
import trio

from gatewayd.exchange.call import Call
from gatewayd.exchange.hop import Hop, legacy_hop
from gatewayd.exchange.relay import relay
from gatewayd.exchange.revisions import asked_version, offer_known
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, RATE_LIMITED
from gatewayd.protocol.jsonrpc import (
    Failure,
    Id,
    Message,
    Notification,
    Request,
    Result,
    RpcError,
    encode,
    identifier,
)
from gatewayd.protocol.jsontext import JsonError, members
from gatewayd.sessions.registry import Registry, TooManySessions
from gatewayd.sessions.session import Session
from gatewayd.upstreams.channel import SessionLost, UpstreamBroke
from gatewayd.upstreams.service import Caller

log = structlog.get_logger("gatewayd.exchange")

NO_SESSION = "Session not found: start again with initialize"


@attrs.define(eq=False)
class SessionCall:
    """A `Call` as its session sees it."""

    call: Call

    def cancel(self) -> None:
        """See `RunningCall.cancel`."""
        self.call.end("cancelled by client")

    def session_ended(self) -> None:
        """See `RunningCall.session_ended`."""
        self.call.end("session ended")


class Legacy:
    """Serves legacy requests; owns nothing but the way from a request to its session."""

    def __init__(self, registry: Registry, ids: itertools.count[int]) -> None:
        self._registry = registry
        self._ids = ids

    async def serve(self, call: Call, message: Message | None) -> Outcome:
        """Serve one HTTP request. Raises `RpcError`, `UpstreamError`; cancelled with the call's scope."""
        if isinstance(message, Request) and message.method == "initialize":
            return await self._initialize(call, message)
        session = self._session(call)
        try:
            match message:
                case None if call.head.method == "DELETE":
                    await self._registry.end(session)
                    await call.reply.accept(204)
                    return "ok"
                case None:
                    return await self._listen(call, session)
                case Request():
                    return await self._request(call, session, message)
                case Notification():
                    return await self._notification(call, session, message)
                case _:
                    return await self._answer(call, session, message)
        except SessionLost:
            await self._registry.end(session)
            raise RpcError(INVALID_REQUEST, NO_SESSION, status=404) from None
        finally:
            session.used = trio.current_time()

    async def _initialize(self, call: Call, message: Request) -> Outcome:
        upstream = call.plan.upstream
        call.set_deadline(trio.current_time() + upstream.service.timeouts.call)
        try:
            call.version = asked_version(message)
            request = offer_known(Request(next(self._ids), message.method, message.params))
        except JsonError as error:
            raise RpcError(INVALID_PARAMS, f"Invalid params: {error.reason}", message.id) from None
        opened = await upstream.open_legacy(request, Caller(call.principal.key, tuple(call.trace_fields())))
        try:
            session = await self._registry.open(call.principal, call.plan.route.path, upstream, opened.peer)
        except TooManySessions:
            await opened.peer.aclose()
            raise RpcError(RATE_LIMITED, "Too many sessions; try again later", message.id, status=503) from None
        except BaseException:
            await opened.peer.aclose()
            raise
        call.reply.add_field(b"mcp-session-id", session.id.encode())
        await call.reply.finish(encode(Result(message.id, opened.result)))
        return "ok"

    def _session(self, call: Call) -> Session:
        ident = call.head.get(b"mcp-session-id")
        if ident is None:
            raise RpcError(INVALID_REQUEST, "Invalid request: Mcp-Session-Id is required; start with initialize")
        session = self._registry.find(ident.decode("latin-1"), call.principal, call.plan.route.path)
        if session is None:
            raise RpcError(INVALID_REQUEST, NO_SESSION, status=404)
        return session

    async def _request(self, call: Call, session: Session, message: Request) -> Outcome:
        if message.id in session.calls:
            raise RpcError(INVALID_REQUEST, "Invalid request: this id is in use", message.id)
        if len(session.calls) >= call.plan.max_calls:
            raise RpcError(RATE_LIMITED, "Too many calls at once in this session", message.id, status=429)
        call.set_deadline(trio.current_time() + session.upstream.service.timeouts.call)
        call.reply.keeps_alive = True
        hop, request = legacy_hop(message, next(self._ids))
        session.calls[message.id] = SessionCall(call)
        try:
            answer = await session.peer.request(request)
            try:
                return await relay(call, hop, answer, lambda early: self._translate(session, early, hop))
            finally:
                await answer.aclose()
        finally:
            session.forget(hop.our_id)
            del session.calls[message.id]

    async def _listen(self, call: Call, session: Session) -> Outcome:
        if session.listener is not None:
            raise RpcError(INVALID_REQUEST, "Invalid request: the session has a GET stream already", status=409)
        session.listener = SessionCall(call)
        call.listening = True
        call.set_deadline(math.inf)
        try:
            answer = await session.peer.listen()
            if answer is None:
                raise RpcError(INVALID_REQUEST, "The service offers no stream of its own", status=405)
            try:
                call.reply.keeps_alive = True
                await call.reply.stream()
                while (message := await answer.receive()) is not None:
                    if isinstance(message, Result | Failure):
                        raise UpstreamBroke("the service answered where nothing was asked")
                    out = await self._translate(session, message, None)
                    if out is not None:
                        await call.reply.event(encode(out))
            finally:
                await answer.aclose()
        finally:
            session.listener = None
        await call.reply.finish_without_answer()
        return "ok"

    async def _translate(
        self, session: Session, message: Notification | Request, hop: Hop | None
    ) -> Notification | Request | None:
        """A message of the upstream as the client may see it."""
        if isinstance(message, Notification):
            if message.method == "notifications/cancelled":
                return session.withdrawn(message)
            return message if hop is None else hop.notification(message)
        asked = session.ask(message, self._ids, None if hop is None else hop.our_id)
        if asked is None:
            await session.peer.send(Failure(message.id, INTERNAL_ERROR, "too many requests wait for the client"))
        return asked

    async def _notification(self, call: Call, session: Session, message: Notification) -> Outcome:
        if message.method == "notifications/cancelled":
            ident = _request_id(message)
            running = session.calls.get(ident) if ident is not None else None
            if running is not None:
                running.cancel()
        else:
            await session.peer.send(message)
        await call.reply.accept()
        return "ok"

    async def _answer(self, call: Call, session: Session, message: Result | Failure) -> Outcome:
        """Late and repeated answers are normal after a cancellation: they are accepted and go nowhere."""
        answer = session.answered(message)
        if answer is not None:
            await session.peer.send(answer)
        await call.reply.accept()
        return "ok"


def _request_id(message: Notification) -> Id | None:
    try:
        return identifier(members(message.params or b"{}").get("requestId", b"null"))
    except JsonError:
        return None
