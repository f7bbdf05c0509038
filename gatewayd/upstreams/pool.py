"""Connections to one HTTP origin, kept alive between requests."""

from __future__ import annotations

import select
import ssl
from collections import deque
from contextlib import suppress
from typing import Literal, cast

import attrs
import trio

from gatewayd.net.stream import TcpStream
from gatewayd.protocol.http1 import END, HttpError, ResponseReader
from gatewayd.routes.table import HttpTarget
from gatewayd.upstreams.channel import UpstreamTimedOut, UpstreamUnreachable

MAX_HEAD = 64 * 1024
"""Bytes of a response head. Servers may send large cookies; nothing that we forward is in there."""

CLOSING = 1.0
"""Seconds to close what is idle; it takes no waiting, but a cancelled task could not do it at all."""

KEEP_IDLE = 4.0
"""Seconds an unused connection is kept: common servers (uvicorn, Node) close theirs after 5, we want to be first."""

PEEK = 0.1
"""Seconds to take what has arrived already; over TLS it may turn out to be no data at all."""

MAX_IDLE = 128
"""Unused connections kept per origin; more come and go with a burst."""

Connected = TcpStream | trio.SSLStream[TcpStream]

State = Literal["ready", "unfinished", "dead"]
"""Of a kept connection; unfinished: the end of its last answer has not come yet."""


@attrs.define(eq=False)
class PooledConnection:
    """One connection to the origin, used by one request at a time."""

    stream: Connected
    reader: ResponseReader
    _poll: select.poll = attrs.field(init=False)
    reused: bool = False
    """Whether an earlier request was served on it: then a silent close may just mean that it had gone stale."""
    idle_since: float = 0.0

    def __attrs_post_init__(self) -> None:
        stream = self.stream
        below = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        self._poll = select.poll()
        self._poll.register(below.fileno(), select.POLLIN)

    def readable(self) -> bool:
        """Whether bytes, or the end, wait to be read."""
        return bool(self._poll.poll(0))


class Pool:
    """Hands out connections, last used first. A closed pool serves what is in use and keeps nothing."""

    def __init__(self, target: HttpTarget, *, connect_timeout: float, trust: str | None) -> None:
        self._target = target
        self._connect_timeout = connect_timeout
        self._trust = trust
        self._tls: ssl.SSLContext | None = None
        self._idle: deque[PooledConnection] = deque()
        self._filled = trio.Event()
        self._closed = False
        self.open = 0
        """Connections that exist, idle ones included."""

    @property
    def idle(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    async def acquire(self, *, fresh: bool = False) -> PooledConnection:
        """A connection that is ready for a request. Raises `UpstreamUnreachable`, `UpstreamTimedOut`.

        `fresh` asks for a new one: the second try after a kept one turned out to be dead.
        """
        unfinished: list[PooledConnection] = []
        try:
            while self._idle and not fresh:
                connection = self._idle.pop()
                state = await self._look(connection)
                if state == "ready":
                    connection.reused = True
                    return connection
                if state == "unfinished":
                    unfinished.append(connection)
                else:
                    await self.discard(connection)
        finally:
            self._idle.extend(reversed(unfinished))
        return await self._connect()

    async def release(self, connection: PooledConnection) -> None:
        """Take a connection back after its answer; keep it if another request may follow."""
        if self._closed or len(self._idle) >= MAX_IDLE:
            await self.discard(connection)
            return
        connection.idle_since = trio.current_time()
        self._idle.append(connection)
        self._filled.set()

    async def discard(self, connection: PooledConnection) -> None:
        """Close a connection at once. Never waits for the peer."""
        self.open -= 1
        await trio.aclose_forcefully(connection.stream)

    async def reap(self) -> None:
        """Close what has been idle too long, until cancelled. Sleeps while there is nothing to do."""
        while True:
            await self._filled.wait()
            await trio.sleep_until(self._idle[0].idle_since + KEEP_IDLE if self._idle else -1)
            now = trio.current_time()
            while self._idle and self._idle[0].idle_since + KEEP_IDLE <= now:
                await self.discard(self._idle.popleft())
            if not self._idle:
                self._filled = trio.Event()

    async def aclose(self) -> None:
        """Close what is idle, also when cancelled; what is in use is closed when it comes back."""
        self._closed = True
        with trio.move_on_after(CLOSING, shield=True):
            while self._idle:
                await self.discard(self._idle.popleft())

    async def _look(self, connection: PooledConnection) -> State:
        try:
            return await _state(connection)
        except BaseException:
            await self.discard(connection)
            raise

    async def _connect(self) -> PooledConnection:
        target = self._target
        try:
            with trio.fail_after(self._connect_timeout):
                stream = await self._open_stream()
        except trio.TooSlowError:
            raise UpstreamTimedOut("the service did not accept a connection in time", target.url) from None
        except (trio.BrokenResourceError, ssl.SSLError) as error:
            cause = error.__cause__ or error
            raise UpstreamUnreachable("no trusted connection to the service", f"{target.url}: {cause}") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of the host name is too long
            raise UpstreamUnreachable("the service cannot be reached", f"{target.url}: {_cause(error)}") from error
        self.open += 1
        return PooledConnection(stream, ResponseReader(MAX_HEAD))

    async def _open_stream(self) -> Connected:
        target = self._target
        context = None if target.scheme == "http" else self._context()
        connected = await trio.open_tcp_stream(target.host, target.port)
        with suppress(OSError):  # a courtesy to long streams: a peer that vanished is noticed at last
            connected.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
            connected.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPIDLE, 60)
        stream = TcpStream.adopt(connected)
        if context is None:
            return stream
        secure = trio.SSLStream(stream, context, server_hostname=target.host, https_compatible=True)
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(secure)
            raise
        return secure

    def _context(self) -> ssl.SSLContext:
        """Made when it is first needed, so that a file which holds no certificates fails calls and not the daemon."""
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._trust)
        return self._tls


def _cause(error: BaseException) -> str:
    """What is behind Trio's "all attempts to connect failed"."""
    cause = error.__cause__
    if isinstance(cause, ExceptionGroup):
        return "; ".join(str(each) for each in cast("ExceptionGroup[Exception]", cause).exceptions)
    return str(cause or error)


async def _state(connection: PooledConnection) -> State:
    """Whether a kept connection can take a request: alive, and its last answer completely read.

    The final event of a stream is often followed by the end of the body in a packet of its own, which nobody
    waited for: it is read now, or later if it is still on its way.
    """
    reader = connection.reader
    try:
        if reader.receiving and not _at_end(reader):
            if not connection.readable():
                return "unfinished"
            with trio.move_on_after(PEEK) as peek:
                data = await connection.stream.receive_some()
                if not data:
                    return "dead"
                reader.feed(data)
            if peek.cancelled_caught:
                return "dead"
            if not _at_end(reader):
                return "unfinished"
    except (HttpError, trio.BrokenResourceError):
        return "dead"
    return "ready" if reader.complete and not connection.readable() else "dead"


def _at_end(reader: ResponseReader) -> bool:
    while (part := reader.next_chunk()) is not None:
        if part is END:
            return True
    return False
