"""A table, made ready: each route has its own gate, limits and service."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from gatewayd.auth.keychain import Keychain, fresh_key
from gatewayd.auth.keyring import digest
from gatewayd.auth.principal import ANONYMOUS, Principal
from gatewayd.daemon import services as module
from gatewayd.daemon.generation import provision
from gatewayd.daemon.services import Services, open_upstream
from gatewayd.daemon.virtuals import VirtualServers
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.tree import Node
from gatewayd.routes.table import (
    ApiKey,
    ApiKeyStrategy,
    Bounds,
    ClientBounds,
    Gateway,
    HttpTarget,
    Route,
    Service,
    SessionLife,
    Table,
)
from gatewayd.sessions.ledger import Ledger
from gatewayd.sessions.registry import Registry, Terms
from gatewayd.upstreams.service import Upstream

KEY = "gwk_alice-alice-alice-alice"
WEB = Service("web", HttpTarget("http://127.0.0.1:9/mcp", "http", "127.0.0.1", 9, "/mcp"), max=Bounds(request=77))
OTHER = attrs.evolve(WEB, name="other", max=Bounds(request=88))
TABLE = Table(
    Gateway(hosts=("Gateway.Test",), origins=("https://App.test",), max=ClientBounds(calls=5)),
    services={"web": WEB, "other": OTHER},
    routes={
        "/open": Route("/open", ("web",)),
        "/closed": Route("/closed", ("other",), auth=("staff", "guests")),
    },
    strategies={
        "staff": ApiKeyStrategy("staff", (ApiKey("alice", digest(KEY)),)),
        "guests": ApiKeyStrategy("guests"),
    },
)


@asynccontextmanager
async def open_services() -> AsyncIterator[tuple[Services, VirtualServers, Node]]:
    now = trio.current_time()
    root = Node("upstreams", parent=None, now=now)
    keychain, terms = Keychain([fresh_key()]), Terms(SessionLife(), ClientBounds())
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            registry = Registry(terms, keychain, Ledger(keychain), Metrics((), started=now), root, nursery)
            owned = (nursery, registry, root, keychain, itertools.count(1))
            yield Services(*owned), VirtualServers(*owned), root
            nursery.cancel_scope.cancel()
    assert root.count()["service"] == 0


async def test_each_route_has_its_own_service_gate_and_limits() -> None:
    async with open_services() as (services, virtuals, root):
        made = await provision(3, TABLE, services, virtuals, "now")
        assert (made.number, made.table, made.loaded_at) == (3, TABLE, "now")
        assert root.count()["service"] == 2
        free, closed = made.plans.routes["/open"], made.plans.routes["/closed"]
        assert free.upstream.service is WEB
        assert closed.upstream.service is OTHER
        assert (free.max_request, closed.max_request) == (77, 88)
        assert free.max_calls == closed.max_calls == 5
        assert free.gate.admit(None, None) == ANONYMOUS
        assert closed.gate.admit(None, None) is None
        assert closed.gate.admit(None, KEY.encode()) == Principal("alice", "staff")


async def test_routes_of_one_service_share_it() -> None:
    table = Table(services={"web": WEB}, routes={path: Route(path, ("web",)) for path in ("/a", "/b")})
    async with open_services() as (services, virtuals, _):
        made = await provision(1, table, services, virtuals, "now")
        assert made.plans.routes["/a"].upstream is made.plans.routes["/b"].upstream


async def test_names_of_hosts_are_compared_in_lower_case_and_origins_as_browsers_send_them() -> None:
    async with open_services() as (services, virtuals, _):
        made = await provision(1, TABLE, services, virtuals, "now")
        assert made.plans.hosts == {b"gateway.test"}
        assert made.plans.origins == {b"https://App.test"}


async def test_nothing_of_a_key_is_shown() -> None:
    async with open_services() as (services, virtuals, _):
        made = await provision(1, TABLE, services, virtuals, "now")
        assert KEY not in repr(made)
        assert digest(KEY).hex() not in repr(made)


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_what_was_opened_is_given_up_when_the_rest_cannot_be(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def second_fails(service: Service) -> AsyncIterator[Upstream]:
        if service is OTHER and how == "fails":
            raise RuntimeError("no more")
        if service is OTHER:
            await trio.sleep_forever()
        async with open_upstream(service) as upstream:
            yield upstream

    async with open_services() as (services, virtuals, root):
        monkeypatch.setattr(module, "open_upstream", second_fails)
        if how == "fails":
            with pytest.raises(RuntimeError):
                await provision(1, TABLE, services, virtuals, "now")
        else:
            with trio.move_on_after(0.1) as scope:
                await provision(1, TABLE, services, virtuals, "now")
            assert scope.cancelled_caught
        while root.count()["service"]:
            await trio.sleep(0.01)
        assert services.statistics() == []
