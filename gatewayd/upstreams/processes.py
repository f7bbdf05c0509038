"""The processes of a stdio service: one per key, started on demand, stopped when idle, replaced when dead.

Each process is a task in the nursery of `open_processes`, and lives exactly as long as that task. Callers
never run a start themselves, they wait for it: a caller that is cancelled takes nothing away from the others.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Hashable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
import trio

from gatewayd.routes.table import Service, StdioTarget
from gatewayd.upstreams.backoff import Backoff
from gatewayd.upstreams.channel import (
    Refused,
    UpstreamDied,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnreachable,
    WrongEra,
)
from gatewayd.upstreams.entry import Entry, Handshake, Lease, ProcessesStatistics, ProcessStatistics
from gatewayd.upstreams.stdio import StdioConnection, open_stdio

log = structlog.get_logger("gatewayd.upstreams")

MOST_PROCESSES = 64
"""Processes of one service at once. A Node.js server takes 50 to 100 MiB, so these are several gigabytes."""

T = TypeVar("T")


class Processes:
    """The processes of `service`. Made by `open_processes`."""

    def __init__(self, service: Service, target: StdioTarget, nursery: trio.Nursery) -> None:
        self.service = service
        self._target = target
        self._nursery = nursery
        self._current: dict[Hashable, Entry] = {}
        self._all: set[Entry] = set()
        self._backoffs: dict[Hashable, Backoff] = {}
        self._slots = trio.CapacityLimiter(MOST_PROCESSES)
        self._idle = math.inf if service.per == "shared" else service.timeouts.idle
        self._closed = False
        self._started = self._crashed = 0

    async def connection(self, key: Hashable, handshake: Handshake[T]) -> Lease[T]:
        """The process of `key`, started if there is none, after its handshake.

        Concurrent callers share one start, which has `timeouts.connect` seconds; before it a start that
        follows a crash may have to wait for its backoff, for less than another `timeouts.connect`. One key
        always has the same kind of handshake: who finds a running process gets what the handshake of the
        first one returned.

        Raises:
            UpstreamUnreachable: it cannot be started, not yet again, or not beside so many others.
            UpstreamTimedOut: the handshake took too long.
            UpstreamError: and whatever else the handshake raised.
        """
        entry = self._current.get(key)
        if entry is None or not entry.usable:
            entry = self._launch(key, handshake)
        self._use(entry)
        try:
            if not entry.decided.is_set():
                await entry.decided.wait()
            if entry.error is not None:
                raise entry.error.with_traceback(None)
            assert entry.connection is not None
        except BaseException:
            self._leave(entry)
            raise
        greeting: Any = entry.greeting
        return Lease(entry.connection, greeting, lambda: self._leave(entry))

    def statistics(self) -> ProcessesStatistics:
        """A frozen look at every process, for the admin plane."""
        now = trio.current_time()
        entries = sorted(self._all, key=lambda entry: entry.since)
        return ProcessesStatistics(
            tuple(self._look(entry, now) for entry in entries), started=self._started, crashed=self._crashed
        )

    def close(self) -> None:
        """Stop every process and refuse new ones. They are gone when `open_processes` is left."""
        self._closed = True
        for entry in self._all:
            self._stop(entry)

    def _look(self, entry: Entry, now: float) -> ProcessStatistics:
        return ProcessStatistics(
            pid=entry.connection.pid if entry.connection else None,
            sharing=self.service.per,
            state=entry.state,
            users=entry.users,
            in_flight=entry.connection.in_flight if entry.connection else 0,
            age=now - entry.since,
            restarts=entry.restarts,
        )

    def _launch(self, key: Hashable, handshake: Handshake[Any]) -> Entry:
        """Decide whether a process may be started now, and have it started."""
        now = trio.current_time()
        self._refuse_if_closed()
        self._backoffs = {k: b for k, b in self._backoffs.items() if not b.forgotten(now)}
        backoff = self._backoffs.get(key, Backoff())
        if (wait := backoff.remaining(now)) >= self.service.timeouts.connect:
            raise UpstreamUnreachable(f"the service keeps ending; it will be started again in {wait:.1f} s")
        self._make_room()
        entry = Entry(key, now, backoff.failures)
        self._current[key] = entry
        self._all.add(entry)
        self._nursery.start_soon(self._live, entry, handshake, backoff.retry_at)
        return entry

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise UpstreamUnreachable("the service is being stopped")

    def _make_room(self) -> None:
        """Stop the process that was idle for the longest time, if all places are taken."""
        taken = [entry for entry in self._all if entry.state != "stopping"]
        if len(taken) < MOST_PROCESSES:
            return
        idle = [entry for entry in taken if not entry.users]
        if not idle:
            raise UpstreamUnreachable(f"the service has too many processes ({MOST_PROCESSES})")
        self._stop(min(idle, key=lambda entry: entry.used_at))

    def _use(self, entry: Entry) -> None:
        entry.users += 1
        entry.life.deadline = math.inf

    def _leave(self, entry: Entry) -> None:
        entry.users -= 1
        if not entry.users:
            entry.used_at = trio.current_time()
            entry.life.deadline = entry.used_at + self._idle

    def _stop(self, entry: Entry) -> None:
        self._retire(entry)
        entry.life.cancel()

    def _retire(self, entry: Entry) -> None:
        """Hand the process out no more."""
        entry.state = "stopping"
        if self._current.get(entry.key) is entry:
            del self._current[entry.key]

    async def _live(self, entry: Entry, handshake: Handshake[Any], not_before: float) -> None:
        """The task of one process."""
        try:
            with entry.life:
                async with self._slots:
                    await trio.sleep_until(not_before)
                    await self._run(entry, handshake)
        except Exception as error:  # noqa: BLE001 - the boundary between one process and the others
            self._failed(entry, error)
        finally:
            self._retire(entry)
            self._all.discard(entry)
            if not entry.decided.is_set():
                self._decide(entry, UpstreamUnreachable("the service is being stopped"))

    async def _run(self, entry: Entry, handshake: Handshake[Any]) -> None:
        entry.state = "starting"
        began = trio.current_time()
        name, bounds = self.service.name, self.service.max
        async with open_stdio(self._target.launch, name=name, bounds=bounds) as connection:
            self._started += 1
            try:
                entry.greeting = await self._greet(connection, handshake)
                entry.connection = connection
                entry.state = "running"
                self._decide(entry, None)
                await connection.wait_closed()
                self._crash(entry, lived=trio.current_time() - began)
            except Exception as error:  # noqa: BLE001 - whoever waits for this start is given it
                self._failed(entry, error)
            finally:
                self._retire(entry)

    async def _greet(self, connection: StdioConnection, handshake: Handshake[T]) -> T:
        seconds = self.service.timeouts.connect
        try:
            with trio.fail_after(seconds):
                return await handshake(connection)
        except trio.TooSlowError:
            reason = f"the service did not finish its handshake within {seconds:g} s"
            raise UpstreamTimedOut(reason) from None
        except UpstreamDied as error:
            reason = "the service ended while it was started"
            raise UpstreamUnreachable(reason, error.detail) from error

    def _failed(self, entry: Entry, error: Exception) -> None:
        """The start failed, or the task of the process did. An error that the service gave is no crash."""
        if isinstance(error, WrongEra):
            log.info("process of the other era", service=self.service.name, reason=error.reason)
        elif isinstance(error, UpstreamError):
            log.warning("start failed", service=self.service.name, reason=error.reason, detail=error.detail)
        else:
            log.error("process failed", service=self.service.name, exc_info=error)
        if not isinstance(error, (Refused, WrongEra)):
            self._crash(entry, lived=0.0)
        if not entry.decided.is_set():
            self._decide(entry, error)

    def _crash(self, entry: Entry, lived: float) -> None:
        self._crashed += 1
        self._backoffs.setdefault(entry.key, Backoff()).ended(trio.current_time(), lived)

    def _decide(self, entry: Entry, error: Exception | None) -> None:
        entry.error = error
        entry.decided.set()


@asynccontextmanager
async def open_processes(service: Service) -> AsyncGenerator[Processes]:
    """The processes of a stdio service; none is started yet. All are shut down at the end of the block.

    Leaving takes as long as the slowest child, which `open_child` bounds. Exceptions leave in a group.
    """
    if not isinstance(service.target, StdioTarget):
        raise TypeError(f"service {service.name!r} has no command")
    async with trio.open_nursery() as nursery:
        processes = Processes(service, service.target, nursery)
        try:
            yield processes
        finally:
            processes.close()
