"""All live legacy sessions: open, find, expire."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import structlog
import trio

from gatewayd.auth.principal import Principal
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.tree import Node
from gatewayd.routes.table import SessionLife
from gatewayd.sessions.session import Session
from gatewayd.upstreams.channel import LegacyPeer
from gatewayd.upstreams.service import Upstream

log = structlog.get_logger("gatewayd.sessions")

ID_BYTES = 24
"""192 random bits: nobody guesses one (MCP 2025-11-25: globally unique and cryptographically secure)."""
SWEEP = 5.0
"""Seconds between looks for sessions that have expired."""
CLOSERS = 64
"""Upstream sessions that are ended at the same time."""


class TooManySessions(Exception):
    """Every session that exists is in use."""


class Registry:
    """Sessions by id, least recently used first.

    Most clients never say goodbye, so there are three limits: idle time, total life, and a count, at which the least
    recently used idle session makes room.
    """

    def __init__(self, life: SessionLife, most: int, metrics: Metrics, node: Node) -> None:
        self.life = life
        self.most = most
        self._metrics = metrics
        self._node = node
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(self, principal: Principal, path: str, upstream: Upstream, peer: LegacyPeer) -> Session:
        """A new session; ends the least recently used idle one where the limit is reached.

        Raises `TooManySessions`; then the peer is still the caller's to close.
        """
        while len(self._sessions) >= self.most:  # others may take the room while we wait for it
            await self._make_room()
        now = trio.current_time()
        node = Node("session", f"{path} {principal.id}", parent=self._node, now=now)
        ident = secrets.token_urlsafe(ID_BYTES)
        session = Session(ident, principal, path, upstream, peer, node, now, now)
        node.__enter__()
        self._sessions[ident] = session
        self._metrics.sessions += 1
        upstream.usage.begin()
        return session

    def find(self, ident: str, principal: Principal, path: str) -> Session | None:
        """The session, if it is this principal's and this route's; a foreign one is as good as none."""
        session = self._sessions.get(ident)
        if session is None or session.principal != principal or session.path != path:
            return None
        session.used = trio.current_time()
        self._sessions.move_to_end(ident)
        return session

    async def end(self, session: Session) -> None:
        """Forget a session and close it."""
        self._forget(session)
        await session.close()

    async def end_where(self, unwanted: Callable[[Session], bool]) -> None:
        """End all sessions that a predicate picks. All are forgotten at once, and closed many at a time."""
        limiter = trio.CapacityLimiter(CLOSERS)

        async def close(session: Session) -> None:
            async with limiter:
                await session.close()

        async with trio.open_nursery() as nursery:
            for session in list(self._sessions.values()):
                if unwanted(session):
                    self._forget(session)
                    nursery.start_soon(close, session)

    async def expire(self) -> None:
        """End sessions whose time is over, until cancelled."""
        while True:
            await trio.sleep(SWEEP)
            await self.end_where(partial(self._expired, trio.current_time()))

    def _forget(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is not None:
            self._metrics.sessions -= 1
            session.upstream.usage.end()
            session.node.__exit__(None, None, None)

    def _expired(self, now: float, session: Session) -> bool:
        if now - session.created > self.life.ttl:
            return True
        return session.idle and now - session.used > self.life.idle

    async def _make_room(self) -> None:
        for session in self._sessions.values():
            if session.idle:
                log.info("session evicted", path=session.path, principal=session.principal.id)
                await self.end(session)
                return
        raise TooManySessions
