"""A table, made ready to serve: its services up, its routes opened."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from gatewayd.auth.gate import Gate
from gatewayd.auth.keyring import Keyring
from gatewayd.daemon.services import Running, Services
from gatewayd.daemon.virtuals import Prepared, VirtualServers
from gatewayd.exchange.plan import Plan, Plans
from gatewayd.routes.table import Route, Table
from gatewayd.upstreams.service import Upstream


@attrs.frozen(eq=False)
class Generation:
    """One table in force. Numbers rise by one with each reload that changed something."""

    number: int
    table: Table
    plans: Plans
    services: dict[str, Running]
    virtuals: dict[str, Prepared]
    """By path."""
    loaded_at: str
    """Wall-clock time, for people."""


async def provision(
    number: int, table: Table, services: Services, virtuals: VirtualServers, loaded_at: str
) -> Generation:
    """Open what a table needs beside what runs already. Cancelled, it leaves the running services as they are."""
    ready = await services.provision(table.services)
    try:
        made = await virtuals.prepare(table, ready)
    except BaseException:
        services.discard(ready)
        raise
    rings = {name: Keyring(strategy.keys) for name, strategy in table.strategies.items()}
    upstreams: Mapping[str, Upstream] = {path: prepared.server for path, prepared in made.items()}
    routes = {
        path: _plan(route, table, upstreams.get(path) or ready[route.services[0]].upstream, rings)
        for path, route in table.routes.items()
    }
    gateway = table.gateway
    plans = Plans(
        gateway,
        routes,
        frozenset(host.lower().encode() for host in gateway.hosts),
        frozenset(origin.encode() for origin in gateway.origins),
    )
    return Generation(number, table, plans, ready, made, loaded_at)


def _plan(route: Route, table: Table, upstream: Upstream, rings: Mapping[str, Keyring]) -> Plan:
    gate = Gate([(name, rings[name]) for name in route.auth])
    most = max(table.services[name].max.request for name in route.services)
    return Plan(route, upstream, gate, most, table.gateway.max.calls)
