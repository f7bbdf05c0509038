"""The HTTP requests of one legacy session (MCP 2025-11-25, Streamable HTTP)."""

from __future__ import annotations

import trio

from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result
from gatewayd.upstreams.answer import HttpAnswer, See
from gatewayd.upstreams.channel import SessionLost, UpstreamBroke, UpstreamError
from gatewayd.upstreams.origin import Fields, HttpOrigin

FAREWELL = 2.0
"""Seconds that ending the session upstream may take: after that it is left to the upstream's own timers."""


class NoStream(UpstreamBroke):
    """GET was answered with no event stream, but with HTTP `status`."""

    def __init__(self, reason: str, detail: str, status: int) -> None:
        super().__init__(reason, detail)
        self.status = status


class SessionWire:
    """Adds the fields of the session to each request. Once the session is `lost` nothing is sent any more.

    `session` is None where the service keeps none; `version` is None while it is not settled.
    """

    def __init__(self, origin: HttpOrigin, session: str | None, version: str | None) -> None:
        self.session = session
        self.lost = False
        """Whether the service has said that it does not know the session."""
        self._origin = origin
        self._fields: Fields = () if version is None else ((b"mcp-protocol-version", version.encode()),)
        if session is not None:
            self._fields += ((b"mcp-session-id", session.encode("latin-1")),)

    async def post(self, message: Request | Notification | Result | Failure, see: See | None = None) -> HttpAnswer:
        """Send a message; its answer is not awaited. Raises `UpstreamError`."""
        self._refuse_if_lost()
        return await self._origin.post(message, self._fields, in_session=self.session is not None, see=see)

    async def send(self, message: Notification | Result | Failure) -> None:
        """Send what has no answer, and wait until it is acknowledged. Raises `UpstreamError`."""
        answer = await self.post(message)
        try:
            await answer.read_acknowledgement()
        except SessionLost:
            self.lost = True
            raise
        finally:
            await answer.aclose()

    async def get(self, last: str | None, request_id: Id | None, see: See) -> HttpAnswer:
        """Open the stream of the session, or go on after the event `last`: then of the request that it belonged to.

        Raises `NoStream`, `SessionLost` and `UpstreamError`. Where there is a `last`, the session may live all the
        same: some services answer an event id that they do not know as if it was the session.
        """
        self._refuse_if_lost()
        fields = self._fields if last is None else (*self._fields, (b"last-event-id", last.encode()))
        in_session = self.session is not None
        answer = await self._origin.bodiless("GET", fields, in_session=in_session, request_id=request_id, see=see)
        try:
            await _open_stream(answer)
        except BaseException as error:
            self.lost |= last is None and isinstance(error, SessionLost)
            await answer.aclose()
            raise
        return answer

    async def end(self) -> None:
        """End the session with DELETE, whatever the answer, within `FAREWELL` seconds. Idempotent."""
        if self.session is None or self.lost:
            return
        self.lost = True
        with trio.move_on_after(FAREWELL, shield=True):
            try:
                answer = await self._origin.bodiless("DELETE", self._fields, in_session=True)
                try:
                    await answer.read_acknowledgement()
                finally:
                    await answer.aclose()
            except UpstreamError:
                pass

    def _refuse_if_lost(self) -> None:
        if self.lost:
            raise SessionLost("the service does not know the session any more")


async def _open_stream(answer: HttpAnswer) -> None:
    try:
        head = await answer.read_head()
    except UpstreamBroke as error:
        if answer.head is None:
            raise
        raise NoStream(error.reason, error.detail, answer.head.status) from error
    if not answer.streaming:
        raise NoStream(f"the service answered with HTTP status {head.status}", "no event stream", head.status)
