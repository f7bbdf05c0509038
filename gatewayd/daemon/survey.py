"""What the services of a table offer, for people who want to know it: nobody is served, and nothing is left behind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

import attrs
import msgspec
import trio

from gatewayd.auth.keychain import Keychain, fresh_key
from gatewayd.bridge.modern_client.client_request import bridgeable
from gatewayd.bridge.modern_client.parking import Tickets
from gatewayd.bridge.service import open_bridge
from gatewayd.catalog.catalog import Catalog
from gatewayd.catalog.catalogs import Audience, Catalogs, open_catalogs
from gatewayd.catalog.kinds import TOOLS, Kind, KindName
from gatewayd.catalog.listing import Listing
from gatewayd.daemon.services import open_upstream
from gatewayd.observe.tree import Node
from gatewayd.routes.lock import Definition
from gatewayd.routes.table import HttpTarget, Route, Service, Table
from gatewayd.routes.virtual import Discovery, Member, Virtual
from gatewayd.upstreams.service import Upstream
from gatewayd.virtual import search
from gatewayd.virtual.merge import Report, View
from gatewayd.virtual.roster import Roster, Seat
from gatewayd.virtual.weight import weight

PRINCIPAL: Final = ":gatewayd"
"""On whose behalf the services are asked: no client's, because no id of a principal begins with a colon."""
CAPABILITIES: Final = bridgeable(
    b'{"elicitation":{"form":{},"url":{}},"sampling":{"context":{},"tools":{}},"roots":{}}'
)
"""All that the bridge can carry, so that no server keeps anything back that it shows to able clients only."""
AGAIN: Final = 0.2
"""Seconds between two looks at a server that was started just now, and may not listen yet."""
UNREAD: Final = "*"
"""What a flaw names that is about the list itself."""

_AUDIENCE: Final = Audience(PRINCIPAL, CAPABILITIES)


@attrs.frozen
class Remark:
    """What there is to say of one definition of a service."""

    kind: KindName
    name: str
    """As its service calls it, as far as that can be shown; `*` for the list itself."""
    text: str


@attrs.frozen
class Answered:
    """What one service said."""

    service: str
    seconds: float
    """That it took."""
    error: str | None
    """Why it could not be asked, or not for everything."""
    tools: Mapping[str, Definition]
    """By the service's own names, hidden characters taken out: those that are fit to be passed on."""
    listed: Mapping[KindName, int]
    """How much there is in each list."""
    quarantined: tuple[Remark, ...]
    """What is not fit to be passed on."""
    cleaned: tuple[Remark, ...]
    """What had hidden characters in it."""

    @property
    def whole(self) -> bool:
        """Whether all tools are known: the list was read, and to its end."""
        lists = (remark.name for remark in self.quarantined if remark.kind == TOOLS.name)
        return TOOLS.name in self.listed and UNREAD not in lists


@attrs.frozen
class Offered:
    """What clients of one route are shown."""

    path: str
    services: tuple[str, ...]
    virtual: bool
    """Whether it is a virtual server; if not, clients see the one service as it is, with what is not fit for others."""
    discovery: Discovery
    tools: tuple[tuple[str, int], ...]
    """In the order of the list: the name that clients see, and about how many tokens a model reads for it."""
    told: int
    """About how many tokens of tools clients are told: fewer than all where they search."""
    listed: Mapping[KindName, int]
    """How much there is in each list, whether or not clients have to search it."""
    reports: tuple[Report, ...]
    """Conflicts, and what the lock has to say."""

    @property
    def tokens(self) -> int:
        """About how many tokens all tools take."""
        return sum(tokens for _, tokens in self.tools)

    def heaviest(self, most: int) -> Sequence[tuple[str, int]]:
        """The tools that take the most tokens."""
        return sorted(self.tools, key=lambda tool: -tool[1])[:most]


@attrs.frozen
class Survey:
    """All answers: services in the order in which they were asked for, routes in that of the table."""

    services: tuple[Answered, ...]
    routes: tuple[Offered, ...]
    """Those of which every service was asked."""


Told = Callable[[Answered], None]


