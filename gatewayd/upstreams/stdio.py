"""One process, many calls: the MCP stdio transport, multiplexed.

What the process says goes through an `Inbox`, what it is told through an `Outbox`; neither lets one call wait
for another. Nothing here retries or restarts: see `processes`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import attrs
import structlog
import trio

from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, encode
from gatewayd.protocol.jsontext import encode_members, text
from gatewayd.protocol.lines import LineReader
from gatewayd.routes.table import Bounds, Launch
from gatewayd.upstreams.channel import UpstreamDied, UpstreamError, UpstreamTimedOut, UpstreamUnreachable
from gatewayd.upstreams.inbox import Attribute, Call, Inbox, Owner
from gatewayd.upstreams.mailbox import Mailbox
from gatewayd.upstreams.outbox import Outbox
from gatewayd.upstreams.process import Child, open_child

log = structlog.get_logger("gatewayd.upstreams")

READ = 64 * 1024
"""Bytes per read: what a Linux pipe holds."""
OUTBOX_REQUESTS = 4
"""Largest requests that may wait together for a child that is busy."""
TURN = 64
"""Lines that are read without letting others run: a flood of tiny lines must not stall the neighbours."""
LAST_WORDS = 1.0
"""Seconds to read what an ended process left in its pipe; a stranger may hold the other end."""


class StdioAnswer:
    """The messages of one request, made by `StdioConnection.request`. An `Answer`."""

    def __init__(self, connection: StdioConnection, call: Call) -> None:
        self._connection = connection
        self._call = call

    async def receive(self) -> Message | None:
        """See `Answer.receive`."""
        return await self._call.mailbox.receive()

    async def aclose(self) -> None:
        """See `Answer.aclose`. Never waits: where the outbox is full, the process is not told."""
        self._connection.abandon(self._call, "the caller has gone")


@attrs.frozen
class StdioStatistics:
    """A look at one connection."""

    pid: int
    in_flight: int
    waiting: int
    """Bytes that wait for the child to read."""
    late: int
    """Messages for calls that were over already."""
    dropped: int
    """Messages of no particular call that nobody read in time."""
    garbage: int
    """Lines that were not JSON-RPC, or too long."""


class StdioConnection:
    """A running process that speaks MCP. Made by `open_stdio`, which also ends it.

    Request ids are the caller's and must be unique among what is pending; where a request asks for progress,
    its token must be its id.
    """

    def __init__(self, child: Child, bounds: Bounds) -> None:
        self._child = child
        self._bounds = bounds
        self._inbox = Inbox(name=child.name, pid=child.pid, limit=bounds.response, abandon=self.abandon)
        self._outbox = Outbox(child.stdin.fileno(), OUTBOX_REQUESTS * bounds.request)
        self._ended = trio.Event()
        self._leaving = False
        self._why = "it is being stopped"

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<StdioConnection {self._child.name!r} pid={self.pid} {state} pending={self.in_flight}>"

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def in_flight(self) -> int:
        """Requests that wait for their answer."""
        return len(self._inbox.calls)

    @property
    def pending(self) -> Iterable[Call]:
        """The requests themselves, the newest last."""
        return self._inbox.calls.values()

    @property
    def abandoned(self) -> set[str]:
        """The principals (`Caller.key`) of abandoned calls: until the process answers, it may speak for them."""
        return self._inbox.abandoned.principals()

    @property
    def unattributed(self) -> Mailbox:
        """Server requests and notifications of no particular call, for one receiver.

        Nobody has to read them: when 256 are waiting, or `Bounds.response` bytes, the newest are dropped.
        """
        return self._inbox.unattributed

    @property
    def closed(self) -> bool:
        """No request can be sent any more. What was sent may be answered until `wait_closed` returns."""
        return self._leaving or self._outbox.broken

    async def wait_closed(self) -> None:
        """Wait until the last answer has been read and every pending call was failed."""
        await self._ended.wait()

    def statistics(self) -> StdioStatistics:
        return StdioStatistics(
            pid=self.pid,
            in_flight=self.in_flight,
            waiting=self._outbox.waiting,
            late=self._inbox.late.total,
            dropped=self._inbox.dropped.total,
            garbage=self._inbox.garbage.total,
        )

    async def request(self, message: Request, owner: Owner | None = None) -> StdioAnswer:
        """Send a request. Returns when it is written or queued; when cancelled it has sent nothing.

        `owner` is for those who attribute messages: see `attribute_with`.

        The answer raises `UpstreamDied` when the process ends, `UpstreamTimedOut` when it does not read the
        request, `UpstreamTooLarge` when it says too much. The deadline of the whole call is the caller's.

        Raises:
            UpstreamUnreachable: the process has ended; nothing was sent.
            UpstreamTimedOut: the process does not read, and too much waits for it already.
            ValueError: the id is in use.
        """
        await self._wait_room(message.params)
        line = encode(message) + b"\n"
        call = self._inbox.open(message, owner)
        call.letter = self._outbox.put(line, lambda begun: self._expire(call, begun))
        if self._outbox.broken:
            self._inbox.forget(call)
            raise self._unreachable()
        return StdioAnswer(self, call)

    async def send(self, message: Notification | Result | Failure) -> None:
        """Send what has no answer. It is lost if the process does not read it within the outbox's deadline.

        Raises:
            UpstreamUnreachable: the process has ended.
            UpstreamTimedOut: the process does not read, and too much waits for it already.
        """
        await self._wait_room(message.params if isinstance(message, Notification) else None)
        self._outbox.put(encode(message) + b"\n")
        if self._outbox.broken:
            raise self._unreachable()

    def attribute_with(self, attribute: Attribute) -> None:
        """Ask this about each message without an address as it comes in; what belongs to no call is `unattributed`."""
        self._inbox.attribute = attribute

    def abandon(self, call: Call, reason: str, error: UpstreamError | None = None) -> None:
        """Forget a call and tell the server, unless the call is over or was never written. Never waits."""
        if not self._inbox.forget(call):
            return
        call.mailbox.discard()
        call.mailbox.close(error)
        if call.letter is not None and self._outbox.withdraw(call.letter):
            return
        self._inbox.suspect(call)
        if call.method == "initialize":
            return  # MCP 2025-11-25, cancellation: a client must not cancel it
        ident = text(call.id) if isinstance(call.id, str) else b"%d" % call.id
        params = encode_members({"requestId": ident, "reason": text(reason)})
        line = encode(Notification("notifications/cancelled", params)) + b"\n"
        if self._outbox.fits(len(line)):
            self._outbox.put(line)

    async def run(self) -> None:
        """Carry messages until the process ends or has stopped reading; then fail what is pending."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, nursery.cancel_scope)
                nursery.start_soon(self._until, self._outbox.run, "it does not read", nursery.cancel_scope)
                nursery.start_soon(self._until, self._child.wait_exited, "it exited", nursery.cancel_scope)
        finally:
            self._end()

    async def _until(self, over: Callable[[], Awaitable[object]], why: str, everything: trio.CancelScope) -> None:
        """When the process is as good as gone: take no requests, give the reader a moment for the rest."""
        await over()
        self._why = why
        self._leaving = True
        everything.deadline = min(everything.deadline, trio.current_time() + LAST_WORDS)

    async def _read(self, everything: trio.CancelScope) -> None:
        """Read to the end. On the bare descriptor: that spares a pass through the scheduler per line."""
        lines, fd = LineReader(self._bounds.response), self._child.stdout.fileno()
        while True:
            await trio.lowlevel.wait_readable(fd)
            with suppress(BlockingIOError):
                data = os.read(fd, READ)
                if not data:
                    break
                for number, line in enumerate(lines.feed(data), start=1):
                    self._inbox.take(line)
                    if number % TURN == 0:
                        await trio.lowlevel.checkpoint()
        self._why = "it closed its output"
        everything.cancel()

    def _end(self) -> None:
        self._leaving = True
        status = self._child.status
        detail = self._why if status is None else f"exit status {status}"
        reason = "the service ended before it answered; the outcome is unknown"
        failed = self._inbox.close(UpstreamDied(reason, detail))
        self._ended.set()
        log.info("connection ended", service=self._child.name, pid=self.pid, detail=detail, failed=failed)

    async def _wait_room(self, params: bytes | None) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.closed and not await self._outbox.wait_room(len(params or b"")):
            raise self._unread()
        if self.closed:
            raise self._unreachable()

    def _expire(self, call: Call, begun: bool) -> None:
        """The process did not read a request in time. If it saw a part, it must be told to forget it."""
        if begun:
            self.abandon(call, "the request could not be written in time", self._unread())
        elif self._inbox.forget(call):
            call.mailbox.close(self._unread())

    def _unread(self) -> UpstreamTimedOut:
        return UpstreamTimedOut("the service does not read its requests")

    def _unreachable(self) -> UpstreamUnreachable:
        return UpstreamUnreachable("the service has just ended", f"pid {self.pid}")


@asynccontextmanager
async def open_stdio(launch: Launch, *, name: str, bounds: Bounds) -> AsyncGenerator[StdioConnection]:
    """Start the process of service `name`, and shut it down at the end; see `open_child`.

    When the process ends earlier the block goes on: `wait_closed` tells. Exceptions leave in a group.

    Raises:
        UpstreamUnreachable: the process could not be started.
    """
    async with open_child(launch, name=name) as child:
        connection = StdioConnection(child, bounds)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            try:
                yield connection
            finally:
                nursery.cancel_scope.cancel()
