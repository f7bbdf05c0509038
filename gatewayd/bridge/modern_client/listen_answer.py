"""A modern subscription on a pooled legacy session."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from gatewayd.bridge.changes import UPDATED
from gatewayd.bridge.modern_client.filters import Filter, acknowledgement, tagged, updated_uri
from gatewayd.protocol.jsonrpc import Message, Notification

log = structlog.get_logger("gatewayd.bridge")

MOST_NEWS = 1000
MOST_NEWS_BYTES = 1024 * 1024
"""Different pieces of news that wait for a client that does not read, and bytes of their params; then the oldest are
dropped. News that are larger all by themselves are never told."""


class ListenAnswer:
    """An `Answer` that ends when it is closed: the acknowledgement, then what the filter lets pass. A `Listener`.

    The same news twice, while the client has not read them once, are one: all they say is that something changed.
    """

    def __init__(self, ident: int, honoured: Filter, close: Callable[[ListenAnswer], None]) -> None:
        self._ident = ident
        self._honoured = honoured
        self._close: Callable[[ListenAnswer], None] | None = close
        self._acknowledged = False
        self._news: dict[tuple[str, str | None], Notification] = {}
        self._bytes = 0
        self._some = trio.Event()
        self._ended = False

    def end(self) -> None:
        """There will be no more news, because there is nobody any more who could tell any."""
        self._ended = True
        self._some.set()

    def hear(self, message: Notification) -> None:
        """See `Listener.hear`."""
        if _size(message) > MOST_NEWS_BYTES or not self._honoured.passes(message):
            return
        what = (message.method, updated_uri(message) if message.method == UPDATED else None)
        if what in self._news:
            self._take(what)
        self._news[what] = message
        self._bytes += _size(message)
        while len(self._news) > MOST_NEWS or self._bytes > MOST_NEWS_BYTES:
            self._take(next(iter(self._news)))
        self._some.set()

    async def receive(self) -> Message | None:
        """See `Answer.receive`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._acknowledged:
            self._acknowledged = True
            return acknowledgement(self._honoured, self._ident)
        while not self._news:
            if self._ended:
                return None
            self._some = trio.Event()
            await self._some.wait()
        return tagged(self._take(next(iter(self._news))), self._ident)

    async def aclose(self) -> None:
        """See `Answer.aclose`. What has to be told upstream is told behind the client's back."""
        close, self._close = self._close, None
        if close is not None:
            close(self)
        await trio.lowlevel.checkpoint_if_cancelled()

    def _take(self, what: tuple[str, str | None]) -> Notification:
        message = self._news.pop(what)
        self._bytes -= _size(message)
        return message


def _size(message: Notification) -> int:
    return len(message.params or b"")
