"""A modern subscription that outlives the service that it began with (MCP 2026-07-28, subscriptions).

A reload may put another service behind a route. Who listens there goes on with the new one, on the same stream, and is
told that everything may have changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator

import trio

from gatewayd.bridge.changes import ACKNOWLEDGED, LIST_CHANGED, LISTS, RESOURCES, UPDATED, WANTED
from gatewayd.protocol.jsonrpc import Message, Notification
from gatewayd.protocol.jsontext import encode_members, members, members_if_any, strings, text
from gatewayd.protocol.versions import META, META_SUBSCRIPTION_ID
from gatewayd.upstreams.channel import Answer, Paused, UpstreamTimedOut
from gatewayd.upstreams.service import Upstream

Open = Callable[[Upstream], Awaitable[Answer]]
"""Makes the same subscription with another service."""


class Listening:
    """An `Answer`: that of one service after the other."""

    def __init__(self, answer: Answer, open_again: Open, params: bytes) -> None:
        """`params` are those of the request: what is listened for."""
        self._answer = answer
        self._open = open_again
        self._params = params
        self._next: Upstream | None = None
        self._reading = trio.CancelScope()
        self._pending: deque[Message | Paused] = deque()

    def follow(self, upstream: Upstream) -> None:
        """Go on with that service."""
        self._next = upstream
        self._reading.cancel()

    async def receive(self) -> Message | Paused | None:
        """See `Answer.receive`."""
        while not self._pending:
            with trio.CancelScope() as self._reading:
                if self._next is None:
                    return await self._answer.receive()
                await self._move(self._next)
                self._next = None
        return self._pending.popleft()

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        await self._answer.aclose()

    async def _move(self, upstream: Upstream) -> None:
        """Subscribe again. The client knows what it is told of already, whatever this service agrees to."""
        await self._answer.aclose()
        seconds = upstream.service.timeouts.call
        with trio.move_on_after(seconds):
            self._answer = await self._open(upstream)
            first = await self._answer.receive()
            if isinstance(first, Notification) and first.method == ACKNOWLEDGED:
                self._pending.extend(_missed(self._params))
            elif first is not None:
                self._pending.append(first)
            return
        raise UpstreamTimedOut(f"the service did not agree to be listened to within {seconds:g} seconds")


def _missed(params: bytes) -> Iterator[Notification]:
    """All that may have changed, as far as the client wants to hear of it."""
    tag = {META: encode_members({META_SUBSCRIPTION_ID: b"0"})}
    wanted = members_if_any(members(params).get("notifications"))
    for name in LISTS:
        if wanted.get(WANTED[name]) == b"true":
            yield Notification(LIST_CHANGED[name], encode_members(tag))
    for uri in strings(wanted.get(RESOURCES, b"[]")):
        yield Notification(UPDATED, encode_members({"uri": text(uri), **tag}))
