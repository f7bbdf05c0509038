"""The virtual servers of the routes: made before a table takes effect, and given their members when it does."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import attrs
import structlog
import trio

from gatewayd.auth.keychain import Keychain
from gatewayd.daemon.services import Running
from gatewayd.observe.tree import Node
from gatewayd.routes.table import Bounds, Members, Route, Service, Table, Timeouts
from gatewayd.routes.virtual import Virtual
from gatewayd.sessions.registry import Registry
from gatewayd.virtual.roster import Roster, Seat
from gatewayd.virtual.server import VirtualServer, open_virtual_server

log = structlog.get_logger("gatewayd.daemon")

MOST_BYTES = 1024**3
"""Of an answer that is put together from those of several services."""


@attrs.frozen(eq=False)
class Prepared:
    """A virtual server, and what it is to be from the moment on at which its table takes effect."""

    server: VirtualServer
    service: Service
    roster: Roster
    retired: trio.Event


class VirtualServers:
    """Those of the table in force, and of earlier ones that are still in use. A task for each."""

    def __init__(
        self, nursery: trio.Nursery, registry: Registry, root: Node, keychain: Keychain, ids: itertools.count[int]
    ) -> None:
        self._nursery = nursery
        self._registry = registry
        self._node = root
        self._keychain = keychain
        self._ids = ids
        self._running: dict[str, Prepared] = {}
        self._drain = 0.0

    async def prepare(self, table: Table, services: Mapping[str, Running]) -> dict[str, Prepared]:
        """Have a virtual server for every route that is one: the running one where there is one.

        Nothing that runs is changed, so the caller may still change its mind.
        """
        ready: dict[str, Prepared] = {}
        try:
            for path, route in table.routes.items():
                if route.virtual is not None:
                    ready[path] = await self._prepare(route, route.virtual, table, services)
        except BaseException:
            self.discard(ready)
            raise
        return ready

    def use(self, ready: Mapping[str, Prepared], drain: float) -> None:
        """Make these the servers in force, with their members, and retire the others."""
        self._drain = drain
        for path, running in self._running.items():
            if path not in ready:
                running.retired.set()
        for path, prepared in ready.items():
            if prepared.server.roster is not prepared.roster:
                prepared.server.use(prepared.service, prepared.roster)
                log.info("roster changed", route=path, services=list(prepared.roster.by_service))
        self._running = dict(ready)

    def discard(self, ready: Mapping[str, Prepared]) -> None:
        """Give up what `prepare` opened and was not used."""
        for path, prepared in ready.items():
            if path not in self._running:
                prepared.retired.set()

    def statistics(self) -> list[dict[str, object]]:
        """What `/services` shows of the routes."""
        return [running.server.statistics() for running in self._running.values()]

    async def _prepare(self, route: Route, virtual: Virtual, table: Table, services: Mapping[str, Running]) -> Prepared:
        service = _service(route, table)
        seats = [
            Seat(member, services[member.service].upstream, services[member.service].catalogs)
            for member in virtual.members
        ]
        roster = Roster(virtual, seats, table.pins)
        running = self._running.get(route.path)
        if running is None:
            started: Prepared = await self._nursery.start(self._run, route.path, service, roster)
            return started
        if running.service == service and running.roster.same(roster):
            return running
        return Prepared(running.server, service, roster, running.retired)

    async def _run(
        self, path: str, service: Service, roster: Roster, *, task_status: trio.TaskStatus[Prepared]
    ) -> None:
        retired = trio.Event()
        with Node("virtual", path, parent=self._node, now=trio.current_time()):
            async with open_virtual_server(path, service, roster, self._keychain, self._ids) as server:
                task_status.started(Prepared(server, service, roster, retired))
                await retired.wait()
                with trio.move_on_after(self._drain):
                    await server.usage.wait_unused()
                await self._registry.leave(server)
        log.info("virtual server closed", route=path)


def _service(route: Route, table: Table) -> Service:
    """What holds for a call whichever member answers it: the most that one of them allows."""
    members = [table.services[name] for name in route.services]
    return Service(
        route.path,
        Members(route.services),
        Timeouts(max(member.timeouts.call for member in members)),
        Bounds(
            max(member.max.request for member in members),
            min(MOST_BYTES, sum(member.max.response for member in members)),
        ),
    )
