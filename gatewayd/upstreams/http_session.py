"""One legacy session with an HTTP upstream."""

from __future__ import annotations

from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.upstreams.channel import Answer
from gatewayd.upstreams.cursor import Cursor
from gatewayd.upstreams.resuming import NO_STREAM, ResumingAnswer
from gatewayd.upstreams.session_wire import NoStream, SessionWire


class HttpLegacyPeer:
    """A `LegacyPeer` over Streamable HTTP."""

    def __init__(self, wire: SessionWire) -> None:
        self._wire = wire

    @property
    def session(self) -> str | None:
        """See `LegacyPeer.session`."""
        return None if self._wire.lost else self._wire.session

    async def request(self, message: Request) -> Answer:
        """See `LegacyPeer.request`."""
        cursor = Cursor()
        return ResumingAnswer(self._wire, await self._wire.post(message, cursor.see), cursor, message.id)

    async def send(self, message: Notification | Result | Failure) -> None:
        """See `LegacyPeer.send`."""
        await self._wire.send(message)

    async def listen(self) -> Answer | None:
        """See `LegacyPeer.listen`: the GET stream."""
        cursor = Cursor()
        try:
            return ResumingAnswer(self._wire, await self._wire.get(None, None, cursor.see), cursor, None)
        except NoStream as error:
            if error.status in NO_STREAM:
                return None
            raise

    async def aclose(self) -> None:
        """See `LegacyPeer.aclose`."""
        await self._wire.end()
