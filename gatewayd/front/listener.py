"""Accepts clients on one address, and knows who is connected."""

from __future__ import annotations

import ssl
from typing import Final, Protocol

import structlog
import trio

from gatewayd.exchange.admission import Door
from gatewayd.exchange.exchange import Exchange
from gatewayd.front.connection import Connection
from gatewayd.front.doors import door_of
from gatewayd.front.hyper import Http2Connection
from gatewayd.front.patience import Patience
from gatewayd.net.stream import TcpStream
from gatewayd.observe.tree import Node
from gatewayd.routes.table import Listen

log = structlog.get_logger("gatewayd.front")

BUSY_BODY = b'{"jsonrpc":"2.0","error":{"code":-31009,"message":"too many connections; try again later"}}'
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BUSY_BODY), BUSY_BODY)
)

PROTOCOLS: Final = ("h2", "http/1.1")
"""What a TLS listener offers by ALPN."""


class Client(Protocol):
    """A connection in the eyes of its listener."""

    async def serve(self) -> None:
        """Run until the connection is over, and close it."""
        ...

    def drain(self) -> None:
        """Take no further call; close when the running ones are answered."""
        ...


class Listener:
    """One address. Connections are tasks of the nursery that `serve` runs in.

    With TLS the client chooses HTTP/2 or HTTP/1.1; without, it gets HTTP/1.1.
    """

    def __init__(
        self,
        listen: Listen,
        accepting: trio.abc.Listener[trio.abc.Stream],
        exchange: Exchange,
        root: Node,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`listen` has the real port; `accepting` is ours from here on; `tls` offers `PROTOCOLS`."""
        self._accepting_from = accepting
        self._exchange = exchange
        self._node = Node("listener", str(listen), parent=root, now=trio.current_time())
        self._door: Door = door_of(listen)
        self._tls = tls
        self._patience = Patience()
        self._connections: set[Client] = set()
        self._accepting = trio.CancelScope()
        self._draining = False
        self.closed = trio.Event()
        """The last connection is gone."""

    async def serve(self) -> None:
        """Accept and serve until drained and the last connection is gone, or until cancelled."""
        with self._node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._patience.run)
                async with trio.open_nursery() as connections:
                    with self._accepting:
                        await trio.serve_listeners(
                            self._serve_client, [self._accepting_from], handler_nursery=connections
                        )
                nursery.cancel_scope.cancel()
        self.closed.set()

    def drain(self) -> None:
        """Accept nobody any more; idle connections close, the others after their request."""
        self._draining = True
        self._accepting.cancel()
        for connection in list(self._connections):
            connection.drain()

    async def _serve_client(self, stream: trio.abc.Stream) -> None:
        metrics = self._exchange.metrics
        if metrics.connections >= self._exchange.plans.gateway.max.connections:
            metrics.refuse("busy")
            if self._tls is None:
                with trio.move_on_after(1):
                    await stream.send_all(BUSY)
            await trio.aclose_forcefully(stream)
            return
        metrics.connections += 1
        client = TcpStream.adopt(stream) if isinstance(stream, trio.SocketStream) else stream
        peer = client.peer() if isinstance(client, TcpStream) else ""
        with Node("connection", peer, parent=self._node, now=trio.current_time()) as node:
            try:
                await self._serve_connection(client, node)
            except Exception as error:
                log.error("connection crashed", exc_info=error, peer=peer)
            finally:
                metrics.connections -= 1

    async def _serve_connection(self, stream: trio.abc.Stream, node: Node) -> None:
        connection = await self._open(stream, node)
        if connection is None:
            return
        self._connections.add(connection)
        if self._draining:  # it came in while the others were told
            connection.drain()
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    async def _open(self, stream: trio.abc.Stream, node: Node) -> Client | None:
        """The connection in the protocol that the client chose; None when its handshake failed."""
        if self._tls is None:
            return Connection(stream, self._exchange, self._door, self._patience, node)
        secure = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
        try:
            with trio.fail_after(self._exchange.plans.gateway.timeouts.head):
                await secure.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError):
            await trio.aclose_forcefully(secure)
            return None
        except BaseException:
            await trio.aclose_forcefully(secure)
            raise
        kind = Http2Connection if secure.selected_alpn_protocol() == "h2" else Connection
        return kind(secure, self._exchange, self._door, self._patience, node)
