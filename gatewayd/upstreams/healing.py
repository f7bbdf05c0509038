"""A legacy session that outlives its upstream: forgotten or dead, it is opened again behind the client's back.

What an upstream session was told is remembered (`initialize`, log level, subscriptions) and said again. A message that
certainly was not processed is sent again; one that may have been is reported by the answer that it broke off in, and
is never repeated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs
import structlog
import trio

from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result
from gatewayd.protocol.jsontext import JsonError, members
from gatewayd.upstreams.channel import (
    Answer,
    LegacyPeer,
    Paused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTimedOut,
)
from gatewayd.upstreams.service import Caller, Opened, Upstream

log = structlog.get_logger("gatewayd.upstreams")

INITIALIZED = Notification("notifications/initialized")
MOST_SUBSCRIPTIONS = 1000
"""Subscriptions of one session that are remembered."""
NOT_REPEATED = "notifications/cancelled"
"""It names a request of the session that was lost."""

Use = Callable[[LegacyPeer], None]


@attrs.define(eq=False)
class Incarnation:
    """One upstream session, and how many answers are still read from it."""

    peer: LegacyPeer
    answers: int = 0
    retired: bool = False


class HealingPeer:
    """A `LegacyPeer` over one upstream session at a time.

    `initialize` is the request that opens it, under any id. Without `first` the session is opened at the first use.
    """

    def __init__(
        self,
        upstream: Upstream,
        initialize: Request,
        caller: Caller,
        ids: itertools.count[int],
        first: LegacyPeer | None = None,
    ) -> None:
        self.upstream = upstream
        self._initialize = initialize
        self._caller = caller
        self._ids = ids
        self._current = None if first is None else Incarnation(first)
        self._opening = trio.Lock()
        self._closed = False
        self._level: Request | None = None
        self._subscriptions: dict[bytes, Request] = {}

    @property
    def session(self) -> str | None:
        """See `LegacyPeer.session`."""
        return None if self._current is None else self._current.peer.session

    async def request(self, message: Request) -> Answer:
        """See `LegacyPeer.request`. A session that turns out to be lost is opened again, here or in the answer."""
        answer = HealingAnswer(self, message)
        try:
            await answer.send()
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def send(self, message: Notification | Result | Failure) -> None:
        """See `LegacyPeer.send`. Answers to a session that is lost have nobody left who waits for them."""
        known = await self.incarnation()
        try:
            await known.peer.send(message)
        except SessionLost:
            if isinstance(message, Notification) and message.method != NOT_REPEATED:
                known = await self.incarnation(instead_of=known)
                if message.method != INITIALIZED.method:
                    await known.peer.send(message)

    async def listen(self) -> Answer | None:
        """See `LegacyPeer.listen`."""
        known = await self.incarnation()
        try:
            return await known.peer.listen()
        except SessionLost:
            known = await self.incarnation(instead_of=known)
            return await known.peer.listen()

    async def move(self, upstream: Upstream) -> None:
        """Go on with another upstream, as after a change of the service; running answers are read to their end."""
        self.upstream = upstream
        old, self._current = self._current, None
        if old is not None:
            await self._retire(old)

    async def aclose(self) -> None:
        """See `LegacyPeer.aclose`."""
        self._closed = True
        if self._current is not None:
            await self._current.peer.aclose()

    async def incarnation(self, instead_of: Incarnation | None = None) -> Incarnation:
        """The upstream session to use; a new one where there is none, or only one that is lost.

        All who wait get the same new one. Raises `UpstreamError`; then the next who comes tries again.
        """
        known = self._current
        if known is not None and known is not instead_of:
            return known
        async with self._opening:
            if self._current is None or self._current is instead_of:
                lost, self._current = self._current, None
                if lost is not None:
                    await self._retire(lost)
                self._current = Incarnation(await self._open())
            return self._current

    async def release(self, incarnation: Incarnation) -> None:
        """An answer of that session has been closed."""
        incarnation.answers -= 1
        if incarnation.retired and not incarnation.answers:
            await incarnation.peer.aclose()

    def remember(self, message: Request) -> None:
        """The upstream agreed to a request: what changed the session has to be said again to a new one."""
        if message.method == "logging/setLevel":
            self._level = message
        elif message.method in ("resources/subscribe", "resources/unsubscribe"):
            uri = _uri(message)
            self._subscriptions.pop(uri, None)
            if message.method == "resources/subscribe" and len(self._subscriptions) < MOST_SUBSCRIPTIONS:
                self._subscriptions[uri] = message

    async def _retire(self, incarnation: Incarnation) -> None:
        incarnation.retired = True
        if not incarnation.answers:
            await incarnation.peer.aclose()

    async def _open(self) -> LegacyPeer:
        if self._closed:
            raise SessionLost("the session has ended")
        seconds = self.upstream.service.timeouts.call
        with trio.move_on_after(seconds):
            request = Request(next(self._ids), "initialize", self._initialize.params)
            opened = await self.upstream.open_legacy(request, self._caller)
            try:
                await self._restore(opened)
            except BaseException:
                await opened.peer.aclose()
                raise
            log.info("session opened again", service=self.upstream.service.name)
            return opened.peer
        raise UpstreamTimedOut(f"the service did not open a session again within {seconds:g} seconds")

    async def _restore(self, opened: Opened) -> None:
        await opened.peer.send(INITIALIZED)
        for said in (self._level, *list(self._subscriptions.values())):
            if said is not None:
                answered = await _ask(opened.peer, Request(next(self._ids), said.method, said.params))
                if isinstance(answered, Failure):
                    log.warning("not restored", service=self.upstream.service.name, method=said.method)


class HealingAnswer:
    """An answer that survives the loss of the session as long as nothing was processed. An `Answer`."""

    __slots__ = ("_answer", "_closed", "_healing", "_incarnation", "_lost", "_message", "_resent")

    def __init__(self, healing: HealingPeer, message: Request) -> None:
        self._healing = healing
        self._message = message
        self._incarnation: Incarnation | None = None
        self._answer: Answer | None = None
        self._lost: Incarnation | None = None
        self._resent = False
        self._closed = False

    async def send(self) -> None:
        """Send the request, again where the session turned out to be lost. Raises `UpstreamError`."""
        while self._answer is None:
            incarnation = await self._healing.incarnation(instead_of=self._lost)
            incarnation.answers += 1
            self._incarnation = incarnation
            try:
                self._answer = await incarnation.peer.request(self._message)
            except SessionLost:
                await self._lose(incarnation)

    async def receive(self) -> Message | Paused | None:
        """See `Answer.receive`."""
        while not self._closed:
            await self.send()
            assert self._answer is not None
            try:
                message = await self._answer.receive()
            except SessionLost:
                assert self._incarnation is not None
                await self._lose(self._incarnation)
                continue
            if isinstance(message, Result):
                self._healing.remember(self._message)
            return message
        return None

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        self._closed = True
        await self._drop()

    async def _drop(self) -> None:
        answer, self._answer = self._answer, None
        incarnation, self._incarnation = self._incarnation, None
        try:
            if answer is not None:
                await answer.aclose()
        finally:
            if incarnation is not None:
                await self._healing.release(incarnation)

    async def _lose(self, incarnation: Incarnation) -> None:
        """The session is gone and with it nothing that was done: the request may be sent once more."""
        self._lost = incarnation
        await self._drop()
        if self._resent:
            raise UpstreamBroke("the service forgets its sessions as soon as they are opened")
        self._resent = True


async def _ask(peer: LegacyPeer, message: Request) -> Result | Failure:
    answer = await peer.request(message)
    try:
        while (answered := await answer.receive()) is not None:
            if isinstance(answered, Result | Failure):
                return answered
    except SessionLost as error:
        raise UpstreamError(error.reason, error.detail) from error
    finally:
        await answer.aclose()
    raise UpstreamDied("the service ended before it answered")


def _uri(message: Request) -> bytes:
    try:
        return members(message.params or b"{}").get("uri", b"")
    except JsonError:
        return b""
