"""The root of the nursery tree: who starts what, in which order, and what ends it."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import structlog
import trio

from gatewayd import __version__
from gatewayd.auth.keychain import Keychain
from gatewayd.control.app import build_app
from gatewayd.control.serve import host_names, serve_admin
from gatewayd.daemon.configuration import Configuration
from gatewayd.daemon.generation import Generation, provision
from gatewayd.daemon.keys import SealingKeys, ledger_file
from gatewayd.daemon.notify import Notifier, feed_watchdog, watchdog_interval
from gatewayd.daemon.services import Services
from gatewayd.daemon.virtuals import VirtualServers
from gatewayd.exchange.exchange import LAST_WORD, Exchange
from gatewayd.front.connection import DRAIN_GRACE
from gatewayd.front.listener import PROTOCOLS, Listener
from gatewayd.net.sockets import open_socket
from gatewayd.net.tls import server_context
from gatewayd.observe import log as logging
from gatewayd.observe.exposition import render
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.tree import Node
from gatewayd.protocol.versions import REQUESTS
from gatewayd.routes.table import Listen, Table
from gatewayd.sessions.ledger import Ledger, open_ledger
from gatewayd.sessions.registry import Registry, Terms

log = structlog.get_logger("gatewayd.daemon")

FAREWELL = 3.0
"""Seconds for ending what sessions still do, after the drain."""


class Daemon:
    """One gateway; `run` is its whole life. A `View` for the admin plane."""

    def __init__(self, configuration: Configuration, notifier: Notifier) -> None:
        self._configuration = configuration
        self._notifier = notifier
        now = trio.current_time()
        self._root = Node("daemon", f"gatewayd {__version__}", parent=None, now=now)
        self._metrics = Metrics(REQUESTS["legacy"] | REQUESTS["modern"], started=now, version=__version__)
        self._reload_wanted = trio.Event()
        self._draining = False
        self._listeners: list[Listener] = []
        self._keys = SealingKeys(configuration.environ, configuration.path)
        self._ids = itertools.count(1)
        """Of every request that goes to an upstream."""
        self._generation: Generation
        self._keychain: Keychain
        self._registry: Registry
        self._exchange: Exchange
        self._services: Services
        self._virtuals: VirtualServers

    async def run(self, table: Table) -> None:
        """Serve `table` until SIGTERM or SIGINT, drain, end. A second signal ends without waiting.

        Sessions outlive connections, the ledger and the services outlive sessions, and the admin plane outlives all of
        them, so that one can watch the drain. Raises `CannotListen`, in a group, before anything is served.
        """
        with trio.open_signal_receiver(signal.SIGHUP, signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as outer:
                async with trio.open_nursery() as services:
                    keys = await trio.to_thread.run_sync(self._keys.of, table.gateway.session)
                    self._keychain = Keychain(keys)
                    async with self._open_ledger() as ledger, trio.open_nursery() as sessions:
                        await self._open(table, ledger, sessions, services, outer)
                        async with trio.open_nursery() as front:
                            await self._serve(signals, front)
                        with trio.move_on_after(FAREWELL):
                            await self._registry.suspend()
                        sessions.cancel_scope.cancel()
                    services.cancel_scope.cancel()
                outer.cancel_scope.cancel()
        log.info("stopped")

    def ready(self) -> tuple[bool, str]:
        """See `View.ready`."""
        return (False, "draining") if self._draining else (True, "serving")

    def services(self) -> list[dict[str, object]]:
        """See `View.services`."""
        return self._services.statistics()

    def routes(self) -> list[dict[str, object]]:
        """See `View.routes`."""
        return self._virtuals.statistics()

    def tree(self) -> dict[str, object]:
        """See `View.tree`."""
        return self._root.snapshot(trio.current_time())

    def metrics(self) -> bytes:
        """See `View.metrics`."""
        self._metrics.processes = self._services.processes()
        self._metrics.streams = self._exchange.streams
        return render(self._metrics)

    def table(self) -> dict[str, object]:
        """See `View.table`."""
        current = self._generation
        return {"generation": current.number, "digest": current.table.digest, "loaded_at": current.loaded_at}

    def _open_ledger(self) -> AbstractAsyncContextManager[Ledger]:
        path = ledger_file(self._configuration.environ, self._configuration.path)
        return open_ledger(path, self._keychain)

    async def _open(
        self, table: Table, ledger: Ledger, sessions: trio.Nursery, services: trio.Nursery, outer: trio.Nursery
    ) -> None:
        """Everything but the clients."""
        gateway = table.gateway
        terms = Terms(gateway.session, gateway.max)
        self._registry = Registry(terms, self._keychain, ledger, self._metrics, self._branch("sessions"), sessions)
        behind = (services, self._registry, self._branch("upstreams"), self._keychain, self._ids)
        self._services, self._virtuals = Services(*behind), VirtualServers(*behind)
        self._generation = await provision(1, table, self._services, self._virtuals, _now())
        self._services.use(self._generation.services, gateway.drain)
        self._virtuals.use(self._generation.virtuals, gateway.drain)
        self._exchange = Exchange(self._generation.plans, self._registry, self._metrics, self._ids)
        self._metrics.use_table(1, table.digest)
        sessions.start_soon(self._registry.expire)
        for listen in gateway.listen:
            self._listeners.append(self._open_listener(listen, gateway.timeouts.write))
        if gateway.admin is not None:
            app = build_app(self, host_names(gateway.admin))
            bound: Listen = await outer.start(serve_admin, gateway.admin, app)
            log.info("listening", plane="admin", address=str(bound))
        interval = watchdog_interval(self._configuration.environ)
        if interval is not None:
            outer.start_soon(feed_watchdog, self._notifier, interval)

    def _branch(self, kind: str) -> Node:
        node = Node(kind, parent=self._root, now=trio.current_time())
        node.__enter__()
        return node

    def _open_listener(self, listen: Listen, patience: float) -> Listener:
        tls = None if listen.tls is None else server_context(listen, listen.tls, PROTOCOLS)
        opened = open_socket(listen, patience=patience)
        bound = Listen(listen.host, opened.getsockname()[1], listen.tls)
        log.info("listening", plane="data", address=str(bound))
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(opened))
        return Listener(bound, accepting, self._exchange, self._root, tls)

    async def _serve(self, signals: AsyncIterator[int], front: trio.Nursery) -> None:
        for listener in self._listeners:
            front.start_soon(listener.serve)
        front.start_soon(self._obey, signals, front)
        front.start_soon(self._reload_on_demand)
        self._notifier.ready(f"serving {len(self._generation.table.routes)} routes")
        log.info("ready", routes=len(self._generation.table.routes), services=len(self._generation.services))
        await trio.lowlevel.checkpoint()

    async def _obey(self, signals: AsyncIterator[int], front: trio.Nursery) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                self._reload_wanted.set()
            elif self._draining:
                log.warning("second signal, stopping now")
                front.cancel_scope.cancel()
            else:
                self._draining = True
                front.start_soon(self._drain, front.cancel_scope)

    async def _drain(self, front: trio.CancelScope) -> None:
        """Readiness off, nobody new, standing streams end, calls finish, the rest is told to go."""
        drain = self._generation.table.gateway.drain
        log.info("draining", calls=self._exchange.working, seconds=drain)
        self._notifier.stopping("draining")
        self._exchange.drain()
        for listener in self._listeners:
            listener.drain()
        with trio.move_on_after(drain):
            await self._exchange.wait_idle()
        self._exchange.end_all()
        with trio.move_on_after(LAST_WORD):
            await self._exchange.wait_idle()
        with trio.move_on_after(2 * DRAIN_GRACE):
            for listener in self._listeners:
                await listener.closed.wait()
        front.cancel()

    async def _reload_on_demand(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted = trio.Event()
            if not self._draining:
                self._notifier.reloading()
                await self._reload()
                self._notifier.ready()

    async def _reload(self) -> None:
        """Compile the file again and swap the table, or keep the old one and say why."""
        table = (await self._configuration.compile()).table
        old = self._generation
        if table is None:
            self._metrics.reload("rejected")
            log.error("reload rejected, the old configuration stays", generation=old.number)
            self._notifier.status("reload rejected: see the log; the old configuration stays")
            return
        if table.digest == old.table.digest:
            self._metrics.reload("unchanged")
            log.info("reload: nothing changed", generation=old.number)
            return
        try:
            keys = await trio.to_thread.run_sync(self._keys.of, table.gateway.session)
            new = await provision(old.number + 1, table, self._services, self._virtuals, _now())
        except Exception as error:  # whatever it is, what runs goes on
            self._metrics.reload("rejected")
            log.error("reload failed, the old configuration stays", exc_info=error, generation=old.number)
            return
        await self._apply(new, keys)

    async def _apply(self, new: Generation, keys: tuple[bytes, ...]) -> None:
        """Have a new table in force. Sessions go along to what replaces their service, before that is retired."""
        old, table, self._generation = self._generation, new.table, new
        self._keychain.use(keys)
        self._registry.use(Terms(table.gateway.session, table.gateway.max))
        self._exchange.plans = new.plans
        self._virtuals.use(new.virtuals, old.table.gateway.drain)
        self._metrics.use_table(new.number, table.digest)
        logging.configure(table.log, sys.stderr)
        self._metrics.reload("applied")
        log.info("reloaded", generation=new.number, digest=table.digest)
        if (table.gateway.listen, table.gateway.admin) != (old.table.gateway.listen, old.table.gateway.admin):
            log.warning("changes of [gateway] listen and admin take effect after a restart")
        await self._exchange.revoke()
        await self._registry.move()
        self._services.use(new.services, old.table.gateway.drain)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
