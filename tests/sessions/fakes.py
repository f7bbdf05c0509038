"""What a session stands on, as small as its contracts allow."""

from __future__ import annotations

import attrs
import trio

from gatewayd.auth.principal import Principal
from gatewayd.observe.metrics import Metrics, Processes
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.routes.table import HttpTarget, Service, SessionLife
from gatewayd.sessions.registry import Registry
from gatewayd.sessions.session import Session
from gatewayd.upstreams.channel import Answer
from gatewayd.upstreams.eras import Revisions
from gatewayd.upstreams.service import Caller, Opened, Usage

ALICE, BOB = Principal("alice", "staff"), Principal("bob", "staff")
SERVICE = Service("web", HttpTarget("http://web/mcp", "http", "web", 80, "/mcp"))


@attrs.define(eq=False)
class Peer:
    """An upstream session that only knows whether it was ended. `farewell`: seconds that ending it takes."""

    farewell: float = 0.0
    closing: int = 0
    closed: int = 0

    async def request(self, message: Request) -> Answer:
        raise NotImplementedError

    async def send(self, message: Notification | Result | Failure) -> None:
        raise NotImplementedError

    async def listen(self) -> Answer | None:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.closing += 1
        await trio.sleep(self.farewell)
        self.closed += 1


@attrs.define(eq=False)
class Upstream:
    """A service that is only counted."""

    usage: Usage = attrs.field(factory=Usage)
    service: Service = SERVICE

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        raise NotImplementedError

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        raise NotImplementedError

    async def revisions(self, caller: Caller) -> Revisions:
        raise NotImplementedError

    def processes(self) -> Processes:
        return Processes()

    def statistics(self) -> dict[str, object]:
        return {}


@attrs.define(eq=False)
class Running:
    """A call, and what its session told it."""

    told: list[str] = attrs.field(factory=list[str])

    def cancel(self) -> None:
        self.told.append("cancel")

    def session_ended(self) -> None:
        self.told.append("session ended")


@attrs.define(eq=False)
class House:
    """A registry and what surrounds it."""

    registry: Registry
    metrics: Metrics
    node: Node
    upstream: Upstream = attrs.field(factory=Upstream)

    async def open(self, principal: Principal = ALICE, path: str = "/mcp", peer: Peer | None = None) -> Session:
        return await self.registry.open(principal, path, self.upstream, Peer() if peer is None else peer)

    def assert_counts(self, sessions: int) -> None:
        """Every count says the same."""
        assert len(self.registry) == sessions
        assert self.metrics.sessions == sessions
        assert self.upstream.usage.count == sessions
        assert self.node.count()["session"] == sessions


def house(most: int = 10, idle: float = 100.0, ttl: float = 1000.0) -> House:
    """Must be called inside of Trio."""
    now = trio.current_time()
    node, metrics = Node("sessions", parent=None, now=now), Metrics((), started=now)
    return House(Registry(SessionLife(idle, ttl), most, metrics, node), metrics, node)
