"""A service over stdio: which process serves whom, and in which era."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio

from gatewayd.observe.metrics import Processes as ProcessCount
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result
from gatewayd.protocol.jsontext import encode_members, members, string
from gatewayd.protocol.versions import LEGACY
from gatewayd.routes.table import Service
from gatewayd.upstreams.channel import Answer, LegacyPeer, Paused, Refused, UpstreamBroke, UpstreamTimedOut, WrongEra
from gatewayd.upstreams.entry import Lease
from gatewayd.upstreams.eras import (
    EraMemory,
    Revisions,
    chosen_version,
    discover_request,
    modern_versions_in,
    offered_in,
)
from gatewayd.upstreams.processes import Processes, open_processes
from gatewayd.upstreams.service import Caller, Opened, Usage
from gatewayd.upstreams.stdio import StdioConnection
from gatewayd.upstreams.stdio_logs import asker, attribute_logs
from gatewayd.upstreams.stdio_session import Hub, StdioLegacyPeer
from gatewayd.upstreams.tool_headers import CALL, ToolHeaders

Key = tuple[str, ...]


class StdioUpstream:
    """An `Upstream`. The first request of a process decides its era for good (MCP, stdio), so each era has its own."""

    def __init__(self, service: Service, processes: Processes, nursery: trio.Nursery) -> None:
        self.usage = Usage()
        self.service = service
        self._processes = processes
        self._nursery = nursery
        self._eras = EraMemory()
        self._tools = ToolHeaders(service.name, service.timeouts.connect, service.max.response)
        self._hubs: dict[StdioConnection, Hub] = {}
        self._sessions = 0

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        """See `Upstream.request`. The modern era has no sessions: `session` and `call` mean the principal there."""
        key = ("modern", *self._sharers(caller.key))
        await self._eras.require_modern(lambda: self._probe(key))
        lease = await self._processes.connection(key, _discover)
        try:
            if message.method == CALL and name is not None:
                await self._tools.check(message, name, caller.fields, lease.connection)
            return LeasedAnswer(await lease.connection.request(message, asker(message, caller)), lease)
        except BaseException:
            lease.release()
            raise

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        """See `Upstream.open_legacy`.

        A process that is running already was initialized once: who comes later with the same capabilities and revision
        gets the same answer. Others get a process of their own, because a server adapts to what its client can do.
        """

        async def initialize(connection: StdioConnection) -> bytes:
            return await _initialize(connection, message)

        self._sessions += 1
        alone = self.service.per in ("session", "call")
        own = (f"session {self._sessions}",) if alone else self._sharers(caller.key)
        try:
            lease = await self._processes.connection(("legacy", *own, _profile(message)), initialize)
        except Refused:
            modern = ("modern", *self._sharers(caller.key))
            await self._eras.require_legacy(lambda: self._probe(modern))
            raise
        except WrongEra:
            self._eras.doubt_legacy()
            raise
        version = string(members(lease.greeting)["protocolVersion"])
        assert version is not None
        return Opened(StdioLegacyPeer(lease, self._hub(lease.connection), caller), version, lease.greeting)

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        """See `Upstream.resume_legacy`: a session ends with its process."""
        return None

    def processes(self) -> ProcessCount:
        """See `Upstream.processes`."""
        shown = self._processes.statistics()
        return ProcessCount(sum(process.pid is not None for process in shown.processes), shown.crashed)

    def statistics(self) -> dict[str, object]:
        """What `/services` shows."""
        shown = self._processes.statistics()
        return {
            "kind": "stdio",
            "eras": self._eras.known(),
            "started": shown.started,
            "crashed": shown.crashed,
            "processes": [attrs.asdict(process) for process in shown.processes],
        }

    def _sharers(self, key: str) -> Key:
        return () if self.service.per == "shared" else (key,)

    def _hub(self, connection: StdioConnection) -> Hub:
        hub = self._hubs.get(connection)
        if hub is None:
            hub = self._hubs[connection] = Hub(connection, self.service.max.response)
            self._nursery.start_soon(self._run_hub, connection, hub)
        return hub

    async def _run_hub(self, connection: StdioConnection, hub: Hub) -> None:
        try:
            await hub.run()
        finally:
            del self._hubs[connection]

    async def _probe(self, key: Key) -> Revisions:
        """Ask. Silence is an answer: a server that waits for `initialize` may not even refuse anything else."""
        try:
            with await self._processes.connection(key, _discover) as lease:
                return lease.greeting
        except (WrongEra, UpstreamTimedOut):
            return LEGACY


class LeasedAnswer:
    """An answer that keeps its process from being idle. An `Answer`."""

    __slots__ = ("_answer", "_lease")

    def __init__(self, answer: Answer, lease: Lease[Revisions]) -> None:
        self._answer = answer
        self._lease = lease

    async def receive(self) -> Message | Paused | None:
        """See `Answer.receive`."""
        return await self._answer.receive()

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        try:
            await self._answer.aclose()
        finally:
            self._lease.release()


@asynccontextmanager
async def open_stdio_upstream(service: Service) -> AsyncGenerator[StdioUpstream]:
    """A service with a `StdioTarget`; no process runs yet. All are shut down at the end of the block.

    Exceptions leave in a group.
    """
    async with open_processes(service) as processes, trio.open_nursery() as nursery:
        yield StdioUpstream(service, processes, nursery)
        nursery.cancel_scope.cancel()


async def _discover(connection: StdioConnection) -> Revisions:
    """The handshake of a modern process: what it offers. Raises `WrongEra` when it turns out to be no modern one."""
    offered = offered_in(await _ask(connection, discover_request()))
    if offered == LEGACY:
        raise WrongEra("the service speaks only protocol revisions with sessions", LEGACY)
    attribute_logs(connection)
    return offered


async def _initialize(connection: StdioConnection, message: Request) -> bytes:
    """The handshake of a legacy process; returns the `initialize` result."""
    answer = await _ask(connection, message)
    if isinstance(answer, Failure):
        supported = modern_versions_in(answer)
        if supported:
            raise WrongEra("the service speaks only revisions without sessions", supported)
        raise Refused(answer)
    chosen_version(answer)
    await connection.send(Notification("notifications/initialized"))
    return answer.result


async def _ask(connection: StdioConnection, message: Request) -> Result | Failure:
    answer = await connection.request(message)
    try:
        while (answered := await answer.receive()) is not None:
            if isinstance(answered, Result | Failure):
                return answered
    finally:
        await answer.aclose()
    raise UpstreamBroke("the service did not answer the first request")


def _profile(message: Request) -> str:
    """What a legacy server learns about its client and adapts to: revision and capabilities, not the name."""
    params = members(message.params or b"{}")
    known: dict[str, bytes] = {name: params[name] for name in ("protocolVersion", "capabilities") if name in params}
    return hashlib.sha256(encode_members(known)).hexdigest()
