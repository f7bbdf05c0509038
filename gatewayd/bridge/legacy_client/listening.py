"""The stream of a legacy session over `subscriptions/listen` of a modern service (MCP 2026-07-28).

A subscription cannot be changed there: another one is opened, and only then the old one is ended, so that nothing
falls between the two. What both of them say is said once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from gatewayd.bridge.changes import ACKNOWLEDGED
from gatewayd.bridge.legacy_client.answer import close_all
from gatewayd.bridge.legacy_client.envelopes import Client, modern_meta
from gatewayd.bridge.legacy_client.subscriptions import MOST_URI_BYTES, MOST_URIS, Subscriptions, acknowledged
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result
from gatewayd.protocol.jsontext import JsonError, encode_members
from gatewayd.protocol.versions import LISTEN, META, MODERN
from gatewayd.upstreams.backoff import Backoff
from gatewayd.upstreams.channel import (
    Answer,
    Paused,
    Refused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTimedOut,
    WrongEra,
)
from gatewayd.upstreams.service import Caller, Upstream

OVERLAP = 0.1
"""Seconds for which an old and a new subscription are both read, so that what is on its way on the old one arrives."""
MOST_OLD = 4
"""Subscriptions that may be left over where the receiver of the stream is slow."""
MOST_PENDING = MOST_URIS + 100
MOST_PENDING_BYTES = 8 * MOST_URI_BYTES
"""Different notifications that wait for the receiver, and bytes of their params. Of more nothing is kept but that all
that is wanted may have changed; for that there is room: no character takes more than six times its bytes in JSON."""
REFUSED_AGAIN = 30.0
"""Seconds until a service is asked again that refuses to be listened to."""

Noted = Callable[[Notification], None]


@attrs.frozen
class Subscription:
    """One that the service agreed to."""

    answer: Answer
    uris: frozenset[str]
    """The resources that it agreed to."""


class Opener:
    """Opens subscriptions, one at a time, for one session."""

    def __init__(self, inner: Upstream, client: Client, caller: Caller, ids: itertools.count[int]) -> None:
        self.lock = trio.Lock()
        """Held by whoever opens one and puts it into its place."""
        self._inner = inner
        self._client = client
        self._caller = Caller(caller.key, session=caller.session)
        self._ids = ids

    async def open(self, notifications: bytes) -> Subscription:
        """Open one and wait until it is acknowledged. Raises `UpstreamError`."""
        seconds = self._inner.service.timeouts.call
        params = encode_members({"notifications": notifications, META: encode_members(modern_meta(self._client))})
        with trio.move_on_after(seconds):
            try:
                request = Request(next(self._ids), LISTEN, params)
                answer = await self._inner.request(request, MODERN[0], None, self._caller)
            except WrongEra as error:
                raise SessionLost("the service has no sessionless era any more", error.reason) from error
            try:
                return Subscription(answer, await _acknowledgement(answer))
            except BaseException:
                await answer.aclose()
                raise
        raise UpstreamTimedOut(f"the service did not agree to be listened to within {seconds:g} seconds")


class Listening:
    """What the session's stream shows: an `Answer` without an end. A service that is lost is listened to again."""

    def __init__(self, opener: Opener, wanted: Subscriptions, noted: Noted, *, again: bool) -> None:
        self._opener = opener
        self._wanted = wanted
        self._noted = noted
        self._current: Answer | None = None
        self._old: list[Answer] = []
        """To be read to the end of what is on its way."""
        self._spent: list[Answer] = []
        """To be closed."""
        self._pending: dict[Notification, None] = {}
        """Each once, the oldest first."""
        self._pending_bytes = 0
        self._missed = again
        """Whether something may have happened while nobody listened."""
        self._reading = trio.CancelScope()
        self._backoff = Backoff()
        self._since = 0.0
        self.closed = False

    async def receive(self) -> Message | None:
        """See `Answer.receive`. Raises `SessionLost` where the service has changed its era."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.closed:
            if self._pending and not self._old:
                first = next(iter(self._pending))
                self._drop(first)
                return first
            with trio.CancelScope() as self._reading:
                await self._step()
        return None

    async def replace(self, subscription: Answer | None) -> None:
        """Go on with this one; with none where there is nothing to listen to any more. To be called under the lock."""
        if self.closed:
            if subscription is not None:
                await subscription.aclose()
            return
        if self._current is not None:
            self._old.append(self._current)
        self._current, self._since = subscription, trio.current_time()
        self._reading.cancel()
        if len(self._old) > MOST_OLD:
            # The oldest stays: what the later ones have told since they began, it has told as well.
            await self._old.pop(1).aclose()

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        self.closed = True
        self._reading.cancel()
        answers = (self._current, *self._old, *self._spent)
        self._current, self._old, self._spent = None, [], []
        await close_all(*answers)

    async def _step(self) -> None:
        """Do one thing that may lead to a message. Cancelled, nothing is lost but time."""
        if self._old or self._spent:
            await self._read_both()
        elif self._current is None:
            await self._open()
        else:
            await self._read(self._current)

    async def _read(self, current: Answer) -> None:
        try:
            message = await current.receive()
            if isinstance(message, Notification):
                self._note(message)
                return
            if isinstance(message, Paused):
                return
        except UpstreamError:
            pass
        # It is over, however it ended.
        self._old.append(current)
        self._current, self._missed = None, True
        now = trio.current_time()
        self._backoff.ended(now, now - self._since)

    async def _read_both(self) -> None:
        old = self._old  # which `aclose` exchanges
        while old:
            with suppress(UpstreamError), trio.move_on_after(OVERLAP):
                while isinstance(message := await old[0].receive(), Notification):
                    self._note(message)
            self._spent.append(old.pop(0))
            await self._close_spent()
        await self._close_spent()
        with trio.move_on_after(OVERLAP):
            while self._current is not None:
                await self._read(self._current)

    async def _close_spent(self) -> None:
        spent = self._spent
        while spent:
            await spent[0].aclose()
            del spent[0]

    def _note(self, message: Notification) -> None:
        shown = self._wanted.shown(message)
        if shown is not None:
            self._noted(shown)
            self._pend(shown)

    def _pend(self, message: Notification) -> None:
        """The last of several equal ones counts: whoever hears of a change looks at what is there now."""
        if message in self._pending:
            self._drop(message)
        self._add(message)
        if len(self._pending) > MOST_PENDING or self._pending_bytes > MOST_PENDING_BYTES:
            self._pending, self._pending_bytes = {}, 0
            for missed in self._wanted.missed():
                self._add(missed)

    def _add(self, message: Notification) -> None:
        self._pending[message] = None
        self._pending_bytes += len(message.params or b"")

    def _drop(self, message: Notification) -> None:
        del self._pending[message]
        self._pending_bytes -= len(message.params or b"")

    async def _open(self) -> None:
        await trio.sleep_until(self._backoff.retry_at)
        async with self._opener.lock:
            params = self._wanted.params(self._wanted.uris)
            if self._current is None and params is not None:
                await self._open_with(params)
        if params is None:
            await trio.sleep_forever()

    async def _open_with(self, params: bytes) -> None:
        try:
            subscription = await self._opener.open(params)
        except SessionLost:
            raise
        except UpstreamError as error:
            self._missed = True
            now = trio.current_time()
            self._backoff.ended(now, 0.0)
            if isinstance(error, Refused):
                self._backoff.retry_at = now + REFUSED_AGAIN
            return
        if self.closed:
            await subscription.answer.aclose()
            return
        self._current, self._since = subscription.answer, trio.current_time()
        if self._missed:
            self._missed = False
            for missed in self._wanted.missed():
                self._pend(missed)


async def _acknowledgement(answer: Answer) -> frozenset[str]:
    """Wait for it. Raises `UpstreamError`."""
    while (message := await answer.receive()) is not None:
        match message:
            case Notification(method=method) if method == ACKNOWLEDGED:
                try:
                    return acknowledged(message)
                except JsonError as error:
                    raise UpstreamBroke("the service agreed to something that nobody can read", error.reason) from None
            case Failure():
                raise Refused(message)
            case Result() | Request():
                raise UpstreamBroke("the service did not agree to be listened to")
            case _:
                pass
    raise UpstreamDied("the service ended its stream before it agreed to be listened to")
