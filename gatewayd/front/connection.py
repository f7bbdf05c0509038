"""One client connection, HTTP/1.1: one owner, one request at a time, and an eye on the peer while a call waits."""

from __future__ import annotations

import enum
import math
import select
from contextlib import suppress
from typing import cast

import trio

from gatewayd.exchange.admission import SECURITY, Admitted, Door, Refused, refuse
from gatewayd.exchange.exchange import Exchange
from gatewayd.front.patience import Patience
from gatewayd.front.reply import Http1Reply
from gatewayd.front.watch import WatchedCall
from gatewayd.net.stream import TcpStream
from gatewayd.observe.tree import Node
from gatewayd.protocol.http1 import HttpError, RequestHead, RequestReader
from gatewayd.routes.table import Gateway

RECEIVE_SIZE = 16 * 1024
READ_AHEAD = 64 * 1024
"""Bytes of further requests taken in while a call runs. More stays in the kernel: the client is slowed, not cut."""
HANGUP_POLL = 0.05
"""Seconds between looks for a hang-up behind bytes that we do not want to read yet."""
SLACK = 0.1
"""Seconds that a client's deadline may be early."""
LINGER = 1.0
"""Seconds that a refused client gets to read its answer before the connection is reset."""
LINGER_BYTES = 1024 * 1024
DRAIN_GRACE = 0.5
"""Seconds that an idle connection stays open in a drain: closing it while a request is on its way would reset it."""
BODY_OF_REFUSED = 64 * 1024
"""Bytes of an unwanted body that are read and dropped, so that the connection can be kept."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(enum.Enum):
    """What the connection is waiting for; decides what an expired deadline means."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    CALL = "call"
    REFUSAL = "refusal"


