"""GET streams of a session: the standing one, which belongs to no request, and those that a client comes back for.

The standing stream is read by a task of the session, so that nothing is lost while its client changes connections; a
connection only carries what the journal holds.
"""

from __future__ import annotations

import itertools
import math
from contextlib import suppress
from functools import partial

import structlog
import trio

from gatewayd.bridge.changes import LIST_CHANGED
from gatewayd.exchange.call import Call
from gatewayd.exchange.legacy_calls import PRIMED, translate
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_REQUEST, UPSTREAM_UNREACHABLE
from gatewayd.protocol.headers import LAST_EVENT_ID
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result, RpcError, encode
from gatewayd.sessions.journal import Journal, Place
from gatewayd.sessions.registry import Registry
from gatewayd.sessions.session import Session
from gatewayd.upstreams.answer import final_answer
from gatewayd.upstreams.channel import Answer, Paused, UpstreamBroke, UpstreamError

log = structlog.get_logger("gatewayd.exchange")

FIRST_WAIT, LONGEST_WAIT = 0.1, 30.0
"""Seconds between attempts to open an upstream's stream again: the first pause, doubled up to the longest."""
LASTED = 1.0
"""Seconds that a stream must have lived for the next attempt to come soon."""
LAST_WORD = 1.0
"""Seconds to tell an upstream that its questions stay unanswered."""
LOST = "what followed on this stream is not kept any more; the outcome of the call is unknown"


class LegacyStreams:
    """Serves GET."""

    def __init__(self, registry: Registry, ids: itertools.count[int]) -> None:
        self._registry = registry
        self._ids = ids

    async def serve(self, call: Call, session: Session) -> Outcome:
        """Carry a stream until it ends. Raises `RpcError`, `UpstreamError`; cancelled with the call's scope."""
        place = _place(call, session)
        call.set_deadline(math.inf)
        if place is None or place.standing:
            call.listening = True
            call.follow = session.goes_along
            return await self._carry_standing(call, session, place)
        call.rpc_id = place.request
        if place.journal is None:
            return await _tell_lost(call, place)
        if place.journal.ended_at is not None and place.number >= place.journal.last:
            raise _nothing_follows()
        running = session.calls.get(place.request) if place.request is not None else None
        if running is not None and place.journal.ended_at is None:
            running.replaced()
        return await _carry(call, session, place.journal, place.number)

    async def hold(self, call: Call, session: Session) -> Journal:
        """The standing stream, for whoever carries it; a silent one where, or as long as, the service offers none."""
        try:
            return await self._open(call, session)
        except RpcError:
            journal = session.standing = session.store.open(None, standing=True)
        except UpstreamError:
            journal = session.standing = session.store.open(None, standing=True)
            session.start("stream", call.plan.route.path, partial(self._pump, session, journal, None))
        return journal

    async def _carry_standing(self, call: Call, session: Session, place: Place | None) -> Outcome:
        journal = session.standing
        if journal is None:
            journal = await self._open(call, session)
        elif journal.followed and place is None:
            raise RpcError(INVALID_REQUEST, "Invalid request: the session has a GET stream already", status=409)
        known = place is not None and place.journal is journal
        return await _carry(call, session, journal, place.number if place is not None and known else journal.sent)

    async def _open(self, call: Call, session: Session) -> Journal:
        """The standing stream. Where the service offers none, the client is told so at once (405)."""
        journal = session.standing = session.store.open(None, standing=True)
        answer = None
        try:
            with trio.move_on_after(session.upstream.service.timeouts.call):
                answer = await session.peer.listen()
                if answer is None:
                    raise RpcError(INVALID_REQUEST, "The service offers no stream of its own", status=405)
        finally:
            if answer is None:
                session.standing = None
                session.store.close(journal)
        if answer is None:
            raise UpstreamBroke("the service did not open its stream in time")
        session.start("stream", call.plan.route.path, partial(self._pump, session, journal, answer))
        return journal

    async def _pump(self, session: Session, journal: Journal, answer: Answer | None, scope: trio.CancelScope) -> None:
        """Read what the service says unasked, for as long as its client is there or may return.

        `answer` is where to begin; None: the service has to be asked first.
        """

        def carried(by_client: bool) -> None:
            scope.deadline = math.inf if by_client else trio.current_time() + self._registry.life.resume

        journal.watch(carried)
        wait, upstream = FIRST_WAIT, session.upstream
        try:
            while True:
                if answer is not None:
                    began = trio.current_time()
                    try:
                        with trio.CancelScope() as session.reading:
                            await self._read(session, journal, answer)
                    except UpstreamError as error:
                        log.info("standing stream lost", service=session.upstream.service.name, reason=error.reason)
                    finally:
                        await answer.aclose()
                    if trio.current_time() - began >= LASTED:
                        wait = FIRST_WAIT
                moved = session.upstream is not upstream
                upstream = session.upstream
                answer, wait = await self._listen_again(session, 0.0 if moved else wait)
                if answer is None:
                    break
                if moved:
                    await _tell_moved(journal)
        finally:
            session.reading = None
            session.standing = None
            session.store.close(journal)
            await _leave_unanswered(session)

    async def _read(self, session: Session, journal: Journal, answer: Answer) -> None:
        while (message := await answer.receive()) is not None:
            if isinstance(message, Paused):
                continue
            if isinstance(message, Result | Failure):
                raise UpstreamBroke("the service answered where nothing was asked")
            shown = await translate(session, message, None, self._ids)
            if shown is not None:
                await journal.wait_room()
                journal.add(encode(shown))

    async def _listen_again(self, session: Session, wait: float) -> tuple[Answer | None, float]:
        """The service's stream once more, however long that takes; None where it offers none any more.

        `wait` is how long to stay away first; returned is how long to stay away the next time. Some services refuse
        the stream of a session that they have forgotten as if they had none: a ping brings that to light.
        """
        pinged = False
        while True:
            await trio.sleep(wait)
            wait = min(max(2 * wait, FIRST_WAIT), LONGEST_WAIT)
            with suppress(UpstreamError):
                answer = await session.peer.listen()
                if answer is not None or pinged:
                    return answer, wait
                pinged = await self._ping(session)

    async def _ping(self, session: Session) -> bool:
        with trio.move_on_after(session.upstream.service.timeouts.call):
            answer = await session.peer.request(Request(next(self._ids), "ping"))
            try:
                await final_answer(answer)
                return True
            finally:
                await answer.aclose()
        return False


