"""A call that one member answers, in the words of the virtual server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from gatewayd.bridge.changes import ACKNOWLEDGED, CHANGES
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result
from gatewayd.protocol.jsontext import JsonError
from gatewayd.upstreams.channel import Answer, Paused, UpstreamBroke, UpstreamError, UpstreamTimedOut
from gatewayd.upstreams.service import Caller
from gatewayd.virtual.roster import Seat

Translate = Callable[[Result | Failure], Awaitable[Result | Failure]]

NOT_OF_A_CALL = CHANGES | {ACKNOWLEDGED, "notifications/tasks", "notifications/cancelled"}
"""What has no place in the answer to a call, and would be in the words of one member."""


class RoutedAnswer:
    """An `Answer`. Keeps the member from being closed as long as it is open, and to its own deadline."""

    __slots__ = ("_closed", "_deadline", "_final", "_inner", "_seat", "_translate")

    def __init__(self, inner: Answer, seat: Seat, translate: Translate) -> None:
        self._inner = inner
        self._seat = seat
        self._translate = translate
        self._deadline = trio.current_time() + seat.upstream.service.timeouts.call
        self._closed = False
        self._final: Result | Failure | None = None
        """Not translated yet: that takes time, and may be interrupted."""

    async def receive(self) -> Message | Paused | None:
        """See `Answer.receive`."""
        try:
            with trio.move_on_at(self._deadline):
                return await self._receive()
            raise UpstreamTimedOut(f"no answer within {self._seat.upstream.service.timeouts.call:g} seconds")
        except UpstreamError as error:
            error.service = self._seat.member.service
            raise

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._inner.aclose()
        finally:
            self._seat.upstream.usage.end()

    async def _receive(self) -> Message | Paused | None:
        if self._final is None:
            message = await self._inner.receive()
            while isinstance(message, Notification) and message.method in NOT_OF_A_CALL:
                message = await self._inner.receive()
            if not isinstance(message, Result | Failure):
                return message
            self._final = message
        try:
            translated = await self._translate(self._final)
        except JsonError as error:
            raise UpstreamBroke("the service answered something that nobody can read", error.reason) from error
        self._final = None
        return translated


async def carry(
    seat: Seat, request: Request, version: str, name: str | None, caller: Caller, translate: Translate
) -> RoutedAnswer:
    """Send a request to a member. Raises `UpstreamError`, which names the member, and `RpcError`."""
    usage = seat.upstream.usage
    usage.begin()
    try:
        return RoutedAnswer(await seat.upstream.request(request, version, name, caller), seat, translate)
    except BaseException as error:
        usage.end()
        if isinstance(error, UpstreamError):
            error.service = seat.member.service
        raise
