"""A whole gateway in the test's own Trio run: real connections, exchange and services, in front of a scripted upstream.

Clients come in over memory streams, cleartext or TLS, so that what they do is exact and a test of a 30 s timeout takes
no time; `connect_tcp` uses a socket where the kernel's part matters. The upstream is reached over loopback.
"""

from __future__ import annotations

import itertools
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

import attrs
import trio
import trio.testing

from gatewayd.auth.keychain import Keychain
from gatewayd.bridge.service import BridgedService
from gatewayd.daemon.generation import provision
from gatewayd.daemon.services import Services
from gatewayd.daemon.virtuals import VirtualServers
from gatewayd.exchange.exchange import Exchange
from gatewayd.front.listener import PROTOCOLS, Listener
from gatewayd.net.tls import server_context
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.tree import Node
from gatewayd.protocol.versions import REQUESTS
from gatewayd.routes.table import Gateway, HttpTarget, Listen, Route, Service, Table, Tls
from gatewayd.sessions.ledger import Ledger
from gatewayd.sessions.registry import Registry, Terms
from gatewayd.upstreams.http import HttpUpstream
from gatewayd.upstreams.service import Upstream
from tests.support.certificate import Certificate
from tests.support.http2 import Http2Client
from tests.support.wire import WireClient

Front = Literal["http/1.1", "http/1.1+tls", "http/2"]
FRONTS: tuple[Front, ...] = ("http/1.1", "http/1.1+tls", "http/2")

PATIENCE = 1000.0
"""Seconds that any test may take; most clocks here are not real."""

KEY = b"the key of every gateway in memory"

SETTLED = 100.0
"""Seconds after which what is still there stays: longer than any client is waited for."""

HOST = "gateway.test"
"""The name of the gateway in memory."""

