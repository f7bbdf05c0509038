"""One legacy session: what a client may refer to in later requests, and how it ends."""

from __future__ import annotations

import itertools
from typing import Protocol

import attrs

from gatewayd.auth.principal import Principal
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result, identifier
from gatewayd.protocol.jsontext import JsonError, encode_members, members
from gatewayd.upstreams.channel import LegacyPeer
from gatewayd.upstreams.service import Upstream

MAX_ASKED = 100
"""Server requests that a client may leave unanswered; an upstream that asks on is told so at once."""


class RunningCall(Protocol):
    """A call in the eyes of its session."""

    def cancel(self) -> None:
        """The client sent `notifications/cancelled`."""
        ...

    def session_ended(self) -> None:
        """The session is over."""
        ...


@attrs.define(eq=False)
class Session:
    """A live session. Its `id` is a secret; `principal` and `path` must match on every use.

    It owns the upstream session (`peer`), the table of running calls that `notifications/cancelled` refers to, and
    the server requests that wait for the client's answer. `close` ends all of it.
    """

    id: str = attrs.field(repr=False)
    principal: Principal
    path: str
    upstream: Upstream
    peer: LegacyPeer
    node: Node
    created: float
    used: float
    """Trio time of the last sign of life."""
    calls: dict[Id, RunningCall] = attrs.field(factory=dict[Id, RunningCall], init=False)
    listener: RunningCall | None = attrs.field(default=None, init=False)
    """The call that holds the GET stream."""
    closed: bool = attrs.field(default=False, init=False)
    _asked: dict[int, tuple[Id, int | None]] = attrs.field(factory=dict[int, tuple[Id, int | None]], init=False)
    """By our id: the upstream's, and the call that the question came with."""

    @property
    def idle(self) -> bool:
        """Whether nothing runs in it."""
        return not self.calls and self.listener is None

    def ask(self, request: Request, ids: itertools.count[int], call: int | None = None) -> Request | None:
        """A server request under an id of ours, for the client; None when too many are waiting.

        `call` is our id of the call that it came with, if any: with that call it is over, too (`forget`).
        """
        if len(self._asked) >= MAX_ASKED:
            return None
        ident = next(ids)
        self._asked[ident] = (request.id, call)
        return Request(ident, request.method, request.params)

    def answered(self, message: Result | Failure) -> Result | Failure | None:
        """The client's answer under the upstream's id; None when it was not asked, or has answered already."""
        if not isinstance(message.id, int):
            return None
        theirs, _ = self._asked.pop(message.id, (None, None))
        if theirs is None:
            return None
        if isinstance(message, Result):
            return Result(theirs, message.result)
        return Failure(theirs, message.code, message.message, message.data)

    def forget(self, call: int) -> None:
        """A call is over: whoever asked during it does not wait for answers any more."""
        for ident in [ours for ours, (_, cause) in self._asked.items() if cause == call]:
            del self._asked[ident]

    def withdrawn(self, message: Notification) -> Notification | None:
        """`notifications/cancelled` of the upstream about a request of its own, with the id that the client knows."""
        try:
            params = members(message.params or b"{}")
        except JsonError:
            return None
        withdrawn = identifier(params.get("requestId", b"null"))
        for ours, (theirs, _) in self._asked.items():
            if theirs == withdrawn and type(theirs) is type(withdrawn):
                del self._asked[ours]
                return Notification(message.method, encode_members({**params, "requestId": b"%d" % ours}))
        return None

    async def close(self) -> None:
        """End everything: calls and streams are cancelled, the upstream session is deleted. Idempotent; bounded."""
        if self.closed:
            return
        self.closed = True
        for call in (*self.calls.values(), self.listener):
            if call is not None:
                call.session_ended()
        await self.peer.aclose()
