"""A request on its way through a pooled session, whichever request of the client waits for it at the time."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from gatewayd.bridge.modern_client.pooled_session import PooledSession
from gatewayd.bridge.modern_client.questions import Question
from gatewayd.bridge.modern_client.session_pool import Lease
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result
from gatewayd.protocol.versions import MAY_ASK
from gatewayd.upstreams.attribution import progress_token
from gatewayd.upstreams.channel import Answer, Paused

MOST_HEARD = 100
MOST_HEARD_BYTES = 1024 * 1024
"""Messages from the session's own stream that wait for one call, and bytes of their params."""


@attrs.define(eq=False)
class LiveCall:
    """Keeps its session busy until `aclose`. A `Running`."""

    lease: Lease
    id: int
    """The upstream's id of the request, and its progress token: that of the client's first try."""
    method: str
    questions: dict[str, Question] = attrs.field(factory=dict[str, Question], init=False)
    """What the server waits for, by key."""
    asked: int = attrs.field(default=0, init=False)
    """How many questions there were so far."""
    asked_at: float = attrs.field(default=0.0, init=False)
    """When the last one came."""
    replies: deque[Result | Failure] = attrs.field(factory=deque[Result | Failure], init=False)
    """To be sent to the server."""
    missing: bytes | None = attrs.field(default=None, init=False)
    """The client capabilities that the server asked for in vain."""
    _answer: Answer | None = attrs.field(default=None, init=False)
    _heard: deque[Notification | Request] = attrs.field(factory=deque[Notification | Request], init=False)
    _heard_bytes: int = attrs.field(default=0, init=False)
    _reading: trio.CancelScope | None = attrs.field(default=None, init=False)

    @property
    def session(self) -> PooledSession:
        """Where it runs."""
        return self.lease.session

    @property
    def may_ask(self) -> bool:
        """See `Running.may_ask`."""
        return self.method in MAY_ASK

    @property
    def waits_since(self) -> float | None:
        """See `Running.waits_since`."""
        return self.asked_at if self.questions else None

    async def send(self, message: Request) -> None:
        """Send the request. Raises `UpstreamError`; `aclose` is due in any case."""
        self.session.calls.add(self)
        self._answer = await self.session.peer.request(message)

    def hear(self, message: Notification | Request) -> bool:
        """See `Running.hear`. There is no room for the progress of other calls."""
        if not self._fits(message):
            return False
        if isinstance(message, Notification) and not self._concerned(message):
            return False
        self._heard.append(message)
        self._heard_bytes += _size(message)
        if self._reading is not None:
            self._reading.cancel()
        return True

    async def next(self) -> Message | None:
        """The next message for this call, from wherever. Safe to cancel and to call again. Raises `UpstreamError`."""
        assert self._answer is not None
        while not self._heard:
            with trio.CancelScope() as self._reading:
                try:
                    message = await self._answer.receive()
                finally:
                    self._reading = None
                if not isinstance(message, Paused):
                    return message
        await trio.lowlevel.checkpoint_if_cancelled()
        heard = self._heard.popleft()
        self._heard_bytes -= _size(heard)
        return heard

    async def reply(self) -> None:
        """Send the server what is to be sent. Raises `UpstreamError`."""
        while self.replies:
            await self.session.peer.send(self.replies[0])
            self.replies.popleft()

    async def aclose(self) -> None:
        """Give the call up, or back what it used. Idempotent."""
        answer, self._answer = self._answer, None
        try:
            if answer is not None:
                await answer.aclose()
        finally:
            self.session.calls.discard(self)
            self.lease.release()

    def _concerned(self, message: Notification) -> bool:
        return message.method != "notifications/progress" or progress_token(message) == self.id

    def _fits(self, message: Notification | Request) -> bool:
        """Whether it may wait. The first question may be of any size: as one it is counted where calls are parked."""
        if isinstance(message, Request) and not self._heard and not self.questions:
            return True
        return len(self._heard) < MOST_HEARD and self._heard_bytes + _size(message) <= MOST_HEARD_BYTES


def _size(message: Notification | Request) -> int:
    return len(message.params or b"")
