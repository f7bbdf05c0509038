"""One client connection, HTTP/2: Hypercorn's protocol under an owner of ours.

`hypercorn.trio.serve` is not used on the data plane. There, an exception in the protocol of one client ends
the connections of all, writes are shielded from every deadline, and cleartext can be upgraded to HTTP/2. Here
the connection owns its tasks and its socket; HTTP/1.1 over TLS is served by `Connection`, as without TLS.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, cast

import structlog
import trio
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived
from h2.events import Event as H2Event
from h2.exceptions import ProtocolError
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, ConnectionState, Scope, TaskGroup

from gatewayd.exchange.admission import Door
from gatewayd.exchange.exchange import Exchange
from gatewayd.front.asgi import Application
from gatewayd.front.connection import DRAIN_GRACE
from gatewayd.front.patience import Patience
from gatewayd.observe.tree import Node
from gatewayd.routes.table import Gateway

log = structlog.get_logger("gatewayd.front")

RECEIVE_SIZE: Final = 64 * 1024
WRITE_SIZE: Final = 64 * 1024
"""Bytes of one write: each has the whole write timeout, so that a slow client is not taken for a dead one."""
HIGH_WATER: Final = 64 * 1024
"""Bytes that wait to be written, above which those who have more to say wait, too."""
EVENTS: Final = 10
"""Events of one request that may wait for its task, which takes them at once."""
FAREWELL: Final = 1.0
"""Seconds for the last words of a connection."""


class Http2Connection:
    """Serves one client until it leaves, misbehaves, idles or is drained. Closes the stream.

    One task reads, one writes, and each request has one. Whoever is cancelled while it waits for room to
    write leaves nothing half-written: bytes are queued at once, and waiting comes after.
    """

    def __init__(self, stream: trio.abc.Stream, exchange: Exchange, door: Door, patience: Patience, node: Node) -> None:
        """`stream` has chosen HTTP/2 already, by ALPN."""
        self._stream = stream
        self._settings: Gateway = exchange.plans.gateway
        self._app = Application(exchange, door, patience, node)
        self._protocol = Http2(self, self._settings, self._send)
        self._nursery: trio.Nursery
        self._scope = trio.CancelScope()
        self._requests = 0
        self._outgoing = bytearray()
        self._more = trio.Event()
        self._room = trio.Event()
        self._closing = False
        self._draining = False

    async def serve(self) -> None:
        """Run until the connection is over. Cancelled from outside, it closes at once."""
        try:
            with self._scope:
                self._look_idle()
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._write)
                    await self._protocol.initiate()
                    await self._read()
                    self._nursery.cancel_scope.cancel()
            await self._say_goodbye()
        finally:
            await trio.aclose_forcefully(self._stream)

    def drain(self) -> None:
        """Close when the running requests are answered. A request that is on its way already is refused."""
        self._draining = True
        self._look_idle()

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the task of a request; returns how it gets what the client sends. Called by the protocol."""
        into, events = trio.open_memory_channel[ASGIReceiveEvent](EVENTS)

        async def put(event: ASGIReceiveEvent) -> None:
            with suppress(trio.BrokenResourceError):  # the request is over already
                await into.send(event)

        self._requests += 1
        if self._requests > 2 * self._settings.max.calls:  # the protocol does not count those that were reset
            log.warning("too many requests were reset")
            self._scope.cancel()
        self._nursery.start_soon(self._serve_request, scope, events, send)
        return put

    def spawn(self, task: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Start a task of the protocol. Called by the protocol."""
        self._nursery.start_soon(task, *args)

    async def _serve_request(
        self,
        scope: Scope,
        events: trio.MemoryReceiveChannel[ASGIReceiveEvent],
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> None:
        try:
            async with events:
                await self._app(scope, events.receive, send)
            await send(None)  # an answer that is incomplete now stays so: the stream is reset
        finally:
            self._requests -= 1
            self._look_idle()

    async def _read(self) -> None:
        while not self._closing:
            try:
                data = await self._stream.receive_some(RECEIVE_SIZE)
            except trio.BrokenResourceError:
                return
            if not data:
                return
            await self._protocol.handle(RawData(bytes(data)))

    async def _send(self, event: Event) -> None:
        """Take what the protocol wants to say; waits while too much is waiting. Called by the protocol."""
        match event:
            case RawData(data=data):
                self._outgoing += data
                self._more.set()
                while len(self._outgoing) > HIGH_WATER:
                    await self._room.wait()
            case Updated():
                self._look_idle()
            case Closed():
                self._closing = True
            case _:
                pass

    async def _write(self) -> None:
        while True:
            if not self._outgoing:
                self._more = trio.Event()
                await self._more.wait()
            data = bytes(self._outgoing[:WRITE_SIZE])
            del self._outgoing[:WRITE_SIZE]
            with trio.move_on_after(self._settings.timeouts.write) as patience:
                try:
                    await self._stream.send_all(data)
                except trio.BrokenResourceError:
                    self._scope.cancel()
            if patience.cancelled_caught:
                self._scope.cancel()
            self._room.set()
            self._room = trio.Event()

    async def _say_goodbye(self) -> None:
        with trio.move_on_after(FAREWELL), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._stream.send_all(self._outgoing + self._protocol.last_words())
            await self._stream.aclose()

    def _look_idle(self) -> None:
        """Set the deadline of silence. Requests that were reset and still end count, too."""
        idle = not self._requests and self._protocol.idle
        patience = DRAIN_GRACE if self._draining else self._settings.timeouts.idle
        self._scope.deadline = trio.current_time() + patience if idle else math.inf


class Http2(H2Protocol):
    """Hypercorn's HTTP/2, with three gaps closed.

    A body that goes on behind its answer is refused, where there would be an exception; an answer that is
    given up resets its stream, where the client would wait for ever; what a scope cannot hold is reset.
    """

    def __init__(self, owner: Http2Connection, settings: Gateway, send: Callable[[Event], Awaitable[None]]) -> None:
        super().__init__(
            cast("AppWrapper", None),  # the owner knows what to run
            _config(settings),
            WorkerContext(None),
            cast("TaskGroup", owner),
            ConnectionState({}),
            True,
            None,
            None,
            send,
        )
        # A head is measured by us, too, which gives a proper answer; this is the end of all patience.
        self.connection.decoder.max_header_list_size = 2 * settings.max.head

    def last_words(self) -> bytes:
        """What is left to say: that the connection ends."""
        with suppress(ProtocolError):
            self.connection.close_connection()
        return self.connection.data_to_send()

    async def _handle_events(self, events: list[H2Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                self._refuse_rest(event)
            else:
                await super()._handle_events([event])
        await self._flush()

    async def _create_stream(self, request: RequestReceived) -> None:
        if _is_fit(request):
            await super()._create_stream(request)
        else:
            self.connection.reset_stream(request.stream_id, ErrorCodes.PROTOCOL_ERROR)

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        unsent = self.stream_buffers.get(stream_id)
        if unsent is not None and not unsent.complete:
            with suppress(ProtocolError):  # the client has closed it already
                self.connection.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
            await self._window_updated(stream_id)
            await self._flush()

    def _refuse_rest(self, event: DataReceived) -> None:
        """RFC 9113, 8.1: after a complete answer the server may ask the client to stop sending."""
        self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if event.stream_id not in self.stream_buffers:
            with suppress(ProtocolError):  # this was the end of the body anyway
                self.connection.reset_stream(event.stream_id, ErrorCodes.NO_ERROR)


def _is_fit(request: RequestReceived) -> bool:
    """Whether the request becomes a scope as it is: Hypercorn decodes, folds case, takes the last of two."""
    headers = [(bytes(name), bytes(value)) for name, value in request.headers]
    named = dict(headers)
    method, path = named[b":method"], named.get(b":path", b"")
    hosts = sum(name == b"host" for name, _ in headers)
    return path.isascii() and method.isupper() and method.isascii() and method != b"CONNECT" and hosts <= 1


def _config(settings: Gateway) -> Config:
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")  # anything else prints past our log's rules
    config.include_server_header = False
    config.include_date_header = False
    config.h2_max_concurrent_streams = settings.max.calls
    config.h2_max_header_list_size = settings.max.head
    config.keep_alive_max_requests = sys.maxsize  # reaching it would cut off the calls that run
    return config
