"""Where a client stands in an event stream, so that it can go on from there (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import re

from gatewayd.protocol.eventstream import Event
from gatewayd.protocol.jsonrpc import Failure, Result, RpcError, decode

DEFAULT_RETRY = 1000
"""Milliseconds to stay away where the service names no time."""
SHORTEST_RETRY = 100
"""Milliseconds to stay away at least: a service that says 0 must not have us spin."""
LONGEST_RETRY = 30_000
"""Milliseconds to stay away at most: a service must not have its clients wait for ever."""
EVENT_ID = 1024
"""Characters of an event id that is worth to be kept and sent back."""
REMEMBERED = 64
"""Event ids that are recognised when a service repeats what came before the place where it was to go on."""

_ID = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
"""What arrives unchanged as the value of a header field."""


class Cursor:
    """The place after the last event of a stream, over all the connections that bring it."""

    def __init__(self) -> None:
        self.last: str | None = None
        """The id to go on from; None: the stream cannot be resumed."""
        self.resumed = False
        """Whether another connection goes on with the stream: only there may events be repeated."""
        self.news = 0
        """Events so far that were not repeated."""
        self._retry = DEFAULT_RETRY
        self._known: dict[str, None] = {}

    @property
    def retry(self) -> int:
        """Milliseconds to stay away before coming back."""
        return min(max(self._retry, SHORTEST_RETRY), LONGEST_RETRY)

    def see(self, event: Event) -> bool:
        """Note an event; True: it came before and must not be delivered again. See `answer.See`.

        The final answer counts whenever it comes, so that a service which gives all events one id is understood.
        """
        if event.retry is not None:
            self._retry = event.retry
        if event.id is not None:
            if self.resumed and event.id in self._known and not _final(event.data):
                return True
            self._move(event.id)
        if event.id is not None or event.data:
            self.news += 1
        return False

    def lose(self) -> None:
        """Forget the place: the service does not know it."""
        self.last = None
        self._known.clear()

    def _move(self, ident: str) -> None:
        """An id that cannot be sent back ends resumability: going on from an earlier one would repeat events."""
        if len(ident) > EVENT_ID or _ID.fullmatch(ident) is None:
            self.last = None
            return
        self.last = ident
        self._known.pop(ident, None)
        self._known[ident] = None
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]


def _final(data: bytes) -> bool:
    try:
        return isinstance(decode(data), Result | Failure)
    except RpcError:
        return False
