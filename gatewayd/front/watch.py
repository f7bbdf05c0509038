"""A call that waits, watched: the client may leave, stop reading, or take a long silence for death."""

from __future__ import annotations

from typing import Protocol

import attrs
import trio

from gatewayd.exchange.call import Call
from gatewayd.exchange.exchange import Exchange
from gatewayd.front.patience import Patience
from gatewayd.routes.table import Gateway


class Client(Protocol):
    """The client of a call in the eyes of its watch."""

    @property
    def settings(self) -> Gateway:
        """The settings that its connection was opened under."""
        ...

    def suspend_deadline(self) -> None:
        """A call waits: from here on its own deadline counts."""
        ...

    async def watch_peer(self) -> None:
        """Return when the client is gone. What it sends meanwhile is kept."""
        ...


class Paced(Protocol):
    """A reply that tells how its writing goes."""

    writing_since: float | None
    """Trio time when the write under way began; None when none is."""
    wrote_at: float
    """Trio time of the last write of a stream."""


@attrs.define(eq=False)
class WatchedCall:
    """What is started for a call when it waits, and stopped when it ends. A `Waiting`."""

    call: Call
    reply: Paced
    client: Client
    nursery: trio.Nursery
    _scope: trio.CancelScope | None = None
    _stopped: trio.Event | None = None

    async def run(self, exchange: Exchange, patience: Patience, body: bytes) -> None:
        """Run the call to its end; when this returns nobody watches it, and the connection may be read again."""
        patience.begin(self, self.call.started)
        try:
            await exchange.run(self.call, body)
        finally:
            patience.finish(self)
            await self.stop()

    def settle(self) -> None:
        """See `Waiting.settle`: arm the deadline, watch the client and keep the stream alive."""
        self.call.settle()
        self.client.suspend_deadline()
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()
        self.nursery.start_soon(self._watch, self._scope, self._stopped)

    async def stop(self) -> None:
        """End the watch, if there is one, so that the connection may be read again."""
        if self._scope is not None and self._stopped is not None:
            self._scope.cancel()
            with trio.CancelScope(shield=True):  # bounded: the watch ends at its next checkpoint
                await self._stopped.wait()

    async def _watch(self, scope: trio.CancelScope, stopped: trio.Event) -> None:
        settings = self.client.settings
        try:
            with scope:
                looked = trio.current_time()
                while True:
                    with trio.move_on_at(self._next_look(looked, settings)):
                        await self.client.watch_peer()
                        self.call.end("disconnected")
                        return
                    looked = trio.current_time()
                    if not await self._beat(looked, settings):
                        self.call.end("not reading")
                        return
        except trio.BrokenResourceError:
            self.call.end("disconnected")
        finally:
            stopped.set()

    def _next_look(self, looked: float, settings: Gateway) -> float:
        """When the write under way is late; or now, where a stream should be open; or when the silence lasted long."""
        if self.reply.writing_since is not None:
            return self.reply.writing_since + settings.timeouts.write
        if self.call.reply.opens_early:
            return looked
        return max(looked, self.reply.wrote_at) + settings.keepalive

    async def _beat(self, now: float, settings: Gateway) -> bool:
        """Fill the silence where it is one; False when the client has stopped reading.

        Sums are compared, as in `_next_look`: with differences, rounding would make a look come too early.
        """
        since = self.reply.writing_since
        if since is not None:
            return now < since + settings.timeouts.write
        if self.call.reply.opens_early:
            with trio.move_on_after(settings.timeouts.write) as patience:
                await self.call.reply.stream()
            return not patience.cancelled_caught
        if self.call.reply.keeps_alive and now >= self.reply.wrote_at + settings.keepalive:
            with trio.move_on_after(settings.timeouts.write) as patience:
                await self.call.reply.keep_alive()
            return not patience.cancelled_caught
        return True
