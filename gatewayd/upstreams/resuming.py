"""Answers that outlive their connection: what a legacy service numbers is taken up again where it broke off.

MCP 2025-11-25, Streamable HTTP, resumability: events with ids let a client come back with GET and `Last-Event-ID`;
since that revision a service may also close streams on purpose, to be polled.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from gatewayd.protocol.jsonrpc import Failure, Id, Message, Notification, Result
from gatewayd.upstreams.answer import HttpAnswer
from gatewayd.upstreams.channel import (
    Paused,
    SessionLost,
    UpstreamDied,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from gatewayd.upstreams.cursor import Cursor
from gatewayd.upstreams.session_wire import NoStream, SessionWire

ATTEMPTS = 5
"""Times in a row that a stream is taken up again without anything new, before it is given up."""
GOODBYE = 1.0
"""Seconds that abandoning a request may take: a courtesy to the upstream, never a reason to wait."""
FOR_NOW = frozenset({409, 429})
"""Refusals that may pass, like those from 500 on; 409: the service has not yet noticed that the connection is lost."""
NO_STREAM = frozenset({400, 404, 405, 501})
"""What services without a stream of their own answer to GET, with a JSON body or without."""


class ResumingAnswer:
    """What a request of a session is answered with, or the session's own stream. An `Answer`.

    `current` is the connection that brings it first. `request_id` is None for the session's own stream, which also
    starts afresh where the service does not know the place any more.
    """

    def __init__(self, wire: SessionWire, current: HttpAnswer, cursor: Cursor, request_id: Id | None) -> None:
        self._wire = wire
        self._current = current
        self._cursor = cursor
        self._request_id = request_id
        self._due: float | None = None
        """When to come back, while the stream is interrupted."""
        self._attempts = 0
        self._news = 0
        self._settled = request_id is None
        """Whether there is nothing to tell the service of when the answer is given up."""
        self._closed = False

    async def receive(self) -> Message | Paused | None:
        """See `Answer.receive`. Who is cancelled here may call again: waiting and coming back go on."""
        while not self._closed:
            if self._due is not None:
                await self._come_back(self._due)
                continue
            try:
                message = await self._current.receive()
            except UpstreamDied as error:
                if self._cursor.last is None:
                    raise
                self._interrupt(error)
            except (SessionLost, UpstreamUnreachable) as error:
                self._settled = True
                self._wire.lost |= isinstance(error, SessionLost)
                raise
            else:
                self._settled |= isinstance(message, Result | Failure)
                if message is not None or self._request_id is not None or self._cursor.last is None:
                    return message
                self._interrupt(None)
            if self._current.ended:
                return Paused(self._cursor.retry)
        return None

    async def aclose(self) -> None:
        """See `Answer.aclose`. A disconnect cancels nothing in the legacy eras, so giving up is announced."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._settled and self._request_id is not None:
                params = b'{"requestId":%d,"reason":"the client is gone"}' % int(self._request_id)
                with trio.move_on_after(GOODBYE, shield=True), suppress(UpstreamError):
                    await self._wire.send(Notification("notifications/cancelled", params))
        finally:
            await self._current.aclose()

    def _interrupt(self, cause: UpstreamError | None) -> None:
        """Decide when to come back. None: a stream that may go on for ever was ended in good order.

        Raises `UpstreamDied` when coming back brought nothing new too often.
        """
        if self._cursor.news != self._news:
            self._news, self._attempts = self._cursor.news, 0
        if cause is not None:
            self._attempts += 1
        if self._attempts > ATTEMPTS:
            raise UpstreamDied("the service does not go on with its answer; the outcome is unknown") from cause
        self._due = trio.current_time() + self._cursor.retry / 1000

    async def _come_back(self, due: float) -> None:
        await self._current.aclose()
        await trio.sleep_until(due)
        self._cursor.resumed = True
        try:
            self._current = await self._wire.get(self._cursor.last, self._request_id, self._cursor.see)
            self._due = None
        except (UpstreamUnreachable, UpstreamTimedOut, UpstreamDied) as error:
            self._interrupt(error)
        except (NoStream, SessionLost) as error:
            self._refused(error)

    def _refused(self, error: NoStream | SessionLost) -> None:
        """The service does not want to go on from there, or not now."""
        if isinstance(error, NoStream) and (error.status >= 500 or error.status in FOR_NOW):
            self._interrupt(error)
        elif self._request_id is not None:
            raise UpstreamDied("the service does not go on with its answer; the outcome is unknown") from error
        elif self._cursor.last is not None:
            self._cursor.lose()
        elif isinstance(error, NoStream) and error.status in NO_STREAM:
            self._closed = True
        else:
            raise error
