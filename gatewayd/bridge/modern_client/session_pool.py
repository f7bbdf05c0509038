"""Legacy sessions that the gateway opens for modern clients: one per principal and capability profile, or per call.

Each session is a task in the nursery of its owner and a node of the tree, and lives exactly as long as that task.
Callers never open one themselves, they wait for it: a caller that is cancelled takes nothing away from the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable
from functools import partial

import attrs
import structlog
import trio

from gatewayd.bridge.modern_client.client_request import initialize_params
from gatewayd.bridge.modern_client.pooled_session import PooledSession
from gatewayd.bridge.modern_client.session_stream import read_stream
from gatewayd.bridge.modern_client.upgrade import read_greeting
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Notification, Request
from gatewayd.upstreams.channel import UpstreamError, UpstreamTimedOut, UpstreamUnreachable
from gatewayd.upstreams.healing import HealingPeer
from gatewayd.upstreams.service import Caller, Opened, Upstream

log = structlog.get_logger("gatewayd.bridge")

MOST_SESSIONS = 1000
"""Pooled sessions of one service at once."""
MOST_OF_ONE = 200
"""Pooled sessions of one principal at once: twice its parked calls, each of which may have one of its own."""
FAREWELL = 5.0
"""Seconds for ending a session upstream, over the bounds that its transport has."""


@attrs.define(eq=False)
class Entry:
    """One session, from the decision to open it until it is closed."""

    principal: str
    capabilities: bytes
    key: Hashable
    """None: it is nobody's but one call's."""
    users: int = 0
    used_at: float = 0.0
    session: PooledSession | None = None
    error: Exception | None = None
    decided: trio.Event = attrs.field(factory=trio.Event)
    """The opening succeeded (`session`) or failed (`error`)."""
    life: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Its deadline is when an idle session has been idle for too long."""


class Lease:
    """The right to use a session, which stays open while anybody has one."""

    def __init__(self, session: PooledSession, release: Callable[[], None]) -> None:
        self.session = session
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Give the session back. Idempotent."""
        release, self._release = self._release, None
        if release is not None:
            release()


class SessionPool:
    """The sessions of one service, which is in use for as long as one of them is."""

    def __init__(self, upstream: Upstream, ids: itertools.count[int], nursery: trio.Nursery, node: Node) -> None:
        self._upstream = upstream
        self._service = upstream.service
        self._ids = ids
        self._nursery = nursery
        self._node = node
        self._shared: dict[Hashable, Entry] = {}
        self._all: set[Entry] = set()
        self._slots = trio.CapacityLimiter(MOST_SESSIONS)

    def __len__(self) -> int:
        return len(self._all)

    async def lease(self, principal: str, capabilities: bytes, session: str = "") -> Lease:
        """A session of the principal in which these capabilities are declared; opened if there is none.

        `session` is that of the client, if it has one: with `per = "session"` each has one of its own here. Concurrent
        callers share one opening. `capabilities` as `bridgeable` returns them. Raises `UpstreamError`:
        `UpstreamUnreachable` where too many sessions are busy, `UpstreamTimedOut`, and what the opening raises.
        """
        own = session if self._service.per == "session" else ""
        key = None if self._service.per == "call" else (principal, capabilities, own)
        entry = None if key is None else self._shared.get(key)
        if entry is None:
            entry = self._launch(Entry(principal, capabilities, key))
        self._use(entry)
        try:
            await entry.decided.wait()
            if entry.error is not None:
                raise entry.error.with_traceback(None)
            assert entry.session is not None
        except BaseException:
            self._leave(entry)
            raise
        return Lease(entry.session, partial(self._leave, entry))

    def _launch(self, entry: Entry) -> Entry:
        self._make_room(self._all, MOST_SESSIONS)
        self._make_room({other for other in self._all if other.principal == entry.principal}, MOST_OF_ONE)
        self._all.add(entry)
        if entry.key is not None:
            self._shared[entry.key] = entry
        self._nursery.start_soon(self._live, entry)
        return entry

    def _make_room(self, entries: set[Entry], most: int) -> None:
        """End the session that was idle for the longest time, if all places are taken."""
        if len(entries) < most:
            return
        idle = [entry for entry in entries if not entry.users]
        if not idle:
            raise UpstreamUnreachable(f"the service has too many sessions in use ({most})")
        self._end(min(idle, key=lambda entry: entry.used_at))

    def _use(self, entry: Entry) -> None:
        entry.users += 1
        self._upstream.usage.begin()
        entry.life.deadline = math.inf

    def _leave(self, entry: Entry) -> None:
        entry.users -= 1
        self._upstream.usage.end()
        if entry.users:
            return
        entry.used_at = trio.current_time()
        if entry.key is None:
            self._end(entry)
        else:
            entry.life.deadline = entry.used_at + self._service.timeouts.idle

    def _end(self, entry: Entry) -> None:
        self._retire(entry)
        entry.life.cancel()

    def _retire(self, entry: Entry) -> None:
        """Hand the session out no more."""
        self._all.discard(entry)
        if entry.key is not None and self._shared.get(entry.key) is entry:
            del self._shared[entry.key]

    async def _live(self, entry: Entry) -> None:
        """The task of one session."""
        node = Node("pooled", entry.principal, parent=self._node, now=trio.current_time())
        try:
            with entry.life, node:
                async with self._slots:
                    await self._run(entry, node)
        except UpstreamError as error:
            log.info("no session", service=self._service.name, reason=error.reason, detail=error.detail)
            entry.error = error
        except Exception as error:
            log.error("session failed", service=self._service.name, exc_info=error)
            entry.error = error
        finally:
            self._retire(entry)
            if entry.session is None and entry.error is None:
                entry.error = UpstreamUnreachable("the session is being closed")
            entry.decided.set()

    async def _run(self, entry: Entry, node: Node) -> None:
        caller = Caller(entry.principal, mixed=True)
        initialize = Request(next(self._ids), "initialize", initialize_params(entry.capabilities))
        opened = await self._open(initialize, caller)
        peer = HealingPeer(self._upstream, initialize, caller, self._ids, opened.peer)
        try:
            session = PooledSession(peer, read_greeting(opened.result, opened.version), self._ids, node)
            if entry.key is not None:
                session.stream_wanted.set()
            entry.session = session
            entry.decided.set()
            await read_stream(session, self._service.name)
        finally:
            self._retire(entry)
            with trio.move_on_after(FAREWELL, shield=True):
                await peer.aclose()

    async def _open(self, initialize: Request, caller: Caller) -> Opened:
        seconds = self._service.timeouts.call
        with trio.move_on_after(seconds):
            opened = await self._upstream.open_legacy(initialize, caller)
            try:
                await opened.peer.send(Notification("notifications/initialized"))
            except BaseException:
                await opened.peer.aclose()
                raise
            return opened
        raise UpstreamTimedOut(f"the service did not open a session within {seconds:g} seconds")
