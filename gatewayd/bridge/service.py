"""A service for clients of both eras, whichever of them it speaks itself."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from gatewayd.bridge.legacy_client.peer import open_modern_peer, tools_of
from gatewayd.bridge.modern_client.clients import ModernClients, open_modern_clients
from gatewayd.bridge.modern_client.parking import Tickets
from gatewayd.observe.metrics import Processes
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Request
from gatewayd.routes.table import Service
from gatewayd.upstreams.channel import Answer, LegacyPeer, WrongEra
from gatewayd.upstreams.service import Caller, Opened, Upstream, Usage

NO_SESSIONS = 60.0
"""Seconds for which a service that has no sessions is not asked for one again."""


class BridgedService:
    """An `Upstream` over another one. Traffic of one era passes it untouched."""

    def __init__(self, inner: Upstream, modern: ModernClients, ids: itertools.count[int]) -> None:
        self.inner = inner
        self._modern = modern
        self._ids = ids
        self._tools = tools_of(inner)
        self._no_sessions_until = -1.0

    @property
    def usage(self) -> Usage:
        """See `Upstream.usage`."""
        return self.inner.usage

    @property
    def service(self) -> Service:
        """See `Upstream.service`."""
        return self.inner.service

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        """See `Upstream.request`. Where the service has sessions only, one of the pooled ones carries the call."""
        try:
            return await self.inner.request(message, version, name, caller)
        except WrongEra:
            pass
        return await self._modern.request(message, name, caller)

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        """See `Upstream.open_legacy`. Where the service has no sessions, the gateway keeps one of its own."""
        if trio.current_time() >= self._no_sessions_until:
            try:
                return await self.inner.open_legacy(message, caller)
            except WrongEra:
                self._no_sessions_until = trio.current_time() + NO_SESSIONS
        return await open_modern_peer(self.inner, message, caller, self._ids, self._tools)

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        """See `Upstream.resume_legacy`."""
        return self.inner.resume_legacy(session, version, caller)

    def processes(self) -> Processes:
        """See `Upstream.processes`."""
        return self.inner.processes()

    def statistics(self) -> dict[str, object]:
        """What `/services` shows."""
        return {**self.inner.statistics(), **self._modern.statistics()}


@asynccontextmanager
async def open_bridge(
    inner: Upstream, tickets: Tickets, ids: itertools.count[int], node: Node
) -> AsyncGenerator[BridgedService]:
    """The service, bridged; `node` is its own in the tree, `tickets` are those of the process.

    Pooled sessions and parked calls end with the block. Exceptions leave in a group.
    """
    async with open_modern_clients(inner, tickets, ids, node) as modern:
        yield BridgedService(inner, modern, ids)
