"""All live legacy sessions: open, find or bring back, expire."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial

import attrs
import structlog
import trio

from gatewayd.auth.keychain import Keychain
from gatewayd.auth.principal import Principal
from gatewayd.observe.metrics import Metrics
from gatewayd.observe.tree import Node
from gatewayd.routes.table import ClientBounds, SessionLife
from gatewayd.sessions.budget import Budget
from gatewayd.sessions.journal import Store
from gatewayd.sessions.ledger import Ledger
from gatewayd.sessions.memo import Memo, new_memo, read_memo, target_of
from gatewayd.sessions.session import Session
from gatewayd.upstreams.healing import HealingPeer
from gatewayd.upstreams.service import Upstream

log = structlog.get_logger("gatewayd.sessions")

SWEEP = 5.0
"""Seconds between looks for sessions that have expired."""
CLOSERS = 64
"""Sessions that are ended, or moved to another service, at the same time."""
CORRECTION = 3600.0
"""Seconds that the clock on the wall may be put back by without an ended session coming back."""

Clock = Callable[[], float]
Behind = Callable[[str], Upstream | None]
Reopen = Callable[[Memo], HealingPeer]
"""The way to the upstream for a session that another process began."""


class TooManySessions(Exception):
    """Every session that exists is in use."""


def wall_clock() -> float:
    """Seconds since 1970: what sealed ids count in, because they outlive the process."""
    return datetime.now(UTC).timestamp()


@attrs.frozen
class Terms:
    """How long sessions live and how many there may be: what a reload may change."""

    life: SessionLife
    bounds: ClientBounds


class Registry:
    """Sessions by id, least recently used first.

    Most clients never say goodbye, so there are four limits: idle time, total life, and a count for each principal and
    for all, at which the least recently used idle session makes room. One that only made room is opened again when its
    client comes back; one that was ended or has expired never is.
    """

    def __init__(
        self,
        terms: Terms,
        keychain: Keychain,
        ledger: Ledger,
        metrics: Metrics,
        node: Node,
        nursery: trio.Nursery,
        clock: Clock = wall_clock,
    ) -> None:
        self.keychain = keychain
        self.behind: Behind = lambda path: None
        """The service that a path leads to at the moment; set by whoever has the routes."""
        self.terms = terms
        self._ledger = ledger
        self._metrics = metrics
        self._node = node
        self._nursery = nursery
        self._clock = clock
        self._budget = Budget(terms.bounds.buffered)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._held: Counter[Principal] = Counter()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def life(self) -> SessionLife:
        """How long sessions live."""
        return self.terms.life

    def use(self, terms: Terms) -> None:
        """Have other limits from now on."""
        self.terms = terms
        self._budget.most = terms.bounds.buffered

    async def open(
        self, principal: Principal, path: str, peer: HealingPeer, version: str, initialize: bytes
    ) -> Session:
        """A new session of revision `version`, opened upstream with the params `initialize`.

        Raises `TooManySessions`; then the peer is still the caller's to close.
        """
        await self._make_room(principal)
        memo = new_memo(self._clock(), version, initialize, peer.session, target_of(peer.upstream.service))
        return self._add(memo.seal(self.keychain, principal, path), memo, principal, path, peer)

    async def find(self, ident: str, principal: Principal, path: str, reopen: Reopen) -> Session | None:
        """The session, if it is this principal's and this route's; a foreign one is as good as none.

        One that this process has never seen, or has put away, is brought back. Raises `TooManySessions`.
        """
        session = self._sessions.get(ident)
        if session is None:
            memo = self._read(ident, principal, path)
            if memo is None:
                return None
            await self._make_room(principal)
            if self._ledger.ended(memo.nonce):  # while room was made
                return None
            session = self._sessions.get(ident) or self._add(ident, memo, principal, path, reopen(memo))
        if session.principal != principal or session.path != path:
            return None
        session.used = trio.current_time()
        self._sessions.move_to_end(ident)
        return session

    async def end(self, session: Session) -> None:
        """End a session for good."""
        self._bury(session)
        await session.close()

    async def end_where(self, unwanted: Callable[[Session], bool]) -> None:
        """End all sessions that a predicate picks, for good. All are forgotten at once, and closed many at a time."""
        ending = [session for session in self._sessions.values() if unwanted(session)]
        for session in ending:
            self._bury(session)
        await _many(session.close for session in ending)

    async def move(self) -> None:
        """After a reload: have sessions go on with the service that now stands behind their path, if it is another."""
        await _many(partial(self._move, session) for session in list(self._sessions.values()))

    async def leave(self, upstream: Upstream) -> None:
        """A service closes: sessions that still use it go on with another one, or end where there is none."""
        await self.move()
        await self.end_where(lambda session: session.upstream is upstream)

    async def suspend(self) -> None:
        """The gateway stops: end what runs, but leave the upstream sessions to the process that comes after."""
        stopping = list(self._sessions.values())
        for session in stopping:
            self._forget(session)
        await _many(session.stop for session in stopping)

    async def expire(self) -> None:
        """End sessions whose time is over, until cancelled."""
        while True:
            await trio.sleep(SWEEP)
            now = trio.current_time()
            await self.end_where(partial(self._expired, now))
            for session in self._sessions.values():
                session.store.expire(now - self.life.resume)
            self._ledger.expire(self._clock() - self.life.ttl - CORRECTION)

    def _read(self, ident: str, principal: Principal, path: str) -> Memo | None:
        memo = read_memo(self.keychain, ident, principal, path)
        if memo is None or self._ledger.ended(memo.nonce) or self._clock() - memo.created > self.life.ttl:
            return None
        return memo

    def _add(self, ident: str, memo: Memo, principal: Principal, path: str, peer: HealingPeer) -> Session:
        now = trio.current_time()
        node = Node("session", f"{path} {principal.id}", parent=self._node, now=now)
        tag = hashlib.sha256(memo.nonce).hexdigest()[:8]
        store = Store(tag, secrets.token_hex(4), self.life.buffer, self._budget, principal)
        created = now - max(0.0, self._clock() - memo.created)
        session = Session(ident, memo, principal, path, peer, store, node, self._nursery, created, now)
        peer.follow(self._ledger.told(memo.nonce), partial(self._ledger.tell, memo.nonce, memo.created))
        node.__enter__()
        self._sessions[ident] = session
        self._held[principal] += 1
        self._metrics.sessions += 1
        session.upstream.usage.begin()
        return session

    def _bury(self, session: Session) -> None:
        self._forget(session)
        self._ledger.end(session.memo.nonce, session.memo.created)

    def _forget(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is not None:
            self._held[session.principal] -= 1
            if not self._held[session.principal]:
                del self._held[session.principal]
            self._metrics.sessions -= 1
            session.upstream.usage.end()

    async def _move(self, session: Session) -> None:
        upstream = self.behind(session.path)
        known = self._sessions.get(session.id) is session
        if known and upstream is not None and upstream is not session.upstream:
            await session.move(upstream)

    def _expired(self, now: float, session: Session) -> bool:
        if now - session.created > self.life.ttl:
            return True
        return session.idle and now - session.used > self.life.idle

    async def _make_room(self, principal: Principal) -> None:
        """Put idle sessions away until one more fits. Others may take the room while we wait for it."""
        while True:
            if not principal.anonymous and self._held[principal] >= self.terms.bounds.principal_sessions:
                await self._put_away(lambda session: session.principal == principal)
            elif len(self._sessions) >= self.terms.bounds.sessions:
                await self._put_away(lambda session: True)
            else:
                return

    async def _put_away(self, candidate: Callable[[Session], bool]) -> None:
        for session in self._sessions.values():
            if session.idle and candidate(session):
                log.info("session put away", path=session.path, principal=session.principal.id)
                self._forget(session)
                await session.close()
                return
        raise TooManySessions


async def _many(deeds: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Do something for many sessions, `CLOSERS` at a time."""
    limiter = trio.CapacityLimiter(CLOSERS)

    async def do(deed: Callable[[], Awaitable[None]]) -> None:
        async with limiter:
            await deed()

    async with trio.open_nursery() as nursery:
        for deed in deeds:
            nursery.start_soon(do, deed)
