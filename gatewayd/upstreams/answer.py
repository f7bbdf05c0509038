"""The answer to one HTTP request: a JSON object or an event stream, read message by message."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

import trio

from gatewayd.protocol.eventstream import Event, EventReader, EventTooLarge
from gatewayd.protocol.http1 import END, HttpError, ResponseHead
from gatewayd.protocol.jsonrpc import Failure, Id, Message, Notification, Request, Result, RpcError, decode
from gatewayd.upstreams.channel import (
    Answer,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from gatewayd.upstreams.pool import Pool, PooledConnection

RECEIVE_SIZE = 64 * 1024

FORGOTTEN = "the service does not know the session any more"
_NO_SESSION = re.compile(
    r"(bad request: )?(server not initialized"
    r"|(no valid|no such|invalid|unknown|missing|expired)( or missing)? (mcp )?session"
    r"|(mcp |mcp-)?session([ -]id)?( header)? (is |was )?(not found|unknown|expired|invalid|terminated|required))",
    re.IGNORECASE,
)
"""How the SDKs and what was written after them say it."""

See = Callable[[Event], bool]
"""Sees each event of a stream first; True: it has dealt with it, and there is nothing to deliver."""
OnRefusal = Callable[[int, Failure | None], None]
"""Is told of HTTP statuses from 400 on, and of the JSON-RPC error that came with them, if one did."""


class HttpAnswer:
    """Reads what one request is answered with. An `Answer`; `request_id` is None for standing streams.

    Nothing is read ahead of the caller but what one receive brings, so a slow client slows its upstream.
    """

    def __init__(
        self,
        pool: Pool,
        connection: PooledConnection,
        method: str,
        wire: bytes,
        *,
        request_id: Id | None,
        limit: int,
        repeatable: bool = False,
        in_session: bool = False,
        see: See | None = None,
        on_refusal: OnRefusal | None = None,
    ) -> None:
        self._pool = pool
        self._connection: PooledConnection | None = connection
        self._method = method
        self._wire = wire
        self._request_id = request_id
        self._limit = limit
        self._repeatable = repeatable
        self._in_session = in_session
        self._see = see
        self._on_refusal = on_refusal
        self.head: ResponseHead | None = None
        self.ended = False
        """Whether the service itself ended the answer, in good order."""
        self._events: EventReader | None = None
        self._body = bytearray()
        self._ready: deque[Message] = deque()
        self._fault: UpstreamError | None = None
        """What ended the stream behind the messages that are ready."""
        self._finished = False
        self._cut_off = False

    @property
    def streaming(self) -> bool:
        """Whether the answer has turned out to be an event stream."""
        return self._events is not None

    async def receive(self) -> Message | None:
        """See `Answer.receive`."""
        while not self._ready:
            if self._fault is not None:
                raise self._fault
            if self._finished or self._connection is None:
                return None
            if self.head is None:
                await self.read_head()
            else:
                await self._read_body(self._connection, self.head)
        return self._ready.popleft()

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._finished:
            await self._pool.release(connection)
        else:
            await self._pool.discard(connection)

    async def read_head(self) -> ResponseHead:
        """Wait for the head of the response, and refuse it if no messages can follow. Raises `UpstreamError`."""
        head = await self._await_head()
        try:
            self._judge(head)
        except HttpError as error:
            raise UpstreamBroke("the service does not speak proper HTTP", error.reason) from error
        return head

    async def read_acknowledgement(self) -> None:
        """Wait for the answer to something that has no messages in its answer. Raises `UpstreamError`."""
        head = await self._await_head()
        if head.status == 404 and self._in_session:
            raise SessionLost(FORGOTTEN)
        if not 200 <= head.status < 300:
            raise UpstreamBroke(f"the service answered with HTTP status {head.status}")
        self._finished = True

    async def _await_head(self) -> ResponseHead:
        while self.head is None:
            assert self._connection is not None
            try:
                self.head = self._connection.reader.next_head()
            except HttpError as error:
                raise UpstreamBroke("the service does not speak proper HTTP", error.reason) from error
            if self.head is None:
                await self._fill(self._connection)
        return self.head

    def _judge(self, head: ResponseHead) -> None:
        """Decide what the body is, or that there is no use in reading it."""
        status = head.status
        media = (head.get(b"content-type") or b"").split(b";", 1)[0].strip().lower()
        if status >= 400 and media != b"application/json" and self._on_refusal is not None:
            self._on_refusal(status, None)
        if head.get(b"content-encoding") not in (None, b"identity"):
            raise UpstreamBroke("the service sent a compressed answer that nobody asked for")
        if status == 404 and self._in_session and (self._request_id is None or media != b"application/json"):
            raise SessionLost(FORGOTTEN)
        if status in (401, 403):
            raise UpstreamBroke("the service refused the gateway's credentials", f"HTTP {status}")
        if status == 200 and media == b"text/event-stream":
            self._events = EventReader(self._limit)
        elif media != b"application/json" or 300 <= status < 400:
            raise UpstreamBroke(f"the service answered with HTTP status {status}", media.decode("latin-1"))
        if self._events is None and head.length is not None and head.length > self._limit:
            raise UpstreamTooLarge("the answer of the service is too large", f"{head.length} bytes declared")

    async def _read_body(self, connection: PooledConnection, head: ResponseHead) -> None:
        try:
            part = connection.reader.next_chunk()
        except HttpError as error:
            if self._cut_off:
                raise UpstreamDied("the service died while answering; the outcome is unknown", error.reason) from error
            raise UpstreamBroke("the service does not speak proper HTTP", error.reason) from error
        if part is None:
            await self._fill(connection)
        elif part is END:
            self._end(head)
        elif self._events is None:
            self._body += part
            if len(self._body) > self._limit:
                raise UpstreamTooLarge("the answer of the service is too large", f"more than {self._limit} bytes")
        else:
            self._take_events(self._events, part)

    def _take_events(self, events: EventReader, part: bytes) -> None:
        try:
            for event in events.feed(part):
                if (self._see is None or not self._see(event)) and event.data:
                    self._take(event.data)
        except EventTooLarge as error:
            self._fault = UpstreamTooLarge("an event of the service is too large", str(error))
        except UpstreamError as error:  # what came in one piece with it, and before it, is good
            self._fault = error

    def _end(self, head: ResponseHead) -> None:
        self.ended = True
        if self._events is None:
            self._take_body(head.status)
        elif self._request_id is not None and not self._finished:
            raise UpstreamDied("the service ended its stream before the answer; the outcome is unknown")
        self._finished = True

    def _take_body(self, status: int) -> None:
        try:
            self._take(bytes(self._body), failed=status >= 400)
            if not self._finished:
                raise UpstreamBroke("the service answered with something that is no answer")
        finally:
            if status >= 400 and self._on_refusal is not None:
                last = self._ready[-1] if self._ready else None
                self._on_refusal(status, last if isinstance(last, Failure) else None)

    def _take(self, data: bytes, *, failed: bool = False) -> None:
        if self._finished:
            return
        unknown = self._in_session and self.head is not None and self.head.status == 404
        try:
            message = decode(data)
        except RpcError as error:
            if unknown:
                raise SessionLost(FORGOTTEN) from error
            raise UpstreamBroke("the service sent something that is not JSON-RPC", error.message) from error
        if unknown and not self._answers(message):
            raise SessionLost(FORGOTTEN)
        match message:
            case Request() | Notification():
                pass
            case Failure(id=None) if failed:
                self._finished = True
                if self._in_session and self._forgets(message):
                    raise SessionLost(FORGOTTEN, message.message[:200])
            case Result() | Failure():
                if not self._answers(message):
                    raise UpstreamBroke("the service answered a request that was not asked")
                self._finished = True
        self._ready.append(message)

    def _answers(self, message: Message) -> bool:
        """Whether this is the answer to the request. With it, a 404 is the service's own word about what was asked."""
        ident = self._request_id
        return isinstance(message, Result | Failure) and message.id == ident and type(message.id) is type(ident)

    def _forgets(self, failure: Failure) -> bool:
        """Whether a refusal says what MCP wants said with 404: servers after the TypeScript SDK's examples say 400."""
        return self.head is not None and self.head.status == 400 and _NO_SESSION.match(failure.message) is not None

    async def _fill(self, connection: PooledConnection) -> None:
        try:
            data = await connection.stream.receive_some(RECEIVE_SIZE)
        except trio.BrokenResourceError as error:
            await self._lost(connection, str(error.__cause__ or error))
            return
        if data:
            connection.reader.feed(data)
            return
        if self.head is None:
            await self._lost(connection, "connection closed")
            return
        self._cut_off = True
        connection.reader.feed_eof()

    async def _lost(self, connection: PooledConnection, detail: str) -> None:
        """The connection ended early. A kept one may have gone stale: repeat then what is safe to repeat."""
        if self.head is None and connection.reused and self._repeatable:
            await self._pool.discard(connection)
            self._connection = None
            fresh = await self._pool.acquire(fresh=True)
            self._connection = await send(self._pool, fresh, self._method, self._wire)
            return
        raise UpstreamDied("the service closed the connection; the outcome is unknown", detail)


async def send(pool: Pool, connection: PooledConnection, method: str, wire: bytes) -> PooledConnection:
    """Send a request; returns the connection that took it.

    A kept connection that is already closed took nothing, so the request goes out again on a new one.
    Raises `UpstreamUnreachable`. When cancelled the connection is closed: nobody knows how much was sent.
    """
    connection.reader.expect(method)
    try:
        await connection.stream.send_all(wire)
    except trio.BrokenResourceError as error:
        await pool.discard(connection)
        if not connection.reused:
            raise UpstreamUnreachable("the service closed the connection", str(error.__cause__)) from error
        return await send(pool, await pool.acquire(fresh=True), method, wire)
    except BaseException:
        await pool.discard(connection)
        raise
    return connection


async def final_answer(answer: Answer) -> Result | Failure:
    """Read on to the final message; what comes before it is for nobody. Raises `UpstreamError`."""
    while (message := await answer.receive()) is not None:
        if isinstance(message, Result | Failure):
            return message
    raise UpstreamBroke("the service did not answer")