class Connection:
    """Serves one client until it leaves, misbehaves or is drained. Closes the stream.

    The standing scope has one deadline that moves with the phase; opening a scope per request would cost more than
    parsing it. A call has a scope of its own, and tasks of its own only once it waits (`Patience`).
    """

    def __init__(self, stream: trio.abc.Stream, exchange: Exchange, door: Door, patience: Patience, node: Node) -> None:
        self._stream = stream
        self._exchange = exchange
        self._door = door
        self._patience = patience
        self._node = node
        self._settings: Gateway = exchange.plans.gateway
        self._reader = RequestReader(self._settings.max.head)
        self._scope = trio.CancelScope()
        self._phase = Phase.IDLE
        self._draining = False

    async def serve(self) -> None:
        """Run until the connection is over. Cancelled from outside, it closes at once."""
        try:
            async with trio.open_nursery() as nursery:
                with suppress(trio.BrokenResourceError):  # the client is gone: nobody is left to tell
                    with self._scope:
                        while await self._serve_request(nursery):
                            pass
                    if self._scope.cancelled_caught:
                        await self._expired()
        finally:
            await trio.aclose_forcefully(self._stream)

    def drain(self) -> None:
        """Take no further call. A request that is on its way already is refused rather than reset."""
        self._draining = True
        if self._phase is Phase.IDLE:
            self._enter(Phase.IDLE, DRAIN_GRACE)

    async def _serve_request(self, nursery: trio.Nursery) -> bool:
        """Serve one request; whether another may follow."""
        try:
            head = await self._read_head()
            if head is None:
                return False
            admission = self._exchange.admit(head, self._door)
            if isinstance(admission, Refused):
                return await self._refuse(head, admission)
            limit = admission.plan.max_request if head.method == "POST" else BODY_OF_REFUSED
            body = await self._read_body(head, limit)
        except HttpError as error:
            await self._refuse_and_close(
                refuse(
                    error.status, error.reason, "too_large" if error.status in (413, 431) else "bad_request", SECURITY
                )
            )
            return False
        if body is None:
            return False
        if self._draining and isinstance(again := self._exchange.admit(head, self._door), Refused):
            await self._refuse_and_close(again)  # the drain began while the body came in
            return False
        return await self._call(head, admission, body, nursery)

    async def _call(self, head: RequestHead, admitted: Admitted, body: bytes, nursery: trio.Nursery) -> bool:
        self._phase = Phase.CALL
        now = trio.current_time()
        reply = Http1Reply(self._stream, head, admitted.fields, close=self._draining)
        with Node("call", parent=self._node, now=now) as node:
            call = self._exchange.begin(head, admitted, reply, node, now)
            await WatchedCall(call, reply, self, nursery).run(self._exchange, self._patience, body)
        return reply.complete and reply.reusable

    async def watch_peer(self) -> None:
        """Return when the client is gone. What it sends meanwhile is kept for the next request."""
        while self._reader.buffered < READ_AHEAD:
            data = await self._stream.receive_some(RECEIVE_SIZE)
            if not data:
                return
            self._reader.feed(data)
        await _hang_up(self._stream)

    @property
    def settings(self) -> Gateway:
        """The settings that the connection was opened under."""
        return self._settings

    async def _read_head(self) -> RequestHead | None:
        """The next head, or None when the client leaves between requests."""
        timeouts = self._settings.timeouts
        self._enter(Phase.IDLE, DRAIN_GRACE if self._draining else timeouts.idle)
        while True:
            head = self._reader.next_head()
            if head is not None:
                return head
            if self._reader.started and self._phase is Phase.IDLE:
                self._enter(Phase.HEAD, timeouts.head)
            data = await self._stream.receive_some(RECEIVE_SIZE)
            if not data:
                return None
            self._reader.feed(data)

    async def _read_body(self, head: RequestHead, limit: int) -> bytes | None:
        """The whole body, or None when the client leaves before its end: then nothing is executed."""
        body = self._reader.next_body(limit)
        if body is not None:
            return body
        self._enter(Phase.BODY, self._settings.timeouts.body)
        if head.expect_continue:
            await self._stream.send_all(CONTINUE)
        while body is None:
            data = await self._stream.receive_some(RECEIVE_SIZE)
            if not data:
                return None
            self._reader.feed(data)
            body = self._reader.next_body(limit)
        return body

    async def _refuse(self, head: RequestHead, refused: Refused) -> bool:
        """Answer without a call. A small body is dropped so that the connection lives; a large one ends it."""
        if refused.reason is not None:
            self._exchange.metrics.refuse(refused.reason)
        keep = head.keep_alive and not head.expect_continue and (head.length or 0) <= BODY_OF_REFUSED
        if keep and not head.chunked:
            if await self._read_body(head, BODY_OF_REFUSED) is None:
                return False
            reply = Http1Reply(self._stream, head, (), close=self._draining)
            self._enter(Phase.REFUSAL, self._settings.timeouts.write)
            await reply.send(refused.status, refused.fields, refused.body)
            return reply.reusable
        await self._send_and_linger(Http1Reply(self._stream, head, (), close=True), refused)
        return False

    async def _refuse_and_close(self, refused: Refused) -> None:
        if refused.reason is not None:
            self._exchange.metrics.refuse(refused.reason)
        await self._send_and_linger(Http1Reply(self._stream, UNREADABLE, (), close=True), refused)

    async def _send_and_linger(self, reply: Http1Reply, refused: Refused) -> None:
        """Say why, then wait a moment: closing over unread bytes would reset the connection under the answer."""
        self._enter(Phase.REFUSAL, self._settings.timeouts.write)
        await reply.send(refused.status, refused.fields, refused.body)
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            await self._stream.send_eof()
        with trio.move_on_after(LINGER):
            dropped = 0
            while dropped < LINGER_BYTES and (data := await self._stream.receive_some(RECEIVE_SIZE)):
                dropped += len(data)

    async def _expired(self) -> None:
        """The deadline of a phase has passed."""
        if self._phase in (Phase.HEAD, Phase.BODY):
            late = refuse(408, f"the {self._phase.value} of the request did not arrive in time", "too_slow", SECURITY)
            with trio.move_on_after(LINGER):
                await self._refuse_and_close(late)

    def suspend_deadline(self) -> None:
        """A call waits: from here on its own deadline counts."""
        self._scope.deadline = math.inf

    def _enter(self, phase: Phase, seconds: float) -> None:
        """Wait in `phase` for at most `seconds`, give or take `SLACK`: moving a deadline costs as much as a send."""
        self._phase = phase
        deadline = trio.current_time() + seconds
        if not -SLACK < self._scope.deadline - deadline <= 0:
            self._scope.deadline = deadline


UNREADABLE = RequestHead("POST", "/", (), 0, False, False, False)
"""Stands in for a head that could not be read, when it is refused."""


async def _hang_up(stream: trio.abc.Stream) -> None:
    """Return when the peer has closed, without reading; for streams that cannot tell, never."""
    below = cast("trio.SSLStream[TcpStream]", stream).transport_stream if isinstance(stream, trio.SSLStream) else stream
    if not isinstance(below, TcpStream):
        await trio.sleep_forever()
    poll = select.poll()
    poll.register(below.fileno(), select.POLLRDHUP)
    while not poll.poll(0):  # noqa: ASYNC110 (Trio cannot wait for a hang-up alone)
        await trio.sleep(HANGUP_POLL)
