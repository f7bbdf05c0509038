"""A legacy session that outlives its upstream: forgotten or dead, it is opened again behind the client's back.

What an upstream session was told is remembered (`initialize`, log level, subscriptions) and said again. A message that
certainly was not processed is sent again; one that may have been is reported by the answer that it broke off in, and
is never repeated.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import attrs
import structlog
import trio

from gatewayd.protocol.jsonrpc import Failure, Id, Message, Notification, Request, Result
from gatewayd.upstreams.channel import (
    Answer,
    LegacyPeer,
    Paused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamTimedOut,
)
from gatewayd.upstreams.retelling import INITIALIZED, tell_again
from gatewayd.upstreams.service import Caller, Upstream
from gatewayd.upstreams.told import Told

log = structlog.get_logger("gatewayd.upstreams")

MOST_ASKED = 1000
"""Questions of one answer of which is remembered where they came from: more than may wait for a client."""
NOT_REPEATED = "notifications/cancelled"
"""It names a request of the session that was lost."""


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
        self.told = Told()
        """What the client has told its server, and the server agreed to."""
        self._changed: Callable[[Told], None] | None = None
        self._answers: dict[HealingAnswer, None] = {}

    @property
    def session(self) -> str | None:
        """See `LegacyPeer.session`."""
        return None if self._current is None else self._current.peer.session

    def follow(self, told: Told, changed: Callable[[Told], None]) -> None:
        """Go on after another peer of the same client's session: with what it was told; hand what changes to `changed`.

        `told` is said to sessions that are opened from now on. The first one knows.
        """
        self.told = told
        self._changed = changed

    async def request(self, message: Request) -> Answer:
        """See `LegacyPeer.request`. A session that turns out to be lost is opened again, here or in the answer."""
        answer = HealingAnswer(self, message)
        self._answers[answer] = None
        try:
            await answer.send()
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def send(self, message: Notification | Result | Failure) -> None:
        """See `LegacyPeer.send`. An answer goes to the session that asked; one that is lost waits for none."""
        if isinstance(message, Notification) and message.method != NOT_REPEATED:
            await self._notify(message)
            return
        known = self._asker(message.id) if isinstance(message, Result | Failure) else self._current
        if known is not None:
            with suppress(SessionLost):
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
        """See `LegacyPeer.aclose`. A session that is being opened is closed by who opens it."""
        self._closed = True
        current, self._current = self._current, None
        if current is not None:
            await current.peer.aclose()

    async def incarnation(self, instead_of: Incarnation | None = None) -> Incarnation:
        """The upstream session to use; a new one where there is none, or only one that is lost.

        All who wait get the same new one. Raises `UpstreamError`; then the next who comes tries again. After `aclose`
        that is `SessionLost`.
        """
        known = self._current
        if known is not None and known is not instead_of:
            return known
        async with self._opening:
            while self._current is None or self._current is instead_of:
                lost, self._current = self._current, None
                if lost is not None:
                    await self._retire(lost)
                if self._closed:
                    raise SessionLost("the session has ended")
                upstream = self.upstream
                opened = Incarnation(await self._open(upstream))
                if self._closed or self.upstream is not upstream:
                    await self._retire(opened)
                else:
                    self._current = opened
            return self._current

    def forget(self, answer: HealingAnswer) -> None:
        """Nobody reads it any more, nor answers what was asked there."""
        self._answers.pop(answer, None)

    async def release(self, incarnation: Incarnation) -> None:
        """An answer does not read from that session any more."""
        incarnation.answers -= 1
        if incarnation.retired and not incarnation.answers:
            await incarnation.peer.aclose()

    def remember(self, message: Request) -> None:
        """The upstream agreed to a request: what changed the session has to be said again to a new one."""
        told = self.told.after(message)
        if told != self.told:
            self.told = told
            if self._changed is not None:
                self._changed(told)

    async def _notify(self, message: Notification) -> None:
        known = self._current
        if known is not None:
            try:
                await known.peer.send(message)
                return
            except SessionLost:
                pass
        known = await self.incarnation(instead_of=known)
        if message.method != INITIALIZED.method:  # which was said when it was opened
            await known.peer.send(message)

    def _asker(self, ident: Id | None) -> Incarnation | None:
        """The session that asked this: in one of the running answers, the newest first, or on the standing stream."""
        asked = (answer.settle(ident) for answer in reversed(self._answers))
        return next((incarnation for incarnation in asked if incarnation is not None), self._current)

    async def _retire(self, incarnation: Incarnation) -> None:
        incarnation.retired = True
        if not incarnation.answers:
            await incarnation.peer.aclose()

    async def _open(self, upstream: Upstream) -> LegacyPeer:
        seconds = upstream.service.timeouts.call
        with trio.move_on_after(seconds):
            request = Request(next(self._ids), "initialize", self._initialize.params)
            opened = await upstream.open_legacy(request, self._caller)
            try:
                for method in await tell_again(opened.peer, self.told, self._ids):
                    log.warning("not restored", service=upstream.service.name, method=method)
            except BaseException:
                await opened.peer.aclose()
                raise
            log.info("session opened again", service=upstream.service.name)
            return opened.peer
        raise UpstreamTimedOut(f"the service did not open a session again within {seconds:g} seconds")


class HealingAnswer:
    """An answer that survives the loss of the session as long as nothing was processed. An `Answer`."""

    __slots__ = ("_answer", "_asked", "_closed", "_healing", "_incarnation", "_losses", "_lost", "_message")

    def __init__(self, healing: HealingPeer, message: Request) -> None:
        self._healing = healing
        self._message = message
        self._incarnation: Incarnation | None = None
        """The session that the request was sent to, from before the sending on."""
        self._answer: Answer | None = None
        self._asked: deque[Id] = deque(maxlen=MOST_ASKED)
        self._lost: Incarnation | None = None
        self._losses = 0
        self._closed = False

    async def send(self) -> None:
        """Send the request unless it was sent, again where the session turned out to be lost. Raises `UpstreamError`.

        A request whose sending was interrupted may have arrived: it is not sent again.
        """
        while self._answer is None:
            if self._losses > 1:
                raise UpstreamBroke("the service forgets its sessions as soon as they are opened")
            if self._incarnation is not None:
                raise UpstreamDied("the request was interrupted as it was sent; the outcome is unknown")
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
            elif isinstance(message, Request):
                self._asked.append(message.id)
            return message
        return None

    def settle(self, ident: Id | None) -> Incarnation | None:
        """The session where this answer's upstream asked a question of that id, for once; None where it did not."""
        if ident is None or ident not in self._asked:
            return None
        self._asked.remove(ident)
        return self._incarnation

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        self._closed = True
        self._healing.forget(self)
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
        self._losses += 1
        await self._drop()
