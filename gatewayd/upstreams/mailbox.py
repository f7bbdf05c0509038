"""Messages on their way from one reader, which must never wait, to one receiver, which may be slow."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import trio

from gatewayd.protocol.jsonrpc import Message
from gatewayd.upstreams.channel import UpstreamError


class Mailbox:
    """A queue for one receiver, bounded in messages and in bytes.

    Costs one wake of the receiver per message that it waited for, and nothing while nobody waits.
    """

    __slots__ = ("_bytes", "_closed", "_error", "_messages", "_most", "_most_bytes", "_receiver")

    def __init__(self, most: int, most_bytes: int) -> None:
        self._messages: deque[tuple[Message, int]] = deque()
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._closed = False
        self._error: UpstreamError | None = None
        self._receiver: trio.lowlevel.Task | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message, size: int) -> bool:
        """Add a message that took `size` bytes. False: it does not fit, or comes after the end.

        An empty mailbox takes a message of any size: the reader has its own limit for a single one.
        """
        full = len(self._messages) >= self._most or self._bytes + size > self._most_bytes
        if self._closed or (full and self._messages):
            return False
        self._add(message, size)
        return True

    def put_last(self, message: Message, size: int) -> None:
        """Add the last message, whether it fits or not: it is what the receiver waited for all along."""
        self._add(message, size)
        self.close()

    def close(self, error: UpstreamError | None = None) -> None:
        """No more messages. What is queued can still be received; then `error` is raised, or the end is told.

        The first close counts.
        """
        if not self._closed:
            self._closed, self._error = True, error
            self._wake()

    def discard(self) -> None:
        """Forget what is queued."""
        self._messages.clear()
        self._bytes = 0

    async def receive(self) -> Message | None:
        """The next message, or None after the end. Safe to cancel and to call again; one task at a time.

        Raises the `UpstreamError` that the mailbox was closed with.
        """
        if self._messages or self._closed:
            await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages and not self._closed:
            await self._wait()
        if self._messages:
            message, size = self._messages.popleft()
            self._bytes -= size
            return message
        if self._error is not None:
            raise self._error
        return None

    def _add(self, message: Message, size: int) -> None:
        self._messages.append((message, size))
        self._bytes += size
        self._wake()

    async def _wait(self) -> None:
        if self._receiver is not None:
            raise trio.BusyResourceError("another task is receiving already")
        self._receiver = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._receiver = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self) -> None:
        if self._receiver is not None:
            trio.lowlevel.reschedule(self._receiver)
            self._receiver = None


class Listens(Protocol):
    """Who has a mailbox for what belongs to no call."""

    listening: bool
    """Whether somebody reads it."""


class Listening:
    """What a session's GET stream shows. An `Answer` without a final message."""

    def __init__(self, owner: Listens, mailbox: Mailbox) -> None:
        self._owner = owner
        self._mailbox = mailbox

    async def receive(self) -> Message | None:
        """See `Answer.receive`; what came while nobody listened comes first."""
        return await self._mailbox.receive()

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        self._owner.listening = False
