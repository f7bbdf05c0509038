"""What a pooled session's server says unasked: read for as long as the session lives, and handed on."""

from __future__ import annotations

import structlog
import trio

from gatewayd.bridge.asking import ASKING
from gatewayd.bridge.changes import CHANGES, LIST_CHANGED
from gatewayd.bridge.modern_client.pooled_session import PooledSession
from gatewayd.protocol.jsonrpc import Notification, Request
from gatewayd.upstreams.attribution import culprit
from gatewayd.upstreams.backoff import Backoff
from gatewayd.upstreams.channel import Answer, UpstreamError

log = structlog.get_logger("gatewayd.bridge")

REPLY = 5.0
"""Seconds that an answer to the server may take; nothing else is read meanwhile."""


async def read_stream(session: PooledSession, service: str) -> None:
    """Read the session's own stream once somebody wants it, until cancelled. A stream that is lost is opened again."""
    await session.stream_wanted.wait()
    backoff, pinged = Backoff(), False
    while True:
        began = trio.current_time()
        try:
            answer = await session.peer.listen()
            if answer is None:
                if pinged or not session.stream:
                    break
                # Some servers refuse the stream of a session that they have forgotten as if they had none.
                with trio.move_on_after(REPLY):
                    await session.ask("ping", {})
                pinged = True
                continue
            pinged = False
            try:
                _opened(session)
                await _read(session, answer)
            finally:
                await answer.aclose()
        except UpstreamError as error:
            log.debug("stream lost", service=service, reason=error.reason)
        now = trio.current_time()
        backoff.ended(now, now - began)
        await trio.sleep(backoff.remaining(now))
    session.stream = False
    session.stream_known.set()
    await trio.sleep_forever()


def _opened(session: PooledSession) -> None:
    """What changed while there was no stream is not known: lists may have."""
    if session.stream_known.is_set() and session.stream:
        for name, method in LIST_CHANGED.items():
            if session.greeting.offers(name, "listChanged"):
                session.fan_out(Notification(method))
    session.stream = True
    session.stream_known.set()


async def _read(session: PooledSession, answer: Answer) -> None:
    while (message := await answer.receive()) is not None:
        if isinstance(message, Request):
            if not _asked(session, message):
                with trio.move_on_after(REPLY):
                    await session.refuse(message)
        elif isinstance(message, Notification):
            _told(session, message)


def _asked(session: PooledSession, request: Request) -> bool:
    """Give a question to the one call that can have caused it; False: there is none, or more than one."""
    if request.method not in ASKING:
        return False
    calls = ((call, call.waits_since) for call in session.calls if call.may_ask)
    call = culprit(calls, trio.current_time())
    return call is not None and call.hear(request)


def _told(session: PooledSession, message: Notification) -> None:
    if message.method in CHANGES:
        session.fan_out(message)
    elif message.method == "notifications/message":
        running = [call for call in session.calls if call.waits_since is None]
        if len(running) == 1:
            running[0].hear(message)
    elif message.method == "notifications/progress":
        for call in session.calls:
            if call.waits_since is None:  # else its client is not there, and what counts later is later progress
                call.hear(message)
    elif message.method == "notifications/cancelled":
        for call in session.calls:
            call.hear(message)