def _place(call: Call, session: Session) -> Place | None:
    """Where the client wants to go on; None: from now. Raises `RpcError` for an event id that is not its session's."""
    raw = call.head.get(LAST_EVENT_ID)
    if raw is None or not raw:
        return None
    place = session.store.locate(raw.decode("latin-1"))
    if place is None:
        raise RpcError(INVALID_REQUEST, "Invalid request: Last-Event-ID is none of this session")
    return place


async def _tell_lost(call: Call, place: Place) -> Outcome:
    """The client waits for an answer that nobody has any more: better it is told than left to wait."""
    if place.request is None:
        raise _nothing_follows()
    await call.reply.stream()
    await call.reply.replay(encode(Failure(place.request, UPSTREAM_UNREACHABLE, LOST)), place.beyond)
    await call.reply.end()
    return "error"


def _nothing_follows() -> RpcError:
    """What ends the return of clients which come back even for what they have: SDKs take 405 for a final word."""
    return RpcError(INVALID_REQUEST, "Invalid request: nothing follows on this stream", status=405)


async def _carry(call: Call, session: Session, journal: Journal, after: int) -> Outcome:
    """Send what a journal holds after that event, and what is added to it, until its end."""
    call.reply.keeps_alive = True
    call.reply.comes_back = session.memo.version == PRIMED
    follower = journal.follow()
    try:
        await call.reply.stream()
        if call.reply.comes_back:
            await call.reply.prime(journal.place(after))
        while (event := await journal.next(follower, after)) is not None:
            after, message = event
            await call.reply.replay(message, journal.place(after))
            journal.mark_sent(after)
    finally:
        journal.leave(follower)
    await call.reply.finish_without_answer()
    return "ok"


async def _tell_moved(journal: Journal) -> None:
    """Another service stands behind the session: whatever was listed may be something else now."""
    for method in LIST_CHANGED.values():
        await journal.wait_room()
        journal.add(encode(Notification(method)))


async def _leave_unanswered(session: Session) -> None:
    """Nobody is there to answer what was asked on the standing stream."""
    with trio.move_on_after(LAST_WORD, shield=True), suppress(UpstreamError):
        for theirs in session.forget(None):
            await session.peer.send(Failure(theirs, INTERNAL_ERROR, "the client is gone"))
