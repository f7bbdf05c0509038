"""Which services survive a change of the table, and when the others go."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio
import trio.testing

from gatewayd.auth.keychain import Keychain, fresh_key
from gatewayd.daemon.services import Services
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.tree import Node
from gatewayd.routes.table import ClientBounds, HttpTarget, Service, SessionLife, Timeouts
from gatewayd.sessions.ledger import Ledger
from gatewayd.sessions.registry import Registry, Terms

WEB = Service("web", HttpTarget("http://127.0.0.1:9/mcp", "http", "127.0.0.1", 9, "/mcp"))
OTHER = attrs.evolve(WEB, name="other")
CHANGED = attrs.evolve(WEB, timeouts=Timeouts(call=1.0))


@attrs.frozen(eq=False)
class Bench:
    """Services without a daemon around them."""

    services: Services
    root: Node

    def up(self) -> int:
        """How many services are up, in force or not."""
        return self.root.count()["service"]


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Ends the services with the block."""
    now = trio.current_time()
    root = Node("upstreams", parent=None, now=now)
    keychain, metrics, sessions = (
        Keychain([fresh_key()]),
        Metrics((), started=now),
        Node("sessions", parent=root, now=now),
    )
    async with trio.open_nursery() as nursery:
        terms = Terms(SessionLife(), ClientBounds())
        registry = Registry(terms, keychain, Ledger(keychain), metrics, sessions, nursery)
        with root:
            yield Bench(Services(nursery, registry, root, keychain, itertools.count(1)), root)
            nursery.cancel_scope.cancel()


async def test_a_service_that_did_not_change_is_the_same_object(autojump_clock: trio.testing.MockClock) -> None:
    async with bench() as b:
        first = await b.services.provision({"web": WEB, "other": OTHER})
        b.services.use(first, 1.0)
        second = await b.services.provision({"web": attrs.evolve(WEB), "other": CHANGED})
        assert second["web"] is first["web"]
        assert second["other"] is not first["other"]


async def test_provisioning_touches_nothing_that_runs(autojump_clock: trio.testing.MockClock) -> None:
    async with bench() as b:
        first = await b.services.provision({"web": WEB})
        b.services.use(first, 1.0)
        await b.services.provision({"web": CHANGED})
        assert not first["web"].retired.is_set()
        assert b.up() == 2


async def test_a_removed_service_that_nobody_uses_goes_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with bench() as b:
        b.services.use(await b.services.provision({"web": WEB, "other": OTHER}), 30.0)
        b.services.use(await b.services.provision({"web": WEB}), 30.0)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert b.up() == 1
        assert [shown["name"] for shown in b.services.statistics()] == ["web"]


async def test_what_was_provisioned_and_not_used_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with bench() as b:
        b.services.use(await b.services.provision({"web": WEB}), 1.0)
        b.services.discard(await b.services.provision({"web": WEB, "other": OTHER}))
        await trio.sleep(1)
        assert b.up() == 1


async def test_a_service_in_use_is_kept_until_its_last_user_goes(autojump_clock: trio.testing.MockClock) -> None:
    async with bench() as b:
        first = await b.services.provision({"web": WEB})
        b.services.use(first, 30.0)
        usage = first["web"].upstream.usage
        usage.begin()
        b.services.use({}, 30.0)
        await trio.sleep(20)
        assert b.up() == 1
        usage.end()
        await trio.sleep(1)
        assert b.up() == 0


async def test_users_who_stay_get_the_drain_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    async with bench() as b:
        first = await b.services.provision({"web": WEB})
        b.services.use(first, 30.0)
        first["web"].upstream.usage.begin()
        b.services.use({}, 30.0)
        await trio.sleep(29)
        assert b.up() == 1
        await trio.sleep(2)
        assert b.up() == 0
