"""Services that say what a test has them say: external parties, each seen through its `Upstream`."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from gatewayd.catalog.catalog import Catalog
from gatewayd.catalog.catalogs import Audience, Catalogs, open_catalogs
from gatewayd.catalog.kinds import BY_METHOD
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Message, Request
from gatewayd.routes.table import HttpTarget, Service, Timeouts
from gatewayd.upstreams.channel import Answer, Paused, UpstreamDied, UpstreamError
from gatewayd.upstreams.service import Caller, Usage
from tests.bridge.legacy_client.scripted import Told
from tests.support.stateless import Stateless

Json = dict[str, Any]

ALICE = Audience("alice", b"{}")
BOB = Audience("bob", b"{}")
ALL: Json = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
}
QUIET: Json = {"tools": {}, "prompts": {}, "resources": {}}
"""Capabilities of a service that announces nothing."""


def service_named(name: str, **changes: Any) -> Service:
    """Its definition."""
    target = HttpTarget(f"http://{name}/mcp", "http", name, 80, "/mcp")
    return attrs.evolve(Service(name, target, Timeouts(call=20.0, idle=60.0)), **changes)


def tool(name: str, **more: Any) -> Json:
    """A definition without a fault."""
    return {"name": name, "inputSchema": {"type": "object"}, **more}


class Heard(Told):
    """One request that the service got."""

    def __init__(self, fake: Fake, request: Request, name: str | None, caller: Caller, version: str) -> None:
        super().__init__(request, name, caller, version)
        self._ready_at = trio.current_time() + fake.delay

    async def receive(self) -> Message | Paused | None:
        """See `Answer.receive`."""
        await trio.sleep_until(self._ready_at)
        return await super().receive()


Script = Callable[[Heard], None]


@attrs.define(eq=False)
class Fake(Stateless):
    """A modern service. What it says may be changed at any time."""

    service: Service
    lists: dict[str, list[Json]] = attrs.field(factory=dict[str, list[Json]])
    """Definitions by the name of the kind; what is not there is empty."""
    capabilities: Json = attrs.field(factory=ALL.copy)
    said: Json = attrs.field(factory=dict[str, Any])
    """More of `server/discover`."""
    hints: Json = attrs.field(factory=dict[str, Any])
    """Of every list."""
    scripts: dict[str, Script] = attrs.field(factory=dict[str, Script])
    """What is done by method, in the place of the usual; a script that does nothing leaves the request open."""
    delay: float = 0.0
    """Seconds until an answer begins."""
    sending: float = 0.0
    """Seconds that taking a request needs."""
    dead: UpstreamError | None = None
    """What all requests fail with."""
    usage: Usage = attrs.field(factory=Usage)
    heard: list[Heard] = attrs.field(factory=list[Heard])

    @property
    def asked(self) -> Counter[str]:
        """How often, by method."""
        return Counter(heard.request.method for heard in self.heard)

    @property
    def open(self) -> list[Heard]:
        """Requests that nobody has closed."""
        return [heard for heard in self.heard if not heard.closed]

    def of(self, method: str) -> list[Heard]:
        """Requests of that method."""
        return [heard for heard in self.heard if heard.request.method == method]

    def announce(self, *names: str) -> None:
        """Tell those who listen that lists have changed."""
        for heard in self.of("subscriptions/listen"):
            for name in names:
                if not heard.closed and heard.params["notifications"].get(f"{name}ListChanged"):
                    heard.notify(f"notifications/{name}/list_changed")

    def update(self, uri: str, **more: Any) -> None:
        """Tell those who listen that a resource has changed."""
        for heard in self.of("subscriptions/listen"):
            if not heard.closed and "resourceSubscriptions" in heard.params["notifications"]:
                heard.notify("notifications/resources/updated", uri=uri, **more)

    def die(self, error: UpstreamError | None = None) -> None:
        """Fail all that is open, and all that comes."""
        self.dead = error or UpstreamDied(f"{self.service.name} is gone")
        for heard in self.open:
            heard.say(self.dead)

    def live(self) -> None:
        """Answer again."""
        self.dead = None

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        """See `Upstream.request`."""
        assert version == "2026-07-28"
        heard = Heard(self, message, name, caller, version)
        self.heard.append(heard)
        try:
            await trio.sleep(self.sending)
            if self.dead is not None:
                raise self.dead
        except BaseException:
            heard.closed = True
            raise
        self.scripts.get(message.method, self._usual)(heard)
        return heard

    def _usual(self, heard: Heard) -> None:
        method = heard.request.method
        if method == "server/discover":
            heard.result(supportedVersions=["2026-07-28"], capabilities=self.capabilities, **self.said)
        elif method in BY_METHOD:
            kind = BY_METHOD[method]
            heard.result(**{kind.member: self.lists.get(kind.name, [])}, **self.hints)
        elif method == "subscriptions/listen":
            heard.notify("notifications/subscriptions/acknowledged", notifications=heard.params["notifications"])
        else:
            heard.result(content=[{"type": "text", "text": f"{self.service.name}: {heard.name}"}])


def fake(name: str = "web", *tools: str, **changes: Any) -> Fake:
    """A service with these tools; `changes` are of its definition."""
    return Fake(service_named(name, **changes), {"tools": [tool(one) for one in tools]})


def paged(member: str, size: int, count: int, make: Callable[[int], Json]) -> Script:
    """A list of `count` things in pages of `size`."""

    def answer(heard: Heard) -> None:
        start = int(heard.params.get("cursor", "0"))
        page = [make(number) for number in range(start, min(start + size, count))]
        more = {"nextCursor": str(start + size)} if start + size < count else {}
        heard.result(**{member: page}, **more)

    return answer


@attrs.define(eq=False)
class Scene:
    """A service, its catalogs, and those whose catalog was said to have changed."""

    fake: Fake
    catalogs: Catalogs
    node: Node
    told: list[Audience]

    def kept(self) -> int:
        """Catalogs that run."""
        return self.node.count()["catalog"]

    def watch(self) -> Catalog:
        """Have somebody listen to the tools, until `let_go`."""
        catalog = self.catalogs.of(ALICE)
        catalog.watchers += 1
        catalog.want(["tools"])
        return catalog

    async def names(self, audience: Audience = ALICE, kind: Any = "tools") -> list[str] | None:
        """What the list has once it was asked for; None: it is not known."""
        catalog = self.catalogs.of(audience)
        with trio.fail_after(1000):
            await catalog.wait(kind)
        listing = self.catalogs.of(audience).known(kind)
        return None if listing is None else [item.name for item in listing.items]


def let_go(catalog: Catalog) -> None:
    """Have nobody listen to a catalog any more."""
    catalog.watchers -= 1
    catalog.want(())


@asynccontextmanager
async def open_scene(service: Fake) -> AsyncIterator[Scene]:
    """Ends with the block, after which the service must have been let go."""
    node = Node("service", service.service.name, parent=None, now=trio.current_time())
    async with open_catalogs(service, itertools.count(1), node) as catalogs:
        told: list[Audience] = []
        catalogs.followers.add(told.append)
        yield Scene(service, catalogs, node, told)
    assert node.count() == Counter(service=1)
    assert not service.open
