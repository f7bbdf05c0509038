"""One legacy session: what a client may refer to in later requests, and how it ends."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import structlog
import trio

from gatewayd.auth.principal import Principal
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result, identifier
from gatewayd.protocol.jsontext import JsonError, encode_members, members
from gatewayd.sessions.journal import Journal, Store
from gatewayd.sessions.memo import Memo
from gatewayd.upstreams.healing import HealingPeer
from gatewayd.upstreams.service import Upstream

log = structlog.get_logger("gatewayd.sessions")

MAX_ASKED = 100
"""Server requests that a client may leave unanswered; an upstream that asks on is told so at once."""

Work = Callable[[trio.CancelScope], Awaitable[None]]


class RunningCall(Protocol):
    """A call in the eyes of its session."""

    def cancel(self) -> None:
        """The client sent `notifications/cancelled`."""
        ...

    def questions_changed(self) -> None:
        """The client was asked something, or has answered."""
        ...

    def replaced(self) -> None:
        """The client came back for its answer on another connection."""
        ...

    def session_ended(self) -> None:
        """The session is over."""
        ...


@attrs.define(eq=False)
class Session:
    """A live session. Its `id` is a secret; `principal` and `path` must match on every use.

    It owns the upstream session (`peer`), the table of running calls that `notifications/cancelled` refers to, the
    server requests that wait for the client's answer, what was said on its streams (`store`), and the tasks that
    work for it while no connection does. `close` ends all of it.
    """

    id: str = attrs.field(repr=False)
    memo: Memo = attrs.field(repr=False)
    principal: Principal
    path: str
    peer: HealingPeer
    store: Store
    node: Node
    nursery: trio.Nursery
    created: float
    used: float
    """Trio time of the last sign of life."""
    calls: dict[Id, RunningCall] = attrs.field(factory=dict[Id, RunningCall], init=False)
    standing: Journal | None = attrs.field(default=None, init=False)
    """The server-to-client stream that belongs to no request, while it is open or its client may return."""
    reading: trio.CancelScope | None = attrs.field(default=None, init=False)
    """Around waiting for what the service says unasked."""
    closed: bool = attrs.field(default=False, init=False)
    _asked: dict[int, tuple[Id, int | None]] = attrs.field(factory=dict[int, tuple[Id, int | None]], init=False)
    """By our id: the upstream's, and the call that the question came with."""
    _tasks: dict[trio.CancelScope, trio.Event] = attrs.field(factory=dict[trio.CancelScope, trio.Event], init=False)

    @property
    def upstream(self) -> Upstream:
        """The service that serves it now."""
        return self.peer.upstream

    @property
    def idle(self) -> bool:
        """Whether nothing runs in it."""
        return not self.calls and (self.standing is None or not self.standing.followed)

    def start(self, kind: str, label: str, work: Work) -> None:
        """Have work done by a task of the session; it is given its own scope, and cancelled when the session ends.

        Where the session has ended already the work is cancelled at its first checkpoint, but can clean up.
        """
        scope, ended = trio.CancelScope(), trio.Event()
        if self.closed:
            scope.cancel()
        self._tasks[scope] = ended
        self.nursery.start_soon(self._run, kind, label, work, scope)

    def ask(self, request: Request, ids: itertools.count[int], call: int | None = None) -> Request | None:
        """A server request under an id of ours, for the client; None when too many are waiting.

        `call` is our id of the call that it came with, if any: with that call it is over, too (`forget`).
        """
        if len(self._asked) >= MAX_ASKED:
            return None
        ident = next(ids)
        self._asked[ident] = (request.id, call)
        return Request(ident, request.method, request.params)

    def asks_during(self, call: int) -> bool:
        """Whether the client has still to answer something that was asked during that call of ours."""
        return any(cause == call for _, cause in self._asked.values())

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

    def forget(self, call: int | None) -> list[Id]:
        """A call is over, or the standing stream (None): nobody answers what was asked there.

        Returns the upstream's ids of those questions.
        """
        over = {ours: theirs for ours, (theirs, cause) in self._asked.items() if cause == call}
        for ours in over:
            del self._asked[ours]
        return list(over.values())

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

    def goes_along(self, upstream: Upstream) -> None:
        """The connection that carries the session's stream has nothing to do for a move: the session moves."""

    async def move(self, upstream: Upstream) -> None:
        """Go on with another service; calls that run now are still answered by the old one."""
        self.upstream.usage.end()
        upstream.usage.begin()
        try:
            await self.peer.move(upstream)
        finally:
            if self.reading is not None:
                self.reading.cancel()

    async def close(self) -> None:
        """End everything: calls and streams are cancelled, the upstream session is deleted. Idempotent; bounded."""
        if not self.closed:
            try:
                await self.stop()
            finally:
                await self.peer.aclose()

    async def stop(self) -> None:
        """End what runs here and leave the upstream session, so that a later process can go on with it."""
        self.closed = True
        for call in list(self.calls.values()):
            call.session_ended()
        tasks = dict(self._tasks)
        for scope in tasks:
            scope.cancel()
        try:
            for ended in tasks.values():
                await ended.wait()
        finally:
            self.store.clear()
            self.node.__exit__(None, None, None)

    async def _run(self, kind: str, label: str, work: Work, scope: trio.CancelScope) -> None:
        try:
            with scope, Node(kind, label, parent=self.node, now=trio.current_time()):
                await work(scope)
        except Exception as error:
            log.error("session task crashed", exc_info=error, path=self.path, principal=self.principal.id, task=label)
        finally:
            self._tasks.pop(scope).set()
