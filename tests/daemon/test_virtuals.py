"""Virtual servers across changes of the table: which go on, which begin, and when the others go."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gatewayd.auth.keychain import Keychain, fresh_key
from gatewayd.catalog.catalogs import open_catalogs
from gatewayd.daemon.services import Running
from gatewayd.daemon.virtuals import MOST_BYTES, Prepared, VirtualServers
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.tree import Node
from gatewayd.routes.table import Bounds, ClientBounds, Gateway, Members, Route, SessionLife, Table, Timeouts
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.sessions.ledger import Ledger
from gatewayd.sessions.registry import Registry, Terms
from tests.catalog.scene import Fake, fake

DRAIN = 30.0


@attrs.frozen(eq=False)
class Bench:
    """Virtual servers without a daemon around them, over services `a`, `b` and `c`."""

    virtuals: VirtualServers
    services: dict[str, Running]
    fakes: dict[str, Fake]
    root: Node

    def up(self) -> list[str]:
        """The routes that have a server, in force or not."""
        return sorted(node.label for node in self.root.children if node.kind == "virtual")

    def table(self, **routes: str) -> Table:
        """Routes by name, each with its services; a name that begins with `plain` is of a route that is not virtual."""
        return Table(
            Gateway(),
            services={name: one.service for name, one in self.fakes.items()},
            routes={
                f"/{name}": Route(
                    f"/{name}",
                    tuple(members),
                    virtual=None if name.startswith("plain") else Virtual(tuple(Member(one, one) for one in members)),
                )
                for name, members in routes.items()
            },
        )

    async def prepare(self, **routes: str) -> dict[str, Prepared]:
        """As the daemon does before a table takes effect."""
        return await self.virtuals.prepare(self.table(**routes), self.services)

    async def use(self, **routes: str) -> dict[str, Prepared]:
        """A whole reload."""
        ready = await self.prepare(**routes)
        self.virtuals.use(ready, DRAIN)
        return ready


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Ends the servers with the block."""
    now = trio.current_time()
    root, keychain = Node("upstreams", parent=None, now=now), Keychain([fresh_key()])
    sessions, ids = Node("sessions", parent=root, now=now), itertools.count(1)
    fakes = {
        "a": fake("a", "x", timeouts=Timeouts(call=5.0), max=Bounds(10, 100)),
        "b": fake("b", "x", timeouts=Timeouts(call=9.0), max=Bounds(20, 300)),
        "c": fake("c", "x", max=Bounds(1, MOST_BYTES)),
    }
    async with AsyncExitStack() as stack:
        services: dict[str, Running] = {}
        for name, one in fakes.items():
            services[name] = Running(one, await stack.enter_async_context(open_catalogs(one, ids, root)))
        nursery = await stack.enter_async_context(trio.open_nursery())
        terms = Terms(SessionLife(), ClientBounds())
        registry = Registry(terms, keychain, Ledger(keychain), Metrics((), started=now), sessions, nursery)
        yield Bench(VirtualServers(nursery, registry, root, keychain, ids), services, fakes, root)
        nursery.cancel_scope.cancel()


async def test_every_virtual_route_has_a_server_and_no_other_one(autojump_clock: MockClock) -> None:
    async with bench() as b:
        ready = await b.use(one="ab", plain="a", two="b")
        assert set(ready) == {"/one", "/two"}
        assert b.up() == ["/one", "/two"]
        assert [shown["path"] for shown in b.virtuals.statistics()] == ["/one", "/two"]


async def test_a_server_allows_what_one_of_its_members_allows(autojump_clock: MockClock) -> None:
    async with bench() as b:
        ready = await b.use(one="ab", big="ac")
        service = ready["/one"].server.service
        assert (service.name, service.target) == ("/one", Members(("a", "b")))
        assert (service.timeouts.call, service.max) == (9.0, Bounds(20, 400))
        assert ready["/big"].server.service.max.response == MOST_BYTES


async def test_a_route_that_did_not_change_goes_on_as_it_was(autojump_clock: MockClock) -> None:
    async with bench() as b:
        first = await b.use(one="ab")
        roster = first["/one"].server.roster
        second = await b.use(one="ab")
        assert second["/one"] is first["/one"]
        assert second["/one"].server.roster is roster


async def test_a_route_that_changed_keeps_its_server_and_gets_other_members(autojump_clock: MockClock) -> None:
    async with bench() as b:
        first = await b.use(one="ab")
        server = first["/one"].server
        ready = await b.prepare(one="bc")
        assert list(server.roster.by_service) == ["a", "b"]
        b.virtuals.use(ready, DRAIN)
        assert ready["/one"].server is server
        assert list(server.roster.by_service) == ["b", "c"]
        assert server.service.target == Members(("b", "c"))
        assert not first["/one"].retired.is_set()
        assert b.up() == ["/one"]


async def test_what_was_prepared_and_not_used_is_given_up(autojump_clock: MockClock) -> None:
    async with bench() as b:
        await b.use(one="ab")
        ready = await b.prepare(one="a", two="b")
        assert b.up() == ["/one", "/two"]
        b.virtuals.discard(ready)
        await trio.testing.wait_all_tasks_blocked()
        assert b.up() == ["/one"]
        assert list(ready["/one"].server.roster.by_service) == ["a", "b"]


async def test_a_table_that_cannot_be_prepared_leaves_nothing(autojump_clock: MockClock) -> None:
    async with bench() as b:
        del b.services["c"]
        with pytest.raises(KeyError):
            await b.prepare(one="ab", two="c")
        await trio.testing.wait_all_tasks_blocked()
        assert b.up() == []


async def test_a_removed_route_is_kept_until_its_last_user_goes(autojump_clock: MockClock) -> None:
    async with bench() as b:
        usage = (await b.use(one="ab", two="a"))["/one"].server.usage
        usage.begin()
        await b.use()
        await trio.testing.wait_all_tasks_blocked()
        assert b.up() == ["/one"]
        usage.end()
        await trio.testing.wait_all_tasks_blocked()
        assert b.up() == []


async def test_users_who_stay_get_the_drain_and_no_more(autojump_clock: MockClock) -> None:
    async with bench() as b:
        (await b.use(one="ab"))["/one"].server.usage.begin()
        await b.use()
        await trio.sleep(DRAIN - 1)
        assert b.up() == ["/one"]
        await trio.sleep(2)
        assert b.up() == []


async def test_a_route_that_comes_back_is_another_server(autojump_clock: MockClock) -> None:
    async with bench() as b:
        first = await b.use(one="ab")
        first["/one"].server.usage.begin()
        await b.use()
        second = await b.use(one="ab")
        assert second["/one"].server is not first["/one"].server
        assert b.up() == ["/one", "/one"]
