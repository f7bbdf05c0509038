"""Accepts clients on one address, and knows who is connected."""

from __future__ import annotations

import socket

import structlog
import trio

from gatewayd.exchange.admission import Door
from gatewayd.exchange.exchange import Exchange
from gatewayd.front.connection import Connection
from gatewayd.front.doors import door_of
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


class Listener:
    """One cleartext address. Connections are tasks of the nursery that `serve` runs in."""

    def __init__(self, listen: Listen, opened: socket.socket, exchange: Exchange, root: Node) -> None:
        """`listen` has the real port; `opened` is its listening socket, ours from here on."""
        self._sockets = [trio.SocketListener(trio.socket.from_stdlib_socket(opened))]
        self._exchange = exchange
        self._node = Node("listener", str(listen), parent=root, now=trio.current_time())
        self._door: Door = door_of(listen)
        self._patience = Patience()
        self._connections: set[Connection] = set()
        self._accepting = trio.CancelScope()
        self.closed = trio.Event()
        """The last connection is gone."""

    async def serve(self) -> None:
        """Accept and serve until drained and the last connection is gone, or until cancelled."""
        with self._node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._patience.run)
                async with trio.open_nursery() as connections:
                    with self._accepting:
                        await trio.serve_listeners(self._serve_client, self._sockets, handler_nursery=connections)
                nursery.cancel_scope.cancel()
        self.closed.set()

    def drain(self) -> None:
        """Accept nobody any more; idle connections close, the others after their request."""
        self._accepting.cancel()
        for connection in list(self._connections):
            connection.drain()

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        metrics = self._exchange.metrics
        if metrics.connections >= self._exchange.plans.gateway.max.connections:
            metrics.refuse("busy")
            with trio.move_on_after(1):
                await stream.send_all(BUSY)
            await trio.aclose_forcefully(stream)
            return
        metrics.connections += 1
        client = TcpStream.adopt(stream)
        with Node("connection", client.peer(), parent=self._node, now=trio.current_time()) as node:
            connection = Connection(client, self._exchange, self._door, self._patience, node)
            self._connections.add(connection)
            try:
                await connection.serve()
            except Exception as error:  # noqa: BLE001 (the boundary between one client and the others)
                log.error("connection crashed", exc_info=error, peer=node.label)
            finally:
                self._connections.discard(connection)
                metrics.connections -= 1
