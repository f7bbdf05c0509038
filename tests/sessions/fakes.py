"""What a session stands on, as small as its contracts allow."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs
import trio

from gatewayd.auth.keychain import Keychain
from gatewayd.auth.principal import Principal
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.routes.table import ClientBounds, HttpTarget, Service, SessionLife
from gatewayd.sessions.ledger import Ledger
from gatewayd.sessions.memo import Memo
from gatewayd.sessions.registry import Registry, Terms
from gatewayd.sessions.session import Session
from gatewayd.upstreams.channel import Answer
from gatewayd.upstreams.healing import HealingPeer
from gatewayd.upstreams.service import Caller, Usage
from tests.support.stateless import Stateless

ALICE, BOB = Principal("alice", "staff"), Principal("bob", "staff")
SERVICE = Service("web", HttpTarget("http://web/mcp", "http", "web", 80, "/mcp"))
KEY = b"k" * 32
EPOCH = 1_700_000_000.0
"""What the walls say when Trio's clock says 0."""
INITIALIZE = b'{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}'


@attrs.define(eq=False)
class Peer:
    """An upstream session that only knows whether it was ended. `farewell`: seconds that ending it takes."""

    farewell: float = 0.0
    session: str | None = None
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
class Upstream(Stateless):
    """A service that is only counted."""

    usage: Usage = attrs.field(factory=Usage)
    service: Service = SERVICE

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        raise NotImplementedError


@attrs.define(eq=False)
class Running:
    """A call, and what its session told it."""

    told: list[str] = attrs.field(factory=list[str])

    def cancel(self) -> None:
        self.told.append("cancel")

    def questions_changed(self) -> None:
        self.told.append("questions changed")

    def replaced(self) -> None:
        self.told.append("replaced")

    def session_ended(self) -> None:
        self.told.append("session ended")


@attrs.define(eq=False)
class Wall:
    """A clock on the wall, which goes as Trio's does but for what it is put forward."""

    ahead: float = EPOCH

    def __call__(self) -> float:
        return self.ahead + trio.current_time()


@attrs.define(eq=False)
class House:
    """A registry and what surrounds it. `reopened`: the memos of the sessions that were brought back."""

    registry: Registry
    metrics: Metrics
    node: Node
    nursery: trio.Nursery
    wall: Wall
    upstream: Upstream = attrs.field(factory=Upstream)
    reopened: list[Memo] = attrs.field(factory=list[Memo])

    async def open(self, principal: Principal = ALICE, path: str = "/mcp", peer: Peer | None = None) -> Session:
        return await self.registry.open(principal, path, self.healing(peer), "2025-11-25", INITIALIZE)

    def healing(self, peer: Peer | None = None) -> HealingPeer:
        request, first = Request(0, "initialize", INITIALIZE), Peer() if peer is None else peer
        return HealingPeer(self.upstream, request, Caller("key"), itertools.count(1), first)

    async def find(self, session: Session) -> Session | None:
        """The session, brought back with a fresh peer if need be."""
        return await self.find_id(session.id, session.principal, session.path)

    async def find_id(self, ident: str, principal: Principal = ALICE, path: str = "/mcp") -> Session | None:
        return await self.registry.find(ident, principal, path, self._reopen)

    async def find_live(self, session: Session) -> Session | None:
        """The session, if it has not been put away."""

        def reopen(memo: Memo) -> HealingPeer:
            raise NotAlive

        try:
            return await self.registry.find(session.id, session.principal, session.path, reopen)
        except NotAlive:
            return None

    def assert_counts(self, sessions: int) -> None:
        """Every count says the same."""
        assert len(self.registry) == sessions
        assert self.metrics.sessions == sessions
        assert self.upstream.usage.count == sessions
        assert self.node.count()["session"] == sessions

    def _reopen(self, memo: Memo) -> HealingPeer:
        self.reopened.append(memo)
        return self.healing()


class NotAlive(Exception):
    """A session would have to be brought back."""


@attrs.define(eq=False)
class Houses:
    """Builds houses, whose sessions live in one nursery."""

    nursery: trio.Nursery
    wall: Wall = attrs.field(factory=Wall)

    def __call__(
        self,
        most: int = 10,
        idle: float = 100.0,
        ttl: float = 1000.0,
        each: int = 1000,
        resume: float = 30.0,
        keys: tuple[bytes, ...] = (KEY,),
        wall: Callable[[], float] | None = None,
        ledger: Ledger | None = None,
    ) -> House:
        """Houses of the same keys are processes of the same gateway, one after the other or side by side.

        Without `ledger`, each has its own, which nobody keeps.
        """
        now = trio.current_time()
        node, metrics = Node("sessions", parent=None, now=now), Metrics((), started=now)
        terms = Terms(SessionLife(idle, ttl, resume), ClientBounds(sessions=most, principal_sessions=each))
        keychain = Keychain(keys)
        ledger = Ledger(keychain) if ledger is None else ledger
        registry = Registry(terms, keychain, ledger, metrics, node, self.nursery, wall or self.wall)
        return House(registry, metrics, node, self.nursery, self.wall)
