"""What one service offers to one audience: asked for once, kept while it is true, and watched for changes.

A task of its own does all the asking, so that a client that leaves takes nothing away from others who wait for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

import attrs
import structlog
import trio

from gatewayd.bridge.changes import ACKNOWLEDGED, LIST_CHANGED, LISTS, WANTED
from gatewayd.catalog.asking import Asker
from gatewayd.catalog.health import Health
from gatewayd.catalog.kinds import KINDS, Kind, KindName
from gatewayd.catalog.listing import Hints, Listing, hints_of
from gatewayd.catalog.listings import Listings
from gatewayd.catalog.offers import Offers
from gatewayd.protocol.jsonrpc import Failure, Notification
from gatewayd.protocol.jsontext import members_if_any
from gatewayd.upstreams.backoff import Backoff
from gatewayd.upstreams.channel import Answer, UpstreamBroke, UpstreamError, UpstreamTimedOut, UpstreamTooLarge
from gatewayd.upstreams.paging import Pages

log = structlog.get_logger("gatewayd.catalog")

ANNOUNCED = 600.0
"""Seconds after which a list is read again though its changes are announced: announcements get lost."""
POLL = 30.0
"""Seconds between two looks at a list that somebody listens to, and of which changes are not announced."""
GRACE = 15.0
"""Seconds for which the lists of a service that fails are still served: most come back sooner."""
UNREADABLE = 30.0
"""Seconds until a list is tried again that cannot be read, though its service is there."""
AGAIN, LONGEST_AGAIN = 0.5, 30.0
"""Seconds between two readings of a list for those who listen, however often it is said to have changed; and if it has
changed each time, twice as many."""
SLOW = 0.5
"""Seconds to read a list, from which on nobody waits for that a second time."""
GREETED = 300.0
"""Seconds after which a service is asked again what it is, before one of its lists is read."""
REFUSED_AGAIN = 30.0
"""Seconds until a service is listened to again that promises announcements, and then makes none."""


@attrs.frozen
class Read:
    """A list, and until when it is true."""

    listing: Listing
    hints: Hints
    asked_at: float
    until: float
    change: int
    """How many changes had been announced when it was asked for."""
    took: float
    """Seconds to read it."""
    pause: float
    """Seconds for which those who listen let it change: longer, if it never stops."""


class Catalog:
    """The knowledge, and the task that keeps it (`keep`). `changed` is called when it is another one."""

    def __init__(self, asker: Asker, health: Health, listings: Listings, changed: Callable[[], None]) -> None:
        self.watchers = 0
        """How many want to hear of changes."""
        self.offers: Offers | None = None
        """What the service said of itself last."""
        self.over = False
        """Whether nobody keeps it any more."""
        self.used_at = trio.current_time()
        self._asker = asker
        self._service = asker.upstream.service
        self._health = health
        self._listings = listings
        self._changed = changed
        self._lists: dict[KindName, Read] = {}
        self._wanted: set[KindName] = set()
        """Lists that anybody has ever asked for."""
        self._demanded: set[KindName] = set()
        """Lists that somebody waits for."""
        self._reading: set[KindName] = set()
        """Lists that are asked for just now."""
        self._changes = Counter[KindName]()
        """How often each list may have changed."""
        self._announced: frozenset[str] = frozenset()
        """Capabilities of which changes are announced just now."""
        self._greeted = False
        """Whether `offers` is what the service says now."""
        self._greet_again = math.inf
        """When it may say something else."""
        self._failing_since: float | None = None
        self._gone = False
        """Whether it has been failing for too long."""
        self._backoff = Backoff()
        self._attempts = Counter[KindName | None]()
        """How often each list (None: the service itself) was asked for."""
        self._tried = trio.Event()
        self._wake = trio.Event()

    def peek(self, kind: KindName) -> Listing | None:
        """The list if it is true, without asking anybody."""
        self.used_at = trio.current_time()
        read = self._lists.get(kind)
        return read.listing if read is not None and self._true(read, self.used_at) else None

    def known(self, kind: KindName) -> Listing | None:
        """The list as it was when it was read last; None: never, or the service has been failing for too long."""
        self.used_at = trio.current_time()
        read = self._lists.get(kind)
        return None if read is None or self._given_up(self.used_at) else read.listing

    def listings(self) -> list[Listing]:
        """All lists that were read."""
        return [read.listing for read in self._lists.values()]

    def remaining(self, kind: KindName) -> Hints:
        """For how long, by the service's own word, the list is still true, and for whom."""
        read = self._lists.get(kind)
        if read is None or self._outdated(read):
            return Hints(0.0, False)
        return Hints(max(0.0, read.asked_at + read.hints.ttl - trio.current_time()), read.hints.public)

    def slow(self, kind: KindName | None) -> bool:
        """Whether what is known had better be used, because to read it again takes long."""
        read = None if kind is None else self._lists.get(kind)
        return read is not None and read.took > SLOW

    def want(self, kinds: Iterable[KindName]) -> None:
        """Have lists kept from now on."""
        self._wanted.update(kinds)
        self._wake.set()

    def demand(self, kind: KindName) -> None:
        """Have a list read now, unless it is true."""
        self._wanted.add(kind)
        self._demanded.add(kind)
        self._wake.set()

    def expire(self, capabilities: Iterable[str]) -> None:
        """Lists may have changed."""
        expired = set(capabilities)
        self._changes.update(kind.name for kind in KINDS.values() if kind.capability in expired)
        self._wake.set()

    async def wait(self, kind: KindName | None) -> None:
        """Wait until a list (None: what the service says of itself) was asked for, or that has failed.

        The deadline is the caller's. Returns at once where the service fails and is not to be asked just now.
        """
        await trio.lowlevel.checkpoint()
        attempts = self._attempts[kind]
        while not self._has(kind) and attempts == self._attempts[kind] and not self.over:
            if trio.current_time() < self._backoff.retry_at:
                return
            if kind is not None:
                self.demand(kind)
            self._wake.set()
            await self._tried.wait()

    async def keep(self, idle: float) -> None:
        """Ask, and ask again, until nobody has used the catalog for so many seconds. Raises nothing but `Cancelled`."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow)
                while self.in_use or trio.current_time() < self.used_at + idle:
                    await self._step(nursery, idle)
                    self._tell_given_up()
                self.over = True
                nursery.cancel_scope.cancel()
        finally:
            self.over = True
            self._tried.set()

    @property
    def in_use(self) -> bool:
        """Whether somebody watches, or waits for a list."""
        return bool(self.watchers or self._reading or self._demanded)

    def _has(self, kind: KindName | None) -> bool:
        return self._greeted if kind is None else self.peek(kind) is not None

    def _true(self, read: Read, now: float) -> bool:
        kind = read.listing.kind
        if self._outdated(read) or self._failing_since is not None:
            return False
        return now < (read.asked_at + ANNOUNCED if kind.capability in self._announced else read.until)

    def _outdated(self, read: Read) -> bool:
        return read.change != self._changes[read.listing.kind.name]

    def _given_up(self, now: float) -> bool:
        return self._failing_since is not None and now >= self._failing_since + GRACE

    def _due(self, now: float) -> list[KindName]:
        """Lists to be read now."""
        return [
            kind
            for kind in KINDS
            if kind in self._wanted - self._reading
            and (kind in self._demanded or (self.watchers and self._poll_at(kind) <= now))
            and ((read := self._lists.get(kind)) is None or not self._true(read, now))
        ]

    def _poll_at(self, kind: KindName) -> float:
        """When a list has to be read again for those who listen."""
        read = self._lists.get(kind)
        if read is None:
            return -math.inf
        if self._outdated(read):
            return read.asked_at + read.pause
        if KINDS[kind].capability in self._announced:
            return read.asked_at + ANNOUNCED
        return max(read.until, read.asked_at + POLL)

    async def _step(self, nursery: trio.Nursery, idle: float) -> None:
        """Have read what has to be read, or wait until there is something. A list that hangs keeps no other back."""
        now = trio.current_time()
        due = self._due(now)
        if (not self._greeted or (due and now >= self._greet_again)) and now >= self._backoff.retry_at:
            await self._greet()
            return
        if due and self._greeted and self.offers is not None:
            self._reading.update(due)
            for kind in due:
                nursery.start_soon(self._read, KINDS[kind], self.offers)
            return
        self._wake = trio.Event()
        with trio.move_on_at(self._next(now, idle)):
            await self._wake.wait()

    def _next(self, now: float, idle: float) -> float:
        """When there may be something to do unasked."""
        times = [] if self.in_use else [self.used_at + idle]
        if not self._greeted:
            times.append(self._backoff.retry_at)
        elif self.watchers:
            times += [self._poll_at(kind) for kind in self._wanted - self._reading]
        if self._failing_since is not None and not self._given_up(now):
            times.append(self._failing_since + GRACE)
        return max(now, min(times, default=math.inf))

    async def _greet(self) -> None:
        """Ask the service what it is."""
        began, back = trio.current_time(), self._failing_since is not None
        seconds = self._service.timeouts.call
        try:
            with trio.move_on_after(seconds) as patience:
                self.offers = await self._asker.discover()
            if patience.cancelled_caught:
                raise UpstreamTimedOut(f"the service did not say within {seconds:g} seconds what it is")
            self._greeted, self._failing_since = True, None
            self._greet_again = began + GREETED
            self._health.answered(None)
            if back:
                self._changed()
        except UpstreamError as error:
            self._failed(error, began)
        finally:
            self._tell_tried(None)

    async def _read(self, kind: Kind, offers: Offers) -> None:
        """Read one list. What was known stays where the service is there, but cannot say."""
        began, before, change = trio.current_time(), self._lists.get(kind.name), self._changes[kind.name]
        try:
            pages = await self._pages(kind, offers)
            listing = await self._listings.read(kind, pages)
            if before is not None and pages.fault is not None and not pages.items:
                listing = before.listing
                log.warning("list not read", service=self._service.name, kind=kind.name, reason=pages.fault)
            hints = hints_of(pages.heads)
            lasts = UNREADABLE if pages.fault is not None else hints.ttl or self._service.fresh
            took, pause = trio.current_time() - began, _pause(before, listing, began)
            self._lists[kind.name] = Read(listing, hints, began, began + lasts, change, took, pause)
            self._backoff = Backoff()
            self._health.answered(kind.name)
            if before is None or before.listing is not listing:
                self._changed()
        except UpstreamError as error:
            self._failed(error, began)
        finally:
            self._reading.discard(kind.name)
            self._demanded.discard(kind.name)
            self._tell_tried(kind.name)

    async def _pages(self, kind: Kind, offers: Offers) -> Pages:
        """A list, as far as it can be read: one that makes no sense is no reason to do without the others.

        Raises `UpstreamError` where the service is not there at all.
        """
        if not offers.has(kind.capability):
            return Pages([], [], None)
        seconds = self._service.timeouts.call
        try:
            with trio.move_on_after(seconds):
                return await self._asker.list(kind)
            fault = f"the list of {kind.member} did not come within {seconds:g} seconds"
            self._greeted = False  # it may hang altogether
        except (UpstreamBroke, UpstreamTooLarge, UpstreamTimedOut) as error:
            fault = error.reason
        return Pages([], [], fault)

    def _failed(self, error: UpstreamError, began: float) -> None:
        """The service is not there: what it had may be something else when it comes back."""
        self._backoff.ended(trio.current_time(), 0.0)
        if self._failing_since is None:
            self._failing_since = began
        self._greeted = False
        self._demanded.clear()
        self._changes.update(self._lists.keys())
        self._health.failed(error.reason, error.detail)

    def _tell_given_up(self) -> None:
        """Once, when a service fails for so long that its lists are served no more."""
        gone = self._given_up(trio.current_time())
        if gone and not self._gone:
            self._changed()
        self._gone = gone

    def _tell_tried(self, kind: KindName | None) -> None:
        if kind is not None:
            self.used_at = trio.current_time()  # by those who waited, who must find it here
        self._attempts[kind] += 1
        self._tried.set()
        self._tried = trio.Event()
        self._wake.set()

    async def _follow(self) -> None:
        """Listen for announcements, if the service makes any. What was missed meanwhile may have changed."""
        backoff = Backoff()
        while True:
            offers = await self._wait_offers()
            began = trio.current_time()
            try:
                await self._listen(await self._asker.listen(offers.announced))
            except UpstreamError as error:
                log.debug("announcements lost", service=self._service.name, reason=error.reason)
            now = trio.current_time()
            backoff.ended(now, now - began)
            refused = not self._announced
            self.expire(self._announced)
            self._announced = frozenset()
            await trio.sleep(REFUSED_AGAIN if refused else backoff.remaining(now))

    async def _wait_offers(self) -> Offers:
        """Wait until the service says that it announces changes."""
        while not self._greeted or self.offers is None or not self.offers.announced:
            await self._tried.wait()
        return self.offers

    async def _listen(self, answer: Answer) -> None:
        """Hear announcements until there are no more. Raises `UpstreamError`."""
        try:
            while (message := await answer.receive()) is not None:
                match message:
                    case Notification(method=method) if method == ACKNOWLEDGED:
                        self._announced = announced_in(message)
                        self.expire(self._announced)
                    case Notification(method=method):
                        self.expire(name for name in LISTS if LIST_CHANGED[name] == method)
                    case Failure(message=reason):
                        raise UpstreamBroke("the service refused to be listened to", reason[:200])
                    case _:
                        pass
        finally:
            await answer.aclose()


def announced_in(message: Notification) -> frozenset[str]:
    """The lists that an acknowledgement names."""
    honoured = members_if_any(members_if_any(message.params).get("notifications"))
    return frozenset(name for name in LISTS if honoured.get(WANTED[name]) == b"true")


def _pause(before: Read | None, listing: Listing, now: float) -> float:
    if before is None or before.listing is listing or now - before.asked_at > before.pause + LONGEST_AGAIN:
        return AGAIN
    return min(2 * before.pause, LONGEST_AGAIN)
