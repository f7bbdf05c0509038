"""A virtual server: an upstream that has no server of its own, but those of other services.

It speaks the modern era alone, in which there is nothing to remember between two requests; the bridge makes sessions of
that for clients that have them, as for every other modern service. Its members are spoken to in the modern era as well,
and the bridge makes up for those that have sessions only.
"""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager

import attrs
import msgspec
import structlog
import trio

from gatewayd.auth.keychain import Keychain
from gatewayd.bridge.legacy_client.peer import NoFields, open_modern_peer
from gatewayd.catalog.kinds import BY_METHOD
from gatewayd.observe.metrics import Processes
from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Request, RpcError
from gatewayd.protocol.versions import DISCOVER, LISTEN
from gatewayd.routes.table import Service
from gatewayd.upstreams.channel import Answer, LegacyPeer
from gatewayd.upstreams.service import Caller, Opened, Usage
from gatewayd.virtual import search
from gatewayd.virtual.inquiry import Inquiry, Shared, read_inquiry
from gatewayd.virtual.listeners import Listeners
from gatewayd.virtual.lists import Lists
from gatewayd.virtual.merge import Report, View
from gatewayd.virtual.roster import Roster
from gatewayd.virtual.routing import Routing

log = structlog.get_logger("gatewayd.virtual")

TASKS = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
MOST_SHOWN = 50
"""Reports that are shown of one member."""


class VirtualServer:
    """An `Upstream`. Made by `open_virtual_server`; outlives changes of its roster, and so do those who use it."""

    def __init__(self, service: Service, shared: Shared, nursery: trio.Nursery) -> None:
        self.usage = Usage()
        self.service = service
        self._shared = shared
        self._lists = Lists(shared)
        self._routing = Routing(shared)
        self._listeners = Listeners(shared, nursery)
        nursery.start_soon(self._listeners.announce)
        self._follow(shared.roster)

    @property
    def roster(self) -> Roster:
        """Who serves at the moment."""
        return self._shared.roster

    def use(self, service: Service, roster: Roster) -> None:
        """Have other members from now on. Calls go on; clients that listen are told what has changed for them.

        What was approved in the meantime is looked at anew: its server may never have announced it.
        """
        if roster.pins != self.roster.pins:
            for seat in roster.seats:
                seat.catalogs.expire()
        self._leave()
        self.service, self._shared.roster = service, roster
        self._follow(roster)
        self._listeners.renew()

    def close(self) -> None:
        """Hear nothing of the members any more, and tell nobody anything."""
        self._leave()
        self._listeners.close()

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        """See `Upstream.request`."""
        inquiry = read_inquiry(message, version, caller, self.roster)
        kind = BY_METHOD.get(message.method)
        if kind is not None:
            return await self._lists.list(kind, inquiry)
        if message.method == DISCOVER:
            return await self._lists.discover(inquiry)
        if message.method == LISTEN:
            return await self._listeners.listen(inquiry)
        if message.method == "completion/complete":
            return await self._routing.complete(inquiry)
        return await self._named(inquiry, name or "")

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        """See `Upstream.open_legacy`: the gateway keeps the session."""
        caller = msgspec.structs.replace(caller, session=secrets.token_urlsafe(12))
        return await open_modern_peer(self, message, caller, self._shared.ids, NoFields())

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        """See `Upstream.resume_legacy`: no service knows of it."""
        return None

    def processes(self) -> Processes:
        """See `Upstream.processes`: those of the members are theirs."""
        return Processes(0, 0)

    def statistics(self) -> dict[str, object]:
        """What `/services` shows of the route."""
        views = {view.kind.name: view for view in self.roster.views()}
        healths = {seat.member.service: seat.catalogs.health for seat in self.roster.seats}
        return {
            "path": self._shared.path,
            "services": [
                {"service": service, "state": health.state, "reason": health.cause}
                for service, health in healths.items()
            ],
            "listening": len(self._listeners),
            "listed": {name: len(view.entries) for name, view in views.items()},
            "tokens": self._tokens(views.get("tools")),
            "reports": [attrs.asdict(report) for report in _shown(views.values())],
        }

    def _tokens(self, tools: View | None) -> int | None:
        """About how many tokens the list of tools takes that clients get."""
        if self.roster.virtual.discovery == "search":
            return search.WEIGHT
        return None if tools is None else tools.tokens

    def _leave(self) -> None:
        for seat in self.roster.seats:
            seat.catalogs.followers.discard(self._listeners.changed)

    def _follow(self, roster: Roster) -> None:
        for seat in roster.seats:
            seat.catalogs.followers.add(self._listeners.changed)

    async def _named(self, inquiry: Inquiry, name: str) -> Answer:
        match inquiry.request.method:
            case "tools/call":
                return await self._routing.call_tool(inquiry, name)
            case "prompts/get":
                return await self._routing.get_prompt(inquiry, name)
            case "resources/read":
                return await self._routing.read_resource(inquiry, name)
            case method if method in TASKS:
                return await self._routing.task(inquiry, name)
            case _:
                raise RpcError(METHOD_NOT_FOUND, "Method not found", status=404)


def _shown(views: Iterable[View]) -> Iterator[Report]:
    """What there is to say of each member; what is withheld first, and of no member so much that it hides another."""
    reports = [report for view in views for report in view.reports]
    told = Counter[str]()
    for report in sorted(reports, key=lambda report: (not report.withheld, report.routine)):
        told[report.service] += 1
        if told[report.service] <= MOST_SHOWN:
            yield report


@asynccontextmanager
async def open_virtual_server(
    path: str, service: Service, roster: Roster, keychain: Keychain, ids: itertools.count[int]
) -> AsyncGenerator[VirtualServer]:
    """The virtual server of a route, with the tasks it needs; all end with the block. Exceptions leave in a group."""
    async with trio.open_nursery() as nursery:
        server = VirtualServer(service, Shared(path, roster, keychain, ids), nursery)
        try:
            yield server
        finally:
            server.close()
            nursery.cancel_scope.cancel()