Client = WireClient | Http2Client


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts the ends of memory streams."""

    def __init__(self) -> None:
        self._into, self._accepted = trio.open_memory_channel[trio.abc.Stream](100)

    async def connect(self, *, stalling: bool = False) -> trio.abc.Stream:
        """A client's end. `stalling`: each side sends only as fast as the other one reads."""
        pair = trio.testing.lockstep_stream_pair if stalling else trio.testing.memory_stream_pair
        ours, theirs = pair()
        await self._into.send(theirs)
        return ours

    async def accept(self) -> trio.abc.Stream:
        """See `trio.abc.Listener`."""
        return await self._accepted.receive()

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`."""
        self._accepted.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class InProcess:
    """A running gateway."""

    table: Table
    exchange: Exchange
    registry: Registry
    root: Node
    services: Services
    virtuals: VirtualServers
    certificate: Certificate
    plain: Listener
    secure: Listener
    tcp: Listener
    plain_clients: MemoryListener
    secure_clients: MemoryListener
    tcp_address: tuple[str, int]
    listening: int = 3
    """How many listeners there should be in the end."""

    @property
    def metrics(self) -> Metrics:
        """The counters."""
        return self.exchange.metrics

    def upstream(self, service: str = "web") -> HttpUpstream:
        """A running service over HTTP."""
        found = next(plan.upstream for plan in self.exchange.plans.routes.values() if plan.route.services == (service,))
        found = unbridged(found)
        assert isinstance(found, HttpUpstream)
        return found

    def drain(self) -> None:
        """As on SIGTERM: nobody new, and the end of what never ends by itself."""
        self.exchange.drain()
        for listener in (self.plain, self.secure, self.tcp):
            listener.drain()
        self.listening = 0

    @asynccontextmanager
    async def connect(
        self, front: Front = "http/1.1", *, stalling: bool = False, careless: bool = False
    ) -> AsyncIterator[Client]:
        """A client of one of the fronts; its connection is cut with the block. For the options see there."""
        listener = self.plain_clients if front == "http/1.1" else self.secure_clients
        stream = await listener.connect(stalling=stalling)
        try:
            if front == "http/1.1":
                yield WireClient(stream, HOST)
                return
            protocol = "h2" if front == "http/2" else "http/1.1"
            secure = trio.SSLStream(
                stream, self.certificate.client([protocol]), server_hostname=HOST, https_compatible=True
            )
            await secure.do_handshake()
            assert secure.selected_alpn_protocol() == protocol
            if front == "http/1.1+tls":
                yield WireClient(secure, HOST)
                return
            async with Http2Client(secure, HOST, careless=careless) as client:
                yield client
        finally:
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def connect_http1(self, *, stalling: bool = False) -> AsyncIterator[WireClient]:
        """A cleartext client, for tests that look at bytes."""
        async with self.connect(stalling=stalling) as client:
            assert isinstance(client, WireClient)
            yield client

    @asynccontextmanager
    async def connect_http2(self, *, stalling: bool = False, careless: bool = False) -> AsyncIterator[Http2Client]:
        """A client that speaks HTTP/2, for tests that look at streams."""
        async with self.connect("http/2", stalling=stalling, careless=careless) as client:
            assert isinstance(client, Http2Client)
            yield client

    @asynccontextmanager
    async def connect_tcp(self) -> AsyncIterator[WireClient]:
        """A cleartext client over a socket."""
        async with await trio.open_tcp_stream(*self.tcp_address) as stream:
            yield WireClient(stream, HOST)

    def at_rest(self) -> Counter[str]:
        """What is left of the tree when nobody is connected: services, and the sessions that are open."""
        virtual = sum(route.virtual is not None for route in self.table.routes.values())
        return Counter(
            daemon=1, listener=self.listening, sessions=1, upstreams=1, service=len(self.table.services)
        ) + Counter(session=len(self.registry), virtual=virtual)

    async def settle(self) -> None:
        """Wait until nothing runs any more, and nobody is waited for any more."""
        with trio.move_on_after(SETTLED):
            while self.metrics.in_flight or self.root.count() != self.at_rest() or self._connections_in_use():
                await trio.sleep(0.01)

    async def settle_calls(self) -> None:
        """Wait until no call runs."""
        while self.exchange.running:
            await trio.sleep(0.01)

    async def settle_clients(self) -> None:
        """Wait until nobody is connected."""
        while self.metrics.connections:
            await trio.sleep(0.01)

    def assert_at_rest(self) -> None:
        """Nothing is running, held or counted that should not be."""
        assert self.exchange.running == self.metrics.in_flight == self.metrics.connections == 0
        assert self.root.count() == self.at_rest()
        assert self.metrics.sessions == len(self.registry)
        for plan in self.exchange.plans.routes.values():
            assert plan.upstream.usage.count == len(self.registry)
        assert self._connections_in_use() == 0

    def _connections_in_use(self) -> int:
        """Connections with services that somebody uses: with those over HTTP nobody does at rest."""
        upstreams = [unbridged(plan.upstream) for plan in self.exchange.plans.routes.values()]
        pools = [upstream.pool for upstream in upstreams if isinstance(upstream, HttpUpstream)]
        return sum(pool.open - pool.idle for pool in pools)


def unbridged(upstream: Upstream) -> Upstream:
    """The service itself."""
    return upstream.inner if isinstance(upstream, BridgedService) else upstream


def simple_table(port: int, gateway: Gateway | None = None, service: Service | None = None) -> Table:
    """One service at a port of this machine behind one open route, `/mcp`."""
    target = HttpTarget(f"http://127.0.0.1:{port}/mcp", "http", "127.0.0.1", port, "/mcp")
    web = attrs.evolve(service, target=target) if service is not None else Service("web", target)
    base = gateway or Gateway()
    return Table(
        gateway=attrs.evolve(base, hosts=(*base.hosts, HOST)),
        services={"web": web},
        routes={"/mcp": Route("/mcp", ("web",))},
    )


@asynccontextmanager
async def open_gateway(table: Table) -> AsyncIterator[InProcess]:
    """A gateway that serves `table`. When the block ends well, it must come to rest by itself."""
    now = trio.current_time()
    root = Node("daemon", parent=None, now=now)
    metrics = Metrics(REQUESTS["legacy"] | REQUESTS["modern"], started=now)
    async with AsyncExitStack() as stack:
        sessions = stack.enter_context(Node("sessions", parent=root, now=now))
        upstreams = stack.enter_context(Node("upstreams", parent=root, now=now))
        nursery = await stack.enter_async_context(trio.open_nursery())
        keychain, ids = Keychain([KEY]), itertools.count(1)
        terms = Terms(table.gateway.session, table.gateway.max)
        registry = Registry(terms, keychain, Ledger(keychain), metrics, sessions, nursery, clock=trio.current_time)
        services = Services(nursery, registry, upstreams, keychain, ids)
        virtuals = VirtualServers(nursery, registry, upstreams, keychain, ids)
        generation = await provision(1, table, services, virtuals, "now")
        services.use(generation.services, 0.0)
        virtuals.use(generation.virtuals, 0.0)
        exchange = Exchange(generation.plans, registry, metrics, ids)
        nursery.start_soon(registry.expire)
        nursery.start_soon(_give_up)
        gateway = await _open_fronts(table, exchange, registry, root, (services, virtuals), nursery)
        await trio.testing.wait_all_tasks_blocked()
        yield gateway
        await gateway.settle()
        gateway.assert_at_rest()
        nursery.cancel_scope.cancel()


async def _give_up() -> None:
    """Under a clock that jumps, a test that waits for ever is one that takes no time and does not end."""
    await trio.sleep(PATIENCE)
    raise trio.TooSlowError("the test takes too long")


async def _open_fronts(
    table: Table,
    exchange: Exchange,
    registry: Registry,
    root: Node,
    behind: tuple[Services, VirtualServers],
    nursery: trio.Nursery,
) -> InProcess:
    certificate = Certificate.shared(HOST)
    plain_clients, secure_clients = MemoryListener(), MemoryListener()
    [socket] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address: tuple[str, int] = socket.socket.getsockname()
    tls = Tls(*certificate.files)
    context: ssl.SSLContext = server_context(Listen(HOST, 443, tls), tls, PROTOCOLS)
    plain = Listener(Listen(HOST, 80), plain_clients, exchange, root)
    secure = Listener(Listen(HOST, 443, tls), secure_clients, exchange, root, context)
    tcp = Listener(Listen("127.0.0.1", address[1]), socket, exchange, root)
    for listener in (plain, secure, tcp):
        nursery.start_soon(listener.serve)
    return InProcess(
        table,
        exchange,
        registry,
        root,
        *behind,
        certificate,
        plain,
        secure,
        tcp,
        plain_clients,
        secure_clients,
        address,
    )
