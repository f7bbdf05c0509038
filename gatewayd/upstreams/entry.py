"""One entry of a process table: what is known of a process, what is shown of it, the right to use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Literal, TypeVar

import attrs
import trio

from gatewayd.routes.table import Sharing
from gatewayd.upstreams.stdio import StdioConnection

T = TypeVar("T")
State = Literal["waiting", "starting", "running", "stopping"]
Handshake = Callable[[StdioConnection], Awaitable[T]]


@attrs.frozen
class ProcessStatistics:
    """A look at one process. The key is left out: it may be a principal's name."""

    pid: int | None
    sharing: Sharing
    state: State
    users: int
    in_flight: int
    age: float
    """Seconds since the process was asked for."""
    restarts: int
    """Quick failures in a row before this one."""


@attrs.frozen
class ProcessesStatistics:
    """A look at the processes of one service."""

    processes: tuple[ProcessStatistics, ...]
    started: int
    crashed: int


@attrs.define(eq=False)
class Entry:
    """One process, from the decision to start it until it is gone."""

    key: Hashable
    since: float
    restarts: int
    state: State = "waiting"
    users: int = 0
    used_at: float = 0.0
    connection: StdioConnection | None = None
    greeting: object = None
    error: Exception | None = None
    decided: trio.Event = attrs.field(factory=trio.Event)
    """The start succeeded (`connection`) or failed (`error`)."""
    life: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Its deadline is when an idle process has been idle for too long."""

    @property
    def usable(self) -> bool:
        return not self.life.cancel_called and (self.connection is None or not self.connection.closed)


class Lease(Generic[T]):
    """The right to use a process. It is kept running while anybody has one; give it back with `release`."""

    def __init__(self, connection: StdioConnection, greeting: T, release: Callable[[], None]) -> None:
        self.connection = connection
        self.greeting = greeting
        """What the handshake returned when the process was started."""
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Give the process back. Idempotent."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> Lease[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
