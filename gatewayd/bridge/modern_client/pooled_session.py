"""A legacy session of the gateway's own, which the requests of modern clients share one after the other and at once.

All of them come from one principal and declared the same capabilities. What belongs to the session as a whole is here:
its log level, its subscriptions, who listens, and which calls are in flight.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Protocol

import attrs
import trio

from gatewayd.bridge.modern_client.upgrade import Greeting
from gatewayd.observe.tree import Node
from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.protocol.jsontext import encode_members, text
from gatewayd.protocol.versions import LOG_LEVELS
from gatewayd.upstreams.channel import LegacyPeer, UpstreamDied, UpstreamError

STREAM_PATIENCE = 2.0
"""Seconds to wait for an upstream to say whether it has a stream of its own; some say it with the first message only,
and then nothing is promised to clients."""


class Running(Protocol):
    """A call in flight, in the eyes of its session."""

    @property
    def may_ask(self) -> bool:
        """Whether the server may ask its client during such a call."""
        ...

    @property
    def waits_since(self) -> float | None:
        """When the server's last question came that the client has not answered yet; None: there is none."""
        ...

    def hear(self, message: Notification | Request) -> bool:
        """A message that may be the call's, but came on the session's own stream. False: there is no room for it."""
        ...


class Listener(Protocol):
    """A subscription of a client, in the eyes of its session."""

    def hear(self, message: Notification) -> None:
        """News of the server, whether the client wants them or not. Never waits."""
        ...


@attrs.define(eq=False)
class PooledSession:
    """The session itself; whoever opened it also closes `peer`."""

    peer: LegacyPeer
    greeting: Greeting
    ids: itertools.count[int]
    node: Node
    """What waits in it hangs itself under this."""
    calls: set[Running] = attrs.field(factory=set[Running], init=False)
    listeners: set[Listener] = attrs.field(factory=set[Listener], init=False)
    stream_wanted: trio.Event = attrs.field(factory=trio.Event, init=False)
    stream: bool = attrs.field(default=False, init=False)
    """Whether what the server says unasked reaches us, once `stream_known`."""
    stream_known: trio.Event = attrs.field(factory=trio.Event, init=False)
    _level: int = attrs.field(default=len(LOG_LEVELS), init=False)
    _leveling: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _uris: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    """How many listen to each resource."""
    _subscribing: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def has_stream(self) -> bool:
        """Whether what the server says unasked reaches us. Waits for at most `STREAM_PATIENCE` seconds."""
        self.stream_wanted.set()
        with trio.move_on_after(STREAM_PATIENCE):
            await self.stream_known.wait()
        return self.stream

    def fan_out(self, message: Notification) -> None:
        """Tell everybody who listens."""
        for listener in self.listeners:
            listener.hear(message)

    async def ask(self, method: str, params: dict[str, bytes]) -> Result | Failure:
        """A request of the gateway's own. The deadline is the caller's. Raises `UpstreamError`."""
        answer = await self.peer.request(Request(next(self.ids), method, encode_members(params)))
        try:
            while True:
                message = await answer.receive()
                match message:
                    case Result() | Failure():
                        return message
                    case Request():
                        await self.refuse(message)
                    case Notification():
                        self.fan_out(message)
                    case None:
                        raise UpstreamDied("the service ended its answer early")
                    case _:
                        pass
        finally:
            await answer.aclose()

    async def refuse(self, request: Request) -> None:
        """Answer a request of the server that no client will see. Pings are the gateway's to answer."""
        pong = Result(request.id, b"{}")
        refusal = Failure(request.id, METHOD_NOT_FOUND, "No client can be asked this now")
        with suppress(UpstreamError):  # who cannot be answered will be missed elsewhere
            await self.peer.send(pong if request.method == "ping" else refusal)

    async def want_logs(self, level: str) -> None:
        """Have the server log at least what is as severe as `level`: set once, to the lowest that was ever needed."""
        wanted = LOG_LEVELS.index(level)
        if not self.greeting.offers("logging") or wanted >= self._level:
            return
        async with self._leveling:
            if wanted < self._level:
                with suppress(UpstreamError):  # the call that comes next will tell
                    await self.ask("logging/setLevel", {"level": text(level)})
                    self._level = wanted

    async def subscribe(self, uri: str) -> bool:
        """Have the server tell of changes to a resource, until everybody who subscribed has unsubscribed.

        False: it does not want to, or failed.
        """
        async with self._subscribing:
            if uri not in self._uris:
                try:
                    answered = await self.ask("resources/subscribe", {"uri": text(uri)})
                except UpstreamError:
                    return False
                if isinstance(answered, Failure):
                    return False
            self._uris[uri] = self._uris.get(uri, 0) + 1
            return True

    async def unsubscribe(self, uri: str) -> None:
        """Take one `subscribe` back that succeeded."""
        async with self._subscribing:
            self._uris[uri] -= 1
            if not self._uris[uri]:
                del self._uris[uri]
                with suppress(UpstreamError):
                    await self.ask("resources/unsubscribe", {"uri": text(uri)})