async def survey(table: Table, names: Collection[str], kinds: Sequence[Kind], timeout: float, told: Told) -> Survey:
    """Ask these services for these lists, all at once and each for at most `timeout` seconds.

    `told` hears every answer as it comes. Services are opened as the daemon opens them, and closed before this returns,
    also when it is cancelled: their processes end, within some seconds, and so do the sessions with them. Exceptions
    leave in a group.
    """
    ids, tickets = itertools.count(1), Tickets(Keychain([fresh_key()]))
    root = Node("survey", parent=None, now=trio.current_time())
    answers: dict[str, Answered] = {}

    async def ask(opened: _Opened) -> None:
        answer = answers[opened.upstream.service.name] = await _ask(opened, kinds, timeout)
        told(answer)

    async with trio.open_nursery() as nursery:
        held: dict[str, _Opened] = {
            name: await nursery.start(partial(_hold, table.services[name], tickets, ids, root)) for name in names
        }
        async with trio.open_nursery() as asking:
            for opened in held.values():
                asking.start_soon(ask, opened)
        routes = [route for route in table.routes.values() if held.keys() >= set(route.services)]
        offered = tuple(_offered(route, table, held, kinds) for route in routes)
        nursery.cancel_scope.cancel()
    return Survey(tuple(answers[name] for name in held), offered)


@attrs.frozen(eq=False)
class _Opened:
    upstream: Upstream
    catalogs: Catalogs


async def _hold(
    service: Service, tickets: Tickets, ids: itertools.count[int], root: Node, *, task_status: trio.TaskStatus[_Opened]
) -> None:
    """Have a service open until cancelled."""
    with Node("service", service.name, parent=root, now=trio.current_time()) as node:
        async with (
            open_upstream(service) as inner,
            open_bridge(inner, tickets, ids, node) as upstream,
            open_catalogs(upstream, ids, node) as catalogs,
        ):
            task_status.started(_Opened(upstream, catalogs))
            await trio.sleep_forever()


async def _ask(opened: _Opened, kinds: Sequence[Kind], timeout: float) -> Answered:
    began = trio.current_time()
    catalog = opened.catalogs.of(_AUDIENCE)
    catalog.watchers += 1  # or it would be given up when nobody has used it for `timeout.idle`
    with trio.move_on_after(timeout) as patience:
        await _read(opened, catalog, kinds)
    known: dict[KindName, Listing] = {}
    for kind in kinds:
        if (listing := catalog.known(kind.name)) is not None:
            known[kind.name] = listing
    error = None
    if len(known) < len(kinds):
        late = f"it did not say within {timeout:g} seconds what it offers"
        error = late if patience.cancelled_caught else opened.catalogs.health.cause or "it does not say why"
    return _answered(opened.upstream.service.name, trio.current_time() - began, error, known)


async def _read(opened: _Opened, catalog: Catalog, kinds: Sequence[Kind]) -> None:
    """Have the lists read. A server that the gateway starts, and speaks HTTP to, has to begin to listen first."""
    target = opened.upstream.service.target
    starting = isinstance(target, HttpTarget) and target.launch is not None
    catalog.want(kind.name for kind in kinds)
    while True:
        for kind in kinds:
            await catalog.wait(kind.name)
        if catalog.over or all(catalog.known(kind.name) is not None for kind in kinds):
            return
        if opened.catalogs.health.trouble is not None and not starting:
            return
        await trio.sleep(AGAIN)


def _answered(service: str, seconds: float, error: str | None, known: Mapping[KindName, Listing]) -> Answered:
    tools = known[TOOLS.name].items if TOOLS.name in known else ()
    return Answered(
        service,
        seconds,
        error,
        {item.name: msgspec.json.decode(item.raw, type=dict[str, object]) for item in tools},
        {name: len(listing.items) for name, listing in known.items()},
        tuple(Remark(name, flaw.name, flaw.reason) for name, listing in known.items() for flaw in listing.flaws),
        tuple(
            Remark(name, item.name, item.note)
            for name, listing in known.items()
            for item in listing.items
            if item.note is not None
        ),
    )


def _offered(route: Route, table: Table, held: Mapping[str, _Opened], kinds: Sequence[Kind]) -> Offered:
    virtual = route.virtual or Virtual((Member(route.services[0]),))
    seats = [Seat(member, held[member.service].upstream, held[member.service].catalogs) for member in virtual.members]
    roster = Roster(virtual, seats, table.pins)
    views: dict[KindName, View] = {kind.name: roster.view(kind, _AUDIENCE) for kind in kinds}
    tools = (
        tuple((entry.name, weight([entry.raw])) for entry in views[TOOLS.name].entries) if TOOLS.name in views else ()
    )
    return Offered(
        route.path,
        route.services,
        route.virtual is not None,
        virtual.discovery,
        tools,
        search.WEIGHT if virtual.discovery == "search" else sum(tokens for _, tokens in tools),
        {name: len(view.entries) for name, view in views.items()},
        tuple(report for view in views.values() for report in view.reports) if route.virtual is not None else (),
    )
