"""Requests of a session: relayed by the connection that they came on, and by the session when that is lost.

A client that disconnects cancels nothing in the legacy eras (MCP 2025-11-25, Streamable HTTP). So the call goes on
under its session for the resume window, and what it says is kept for the client to come back and ask for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import attrs
import trio

from gatewayd.exchange.boundary import judge, judge_end
from gatewayd.exchange.call import Call
from gatewayd.exchange.hop import Hop, legacy_hop
from gatewayd.exchange.relay import relay
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_REQUEST, RATE_LIMITED
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result, RpcError, encode
from gatewayd.sessions.journal import Journal
from gatewayd.sessions.registry import Registry
from gatewayd.sessions.session import Session
from gatewayd.upstreams.channel import Answer, Paused, UpstreamDied, UpstreamError

PERSON = 600.0
"""Seconds for the client's answers to all questions of one call: people have to find them first."""
PRIMED = "2025-11-25"
"""The revision whose clients understand an event without data, and come back when they are asked to."""


@attrs.define(eq=False)
class Pending:
    """A request on its way, whoever reads its answer at the moment. A `RunningCall`."""

    call: Call
    session: Session
    hop: Hop
    answer: Answer | None = None
    scope: trio.CancelScope | None = None
    """Of the session's task, once the connection is gone."""
    cancelled: bool = False
    """Whether the client does not want the answer any more."""
    _asking: bool = False
    _stopped: float = PERSON
    """Seconds that are left on the clock which stands."""
    _window: Callable[[], None] | None = None

    @property
    def unfinished(self) -> bool:
        """Whether the answer is still to come, and nobody wanted it cancelled."""
        lost = (self.call.abandoned or self.call.paused > 0) and not self.cancelled
        return lost and self.answer is not None and not self.call.answered and not self.session.closed

    def cancel(self) -> None:
        """See `RunningCall.cancel`."""
        self.cancelled = True
        if self.scope is None:
            self.call.end("cancelled by client")
        else:
            self.scope.cancel()

    def questions_changed(self) -> None:
        """See `RunningCall.questions_changed`: a person's clock runs while the service's stands, and the reverse."""
        asking = self.session.asks_during(self.hop.our_id)
        if asking != self._asking:
            self._asking = asking
            now = trio.current_time()
            left, self._stopped = self._stopped, self.call.deadline - now
            self.call.set_deadline(now + left)
            if self._window is not None:
                self._window()

    def go_on(self, scope: trio.CancelScope, resume: float) -> None:
        """From here on a task of the session reads the answer, until the client was away for `resume` seconds."""
        journal, self.scope = self.call.reply.journal, scope
        left = math.inf
        expected = trio.current_time() + self.call.paused
        if self.cancelled:  # since the task was started
            scope.cancel()

        def carried(by_client: bool) -> None:
            nonlocal left
            left = math.inf if by_client else min(left, max(trio.current_time(), expected))
            scope.deadline = min(self.call.deadline, left + resume)

        self._window = lambda: carried(journal is not None and journal.followed)
        if journal is not None:
            journal.watch(carried)
        self._window()

    def replaced(self) -> None:
        """See `RunningCall.replaced`."""
        if self.scope is None:
            self.call.end("disconnected")

    def session_ended(self) -> None:
        """See `RunningCall.session_ended`."""
        if self.scope is None:
            self.call.end("session ended")


class LegacyCalls:
    """Serves requests of sessions."""

    def __init__(self, registry: Registry, ids: itertools.count[int]) -> None:
        self._registry = registry
        self._ids = ids

    async def serve(self, call: Call, session: Session, message: Request) -> Outcome:
        """Relay one request. Raises `RpcError`, `UpstreamError`; cancelled with the call's scope."""
        if message.id in session.calls:
            raise RpcError(INVALID_REQUEST, "Invalid request: this id is in use", message.id)
        if len(session.calls) >= call.plan.max_calls:
            raise RpcError(RATE_LIMITED, "Too many calls at once in this session", message.id, status=429)
        call.set_deadline(trio.current_time() + session.upstream.service.timeouts.call)
        call.reply.keeps_alive = True
        if call.resumable and self._registry.life.resume:
            call.reply.record(partial(session.store.open, message.id), primes=session.memo.version == PRIMED)
        hop, request = legacy_hop(message, next(self._ids))
        pending = Pending(call, session, hop)
        session.calls[message.id] = pending
        try:
            pending.answer = await session.peer.request(request)
            return await relay(call, hop, pending.answer, partial(self._translate, pending))
        except trio.BrokenResourceError:
            call.end("disconnected")
            raise
        finally:
            if pending.unfinished:
                session.start("call", call.plan.route.path, partial(self._go_on, pending))
            else:
                if call.abandoned or pending.cancelled:
                    _end_early(pending)
                await _finish(pending)

    async def _go_on(self, pending: Pending, scope: trio.CancelScope) -> None:
        """Read an answer to its end for a client that may come back: the work of a session's task."""
        journal = pending.call.reply.journal
        pending.go_on(scope, self._registry.life.resume)
        try:
            final = await self._read(pending, journal)
            if journal is not None:
                journal.add_last(encode(final))
        finally:
            _end_early(pending)
            await _finish(pending)

    async def _translate(self, pending: Pending, message: Notification | Request) -> Notification | Request | None:
        shown = await translate(pending.session, message, pending.hop, self._ids)
        pending.questions_changed()
        return shown

    async def _read(self, pending: Pending, journal: Journal | None) -> Result | Failure:
        assert pending.answer is not None
        try:
            while (message := await pending.answer.receive()) is not None:
                if isinstance(message, Result | Failure):
                    return pending.hop.final(message)
                if isinstance(message, Paused):
                    continue
                shown = await self._translate(pending, message)
                if shown is not None and journal is not None:
                    await journal.wait_room()
                    journal.add(encode(shown))
            raise UpstreamDied("the answer ended before the result; the outcome is unknown")
        except UpstreamError as error:
            return judge(error, pending.call).failure


async def translate(
    session: Session, message: Notification | Request, hop: Hop | None, ids: itertools.count[int]
) -> Notification | Request | None:
    """A message of the upstream that is no answer, as the client may see it; `hop` is None outside of any call."""
    if isinstance(message, Notification):
        if message.method == "notifications/cancelled":
            return session.withdrawn(message)
        return message if hop is None else hop.notification(message)
    asked = session.ask(message, ids, None if hop is None else hop.our_id)
    if asked is None:
        await session.peer.send(Failure(message.id, INTERNAL_ERROR, "too many requests wait for the client"))
    return asked


def _end_early(pending: Pending) -> None:
    """The end of a stream whose answer did not come; nothing to do where it did, or where there is no stream.

    A client that cancelled waits for nothing. One whose window is over is told that the outcome is unknown if it asks.
    """
    journal, timeout = pending.call.reply.journal, judge_end(None, pending.call)
    if journal is None or journal.ended_at is not None:
        return
    if pending.cancelled:
        journal.end()
    elif trio.current_time() >= pending.call.deadline and timeout is not None:
        journal.add_last(encode(timeout.failure))
    else:
        pending.session.store.close(journal)


async def _finish(pending: Pending) -> None:
    session = pending.session
    session.forget(pending.hop.our_id)
    session.calls.pop(pending.hop.client_id, None)
    if pending.answer is not None:
        await pending.answer.aclose()
