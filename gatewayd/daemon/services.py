"""The running services: opened before a table takes effect, kept across reloads, closed when nobody uses them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

import attrs
import structlog
import trio

from gatewayd.auth.keychain import Keychain
from gatewayd.bridge.modern_client.parking import Tickets
from gatewayd.bridge.service import open_bridge
from gatewayd.catalog.catalogs import Catalogs, open_catalogs
from gatewayd.observe.metrics import Processes
from gatewayd.observe.tree import Node
from gatewayd.routes.table import Service, StdioTarget
from gatewayd.sessions.registry import Registry
from gatewayd.upstreams.http import open_http_upstream
from gatewayd.upstreams.service import Upstream
from gatewayd.upstreams.stdio_service import open_stdio_upstream

log = structlog.get_logger("gatewayd.daemon")


@attrs.define(eq=False)
class Running:
    """A service that is up."""

    upstream: Upstream
    catalogs: Catalogs
    """What it offers, for those who put several services together."""
    retired: trio.Event = attrs.field(factory=trio.Event)
    drain: float = 0.0
    """Seconds that its users get once it is retired."""


class Services:
    """All services of the table in force, and those of earlier ones that are still in use. A task for each."""

    def __init__(
        self, nursery: trio.Nursery, registry: Registry, root: Node, keychain: Keychain, ids: itertools.count[int]
    ) -> None:
        self._nursery = nursery
        self._registry = registry
        self._node = root
        self._tickets = Tickets(keychain)
        self._ids = ids
        self._running: dict[str, Running] = {}

    async def provision(self, wanted: Mapping[str, Service]) -> dict[str, Running]:
        """Have every wanted service up: the running one where its definition is the same, a new one otherwise.

        Nothing that runs is touched, so the caller may still change its mind.
        """
        ready: dict[str, Running] = {}
        try:
            for name, service in wanted.items():
                known = self._running.get(name)
                if known is not None and known.upstream.service == service:
                    ready[name] = known
                else:
                    ready[name] = await self._nursery.start(self._run, service)
        except BaseException:
            self.discard(ready)
            raise
        return ready

    def use(self, ready: dict[str, Running], drain: float) -> None:
        """Make these the services in force, and retire the others."""
        for name, running in self._running.items():
            if ready.get(name) is not running:
                running.drain = drain
                running.retired.set()
        self._running = ready

    def discard(self, ready: dict[str, Running]) -> None:
        """Give up what `provision` opened and was not used."""
        for name, running in ready.items():
            if self._running.get(name) is not running:
                running.retired.set()

    def statistics(self) -> list[dict[str, object]]:
        """What `/services` shows."""
        return [
            {
                "name": name,
                "users": running.upstream.usage.count,
                **running.upstream.statistics(),
                **running.catalogs.statistics(),
            }
            for name, running in self._running.items()
        ]

    def processes(self) -> dict[str, Processes]:
        """The child processes of each service, for the metrics."""
        return {name: running.upstream.processes() for name, running in self._running.items()}

    async def _run(self, service: Service, *, task_status: trio.TaskStatus[Running]) -> None:
        with Node("service", service.name, parent=self._node, now=trio.current_time()) as node:
            async with (
                open_upstream(service) as inner,
                open_bridge(inner, self._tickets, self._ids, node) as upstream,
                open_catalogs(upstream, self._ids, node) as catalogs,
            ):
                running = Running(upstream, catalogs)
                task_status.started(running)
                await running.retired.wait()
                catalogs.stop()
                log.info("service retired", service=service.name, users=upstream.usage.count)
                with trio.move_on_after(running.drain):
                    await upstream.usage.wait_unused()
                await self._registry.leave(upstream)
        log.info("service closed", service=service.name)


def open_upstream(service: Service) -> AbstractAsyncContextManager[Upstream]:
    """A service of either transport, with the tasks it needs. Exceptions leave in a group."""
    return open_stdio_upstream(service) if isinstance(service.target, StdioTarget) else open_http_upstream(service)
