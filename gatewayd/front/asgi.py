"""The exchange as an ASGI application: HTTP/2 comes in by it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import trio
from msgspec.structs import replace

from gatewayd.exchange.admission import SECURITY, Admitted, Door, Refused, refuse
from gatewayd.exchange.exchange import Exchange
from gatewayd.exchange.reply import Field
from gatewayd.front.patience import Patience
from gatewayd.front.watch import WatchedCall
from gatewayd.observe.tree import Node
from gatewayd.protocol.http1 import HttpError, RequestHead, encode_request_head
from gatewayd.protocol.http1_head import parse_request_head
from gatewayd.routes.table import Gateway

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Any], Awaitable[None]]

BODY_OF_OTHERS = 64 * 1024
"""Bytes of a body that is not looked at: of GET and DELETE, which should have none."""


class Application:
    """Serves the requests of one connection; each is a task of the server's, which may cancel it at any time.

    Wants a server whose `send` may be cancelled and which then resets the stream, as `Http2Connection` does.
    """

    def __init__(self, exchange: Exchange, door: Door, patience: Patience, node: Node) -> None:
        """`node` is the connection's; `patience` must be running."""
        self._exchange = exchange
        self._door = door
        self._patience = patience
        self._node = node
        self._settings: Gateway = exchange.plans.gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises `ValueError` for a scope that is not one."""
        if scope["type"] != "http":
            raise ValueError("only HTTP is served here")
        admission, head = self._admit(scope)
        incoming = Incoming(receive, _most(admission, head), self._settings)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(incoming.run)
            with suppress(trio.BrokenResourceError):  # the client is gone: nobody is left to tell
                await self._answer(admission, head, incoming, send, nursery)
            nursery.cancel_scope.cancel()

    def _admit(self, scope: Scope) -> tuple[Admitted | Refused, RequestHead]:
        try:
            head = head_of(scope, self._settings.max.head)
        except HttpError as error:
            return refuse(error.status, error.reason, "bad_request", SECURITY), UNREADABLE
        return self._exchange.admit(head, self._door), head

    async def _answer(
        self,
        admission: Admitted | Refused,
        head: RequestHead,
        incoming: Incoming,
        send: Send,
        nursery: trio.Nursery,
    ) -> None:
        if isinstance(admission, Refused):
            await self._refuse(admission, send)
            return
        timeouts = self._settings.timeouts
        body = None
        try:
            with trio.move_on_after(timeouts.body) as patience:
                body = await incoming.body()
        except HttpError as error:
            await self._refuse(refuse(error.status, error.reason, "too_large", SECURITY), send)
            return
        if patience.cancelled_caught:
            late = "the body of the request did not arrive in time"
            await self._refuse(refuse(408, late, "too_slow", SECURITY), send)
        elif body is not None:
            await self._call(admission, head, body, incoming, send, nursery)

    async def _call(
        self,
        admitted: Admitted,
        head: RequestHead,
        body: bytes,
        incoming: Incoming,
        send: Send,
        nursery: trio.Nursery,
    ) -> None:
        now = trio.current_time()
        reply = AsgiReply(send, admitted.fields)
        with Node("call", parent=self._node, now=now) as node:
            call = self._exchange.begin(head, admitted, reply, node, now)
            await WatchedCall(call, reply, incoming, nursery).run(self._exchange, self._patience, body)

    async def _refuse(self, refused: Refused, send: Send) -> None:
        if refused.reason is not None:
            self._exchange.metrics.refuse(refused.reason)
        with trio.move_on_after(self._settings.timeouts.write):
            await AsgiReply(send, ()).send(refused.status, refused.fields, refused.body)


class Incoming:
    """What the client sends, taken at once, so that neither its other requests nor its farewell wait for us.

    A `Client` for the watch of the call.
    """

    def __init__(self, receive: Receive, limit: int, settings: Gateway) -> None:
        """Bytes of the body beyond `limit` are dropped."""
        self._receive = receive
        self._limit = limit
        self._settings = settings
        self._data = bytearray()
        self._size = 0
        self._whole = False
        self._settled = trio.Event()
        """It is known what becomes of the body."""
        self._gone = trio.Event()

    @property
    def settings(self) -> Gateway:
        """See `Client.settings`."""
        return self._settings

    async def run(self) -> None:
        """Take what comes until the client is gone: also behind the body, for there we learn of it."""
        while (event := await self._receive())["type"] == "http.request":
            part: bytes = event.get("body", b"")
            self._size += len(part)
            if self._size <= self._limit:
                self._data += part
            else:
                self._data.clear()
            self._whole = not event.get("more_body", False)
            if self._whole or self._size > self._limit:
                self._settled.set()
        self._gone.set()
        self._settled.set()

    async def body(self) -> bytes | None:
        """The whole body, or None when the client leaves before its end. Raises `HttpError` 413."""
        await self._settled.wait()
        if self._size > self._limit:
            raise HttpError(413, "the body is too large")
        if not self._whole:
            return None
        body, self._data = bytes(self._data), bytearray()
        return body

    def suspend_deadline(self) -> None:
        """See `Client.suspend_deadline`: the deadline of the body is over already."""

    async def watch_peer(self) -> None:
        """See `Client.watch_peer`."""
        await self._gone.wait()


class AsgiReply:
    """A `Reply` on an ASGI `send`. The call's own task and its keep-alive timer take turns."""

    def __init__(self, send: Send, fields: Iterable[Field]) -> None:
        """`fields` go into every head."""
        self._send = send
        self._fields = tuple(fields)
        self._turn = trio.Lock()
        self.started = False
        self.complete = False
        """Whether the whole answer was written."""
        self.writing_since: float | None = None
        """See `Paced`."""
        self.wrote_at = 0.0
        """See `Paced`."""

    async def send(self, status: int, fields: Iterable[Field], body: bytes) -> None:
        """See `Reply.send`."""
        self.started = True
        length = () if status == 204 else ((b"content-length", b"%d" % len(body)),)
        head = _head(status, (*fields, *self._fields, *length))
        await self._write(head, _body(body, more=False))

    async def start(self, status: int, fields: Iterable[Field]) -> None:
        """See `Reply.start`."""
        self.started = True
        given = tuple(fields)
        own = {name for name, _ in given}
        await self._write(_head(status, (*given, *(field for field in self._fields if field[0] not in own))))

    async def write(self, data: bytes) -> None:
        """See `Reply.write`."""
        await self._write(_body(data, more=True))

    async def end(self) -> None:
        """See `Reply.end`."""
        await self._write(_body(b"", more=False))

    async def _write(self, *events: Mapping[str, Any]) -> None:
        async with self._turn:
            if self.complete:  # a keep-alive that waited while the last word was said
                return
            now = trio.current_time()
            self.writing_since = now
            try:
                for event in events:
                    await self._send(event)
                self.wrote_at = now
                self.complete = events[-1].get("more_body") is False
            finally:
                self.writing_since = None


def head_of(scope: Scope, most: int) -> RequestHead:
    """The head of an ASGI request, judged by the rules of HTTP/1.1. Raises `HttpError`.

    It is written down as an HTTP/1.1 head and read by the parser of the other front, so that nothing passes
    here that would not pass there. `most` bounds that head in bytes. The scope's decoded `path` is not used.
    """
    target: str = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    try:
        written = encode_request_head(scope["method"], target, scope["headers"])
    except ValueError:
        raise HttpError(400, "the message head is malformed") from None
    if len(written) > most:
        raise HttpError(431, "the message head is too large")
    head = parse_request_head(written)
    if head.get(b"content-length") is None:
        return replace(head, length=None)  # HTTP/2 frames a body by itself
    return head


UNREADABLE = RequestHead("POST", "/", (), 0, False, False, False)
"""Stands in for a head that could not be read, when it is refused."""


def _most(admission: Admitted | Refused, head: RequestHead) -> int:
    """How much of the body is kept: nothing before somebody is admitted."""
    if isinstance(admission, Refused):
        return 0
    return admission.plan.max_request if head.method == "POST" else BODY_OF_OTHERS


def _head(status: int, fields: Iterable[Field]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(fields)}


def _body(data: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}
