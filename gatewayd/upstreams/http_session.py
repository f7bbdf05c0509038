"""One legacy session with an HTTP upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.upstreams.answer import HttpAnswer
from gatewayd.upstreams.channel import Answer, UpstreamBroke, UpstreamError

if TYPE_CHECKING:
    from gatewayd.upstreams.http import HttpUpstream

Field = tuple[bytes, bytes]

NO_STREAM = frozenset({400, 404, 405, 501})
"""What services without a stream of their own answer to GET, with a JSON body or without."""

FAREWELL = 2.0
"""Seconds that ending the session upstream may take: after that it is left to the upstream's own timers."""


class HttpLegacyPeer:
    """A `LegacyPeer`: adds the session and version headers (MCP 2025-11-25, Streamable HTTP)."""

    def __init__(self, upstream: HttpUpstream, session: bytes | None, version: str) -> None:
        self._upstream = upstream
        self._session = session
        self._fields: tuple[Field, ...] = ((b"mcp-protocol-version", version.encode()),)
        if session is not None:
            self._fields += ((b"mcp-session-id", session),)

    async def request(self, message: Request) -> Answer:
        """See `LegacyPeer.request`. A disconnect cancels nothing in the legacy eras, so giving up is announced."""

        async def abandon() -> None:
            params = b'{"requestId":%d,"reason":"the client is gone"}' % int(message.id)
            await self.send(Notification("notifications/cancelled", params))

        in_session = self._session is not None
        return await self._upstream.post(message, self._fields, in_session=in_session, abandon=abandon)

    async def send(self, message: Notification | Result | Failure) -> None:
        """See `LegacyPeer.send`."""
        answer = await self._upstream.post(message, self._fields, in_session=self._session is not None)
        try:
            await answer.read_acknowledgement()
        finally:
            await answer.aclose()

    async def listen(self) -> Answer | None:
        """See `LegacyPeer.listen`: the GET stream."""
        answer = await self._upstream.bodiless("GET", self._fields, in_session=self._session is not None)
        try:
            await answer.read_head()
        except UpstreamBroke:
            if not _no_stream(answer):
                await answer.aclose()
                raise
        except BaseException:
            await answer.aclose()
            raise
        if _no_stream(answer):
            await answer.aclose()
            return None
        return answer

    async def aclose(self) -> None:
        """See `LegacyPeer.aclose`: DELETE, whatever the answer."""
        session, self._session = self._session, None
        if session is None:
            return
        with trio.move_on_after(FAREWELL, shield=True):
            try:
                answer = await self._upstream.bodiless("DELETE", self._fields, in_session=True)
                try:
                    await answer.read_acknowledgement()
                finally:
                    await answer.aclose()
            except UpstreamError:
                pass


def _no_stream(answer: HttpAnswer) -> bool:
    return answer.head is not None and answer.head.status in NO_STREAM
