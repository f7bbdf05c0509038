"""Clients that listen to a virtual server: what its members tell, fanned in to each of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial

import trio

from gatewayd.bridge.modern_client.filters import Filter, read_filter
from gatewayd.bridge.modern_client.listen_answer import ListenAnswer
from gatewayd.catalog.catalogs import Audience
from gatewayd.virtual.describing import lists_of
from gatewayd.virtual.finding import find_places
from gatewayd.virtual.inquiry import Inquiry, Shared
from gatewayd.virtual.reach import reachable
from gatewayd.virtual.standing import Digests, Standing, digests
from gatewayd.virtual.subscribing import Subscription, Target

COALESCE = 0.03
"""Seconds in which changes are gathered before anybody is told: servers change several things at once."""
AGREEMENT = 10.0
"""Seconds that a client waits for members to agree to subscriptions; what they have not agreed to then is not."""


class Listeners:
    """All who listen. `announce` must be running; subscriptions are tasks in the nursery."""

    def __init__(self, shared: Shared, nursery: trio.Nursery) -> None:
        self._shared = shared
        self._nursery = nursery
        self._standing: dict[ListenAnswer, tuple[Standing, Sequence[Subscription]]] = {}
        self._changed: set[tuple[str, bytes]] = set()
        """Principals and capabilities of the audiences that see something else."""
        self._renewed = False
        """Whether the roster is another one since anybody was told."""
        self._some = trio.Event()

    def __len__(self) -> int:
        return len(self._standing)

    async def listen(self, inquiry: Inquiry) -> ListenAnswer:
        """`subscriptions/listen`. Raises `RpcError` where that cannot be read."""
        wanted = read_filter(inquiry.request)
        subscriptions, agreed = await self._subscribed(inquiry, wanted.uris)
        offers = [catalog.offers for _, catalog in inquiry.roster.catalogs(inquiry.audience)]
        known = [one for one in offers if one is not None]
        there = lists_of(known, whole=len(known) == len(offers))
        lists = tuple(name for name in wanted.lists if name in there)
        honoured = Filter(lists, tuple(uri for uri in wanted.uris if uri in agreed))
        answer = ListenAnswer(inquiry.request.id, honoured, self._part)
        standing = Standing(answer, inquiry.audience, lists)
        for subscription in subscriptions:
            subscription.hear = answer.hear
        self._standing[answer] = standing, subscriptions
        standing.watch(self._shared.roster)
        standing.look(digests(self._shared.roster, inquiry.audience))
        return answer

    def changed(self, audience: Audience) -> None:
        """A member has something else for that audience."""
        self._changed.add((audience.principal, audience.capabilities))
        self._some.set()

    def renew(self) -> None:
        """The roster is another one."""
        self._renewed = True
        self._some.set()
        for standing, subscriptions in self._standing.values():
            standing.watch(self._shared.roster)
            for subscription in subscriptions:
                subscription.renew()

    def close(self) -> None:
        """Nobody is told anything any more."""
        for answer in self._standing:
            answer.end()

    async def announce(self) -> None:
        """Tell those whose lists have changed, until cancelled."""
        while True:
            await self._some.wait()
            await trio.sleep(COALESCE)
            self._some = trio.Event()
            changed, self._changed = self._changed, set()
            renewed, self._renewed = self._renewed, False
            await self._tell(None if renewed else changed)

    async def _tell(self, changed: Collection[tuple[str, bytes]] | None) -> None:
        """Have those look who see something else; None: all. Once for each audience; others have their turn."""
        seen: dict[Audience, Digests] = {}
        for standing, _ in list(self._standing.values()):
            audience = standing.audience
            if changed is None or (audience.principal, audience.capabilities) in changed:
                if audience not in seen:
                    seen[audience] = digests(self._shared.roster, audience)
                    await trio.lowlevel.checkpoint()
                standing.look(seen[audience])

    def _part(self, answer: ListenAnswer) -> None:
        standing, subscriptions = self._standing.pop(answer)
        standing.leave()
        for subscription in subscriptions:
            subscription.life.cancel()

    async def _subscribed(self, inquiry: Inquiry, uris: Sequence[str]) -> tuple[list[Subscription], set[str]]:
        """Subscriptions at all members that have some of these, and what they agreed to."""
        if not uris:
            return [], set()
        subscriptions, agreed = await self._plan(inquiry, uris), set[str]()

        async def begin(subscription: Subscription) -> None:
            agreed.update(await self._nursery.start(subscription.run))

        try:
            with trio.move_on_after(AGREEMENT):
                async with trio.open_nursery() as nursery:
                    for subscription in subscriptions:
                        nursery.start_soon(begin, subscription)
        except BaseException:
            for subscription in subscriptions:
                subscription.life.cancel()
            raise
        return subscriptions, agreed

    async def _plan(self, inquiry: Inquiry, uris: Sequence[str]) -> list[Subscription]:
        places = await find_places(inquiry.roster, inquiry.audience)
        wanted = defaultdict[str, dict[str, str]](dict)
        for uri in uris:
            place = places.find(uri)
            if place is not None:
                wanted[place.member.service][place.own] = uri
        return [
            Subscription(partial(self._target, service, own), inquiry.request, inquiry.caller, self._shared.ids)
            for service, own in wanted.items()
        ]

    def _target(self, service: str, uris: Mapping[str, str]) -> Target | None:
        """Where to subscribe, as the configuration is at the moment."""
        roster = self._shared.roster
        seat = roster.by_service.get(service)
        if seat is None:
            return None
        allowed = {own: shown for own, shown in uris.items() if reachable(roster.virtual, seat.member, own)}
        return (seat.upstream, allowed) if allowed else None
