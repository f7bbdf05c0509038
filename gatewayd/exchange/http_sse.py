"""Clients of HTTP+SSE (MCP 2024-11-05): one stream for everything that is said, POSTs to a second address.

The session is the connection: it lives and ends with the stream, and has no id but the ticket in that address.
"""

from __future__ import annotations

import math
import secrets
from functools import partial

import attrs
import trio

from gatewayd.exchange.call import Call
from gatewayd.exchange.legacy import Legacy
from gatewayd.exchange.legacy_streams import LegacyStreams
from gatewayd.exchange.members import MemberReply
from gatewayd.exchange.running import Runner
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import INVALID_REQUEST, RATE_LIMITED
from gatewayd.protocol.eventstream import encode_event
from gatewayd.protocol.http1 import RequestHead
from gatewayd.protocol.jsonrpc import Message, Request, RpcError, encode
from gatewayd.sessions.registry import Registry
from gatewayd.sessions.session import Session

TICKET_BYTES = 24
"""192 random bits: nobody guesses one."""
QUERY = "session="
FAREWELL = 3.0
"""Seconds that ending a session may take after its connection is lost."""


@attrs.define(eq=False)
class SseClient:
    """A connected client. A `Carrier`: whatever is answered goes on its stream."""

    call: Call
    session: Session | None = None
    initialized: bool = False
    """Whether a session was asked for."""
    running: int = 0
    nursery: trio.Nursery = attrs.field(init=False)
    """Of what is done for it."""

    @property
    def path(self) -> str:
        """Of the route."""
        return self.call.plan.route.path

    async def message(self, message: bytes) -> None:
        """See `Carrier.message`."""
        await self.call.reply.write(encode_event(message, event="message"))

    async def events(self, events: bytes) -> None:
        """See `Carrier.events`."""
        await self.call.reply.write(events)


class SseClients:
    """All connected clients, by ticket."""

    def __init__(self, legacy: Legacy, streams: LegacyStreams, registry: Registry, run: Runner) -> None:
        self._legacy = legacy
        self._streams = streams
        self._registry = registry
        self._run = run
        self._connected: dict[str, SseClient] = {}

    async def listen(self, call: Call) -> Outcome:
        """Serve the GET that is the session; ends when the client is gone, or its session is."""
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        call.listening = True
        call.set_deadline(math.inf)
        call.reply.keeps_alive = True
        client = SseClient(call)
        try:
            async with trio.open_nursery() as client.nursery:
                self._connected[ticket] = client
                try:
                    address = f"{call.plan.route.path}?{QUERY}{ticket}"
                    await call.reply.write(encode_event(address.encode(), event="endpoint"))
                    await trio.sleep_forever()
                finally:
                    del self._connected[ticket]
        except* trio.BrokenResourceError:
            call.end("disconnected")
        finally:
            await self._end(client)
        return "ok"

    async def post(self, call: Call, ticket: str, message: Message) -> Outcome:
        """Take a message, whose answer goes on the stream. Raises `RpcError`: 404 for a ticket that is not its own."""
        client = self._connected.get(ticket)
        if client is None or client.call.principal != call.principal or client.path != call.plan.route.path:
            raise RpcError(INVALID_REQUEST, "Session not found: connect again", status=404)
        if not isinstance(message, Request):  # taken before it is accepted, so that what comes next finds it done
            if client.session is not None:
                return await self._legacy.take(call, client.session, message)
            await call.reply.accept()
            return "ok"
        if client.running >= call.plan.max_calls:
            raise RpcError(RATE_LIMITED, "Too many calls at once in this session", call.rpc_id, status=429)
        member = call.member(MemberReply(client, message), trio.current_time(), client.call)
        client.running += 1
        client.nursery.start_soon(self._serve, client, member, message)
        await call.reply.accept()
        return "ok"

    async def _serve(self, client: SseClient, member: Call, message: Request) -> None:
        try:
            await self._run(member, message, partial(self._take, client, member, message))
        finally:
            client.running -= 1

    async def _take(self, client: SseClient, member: Call, message: Request) -> Outcome:
        if message.method == "initialize":
            if client.initialized:
                raise RpcError(INVALID_REQUEST, "Invalid request: the session is initialized already", message.id)
            client.initialized = True
            try:
                client.session, result = await self._legacy.initialize(member, message)
            except BaseException:
                client.initialized = False
                raise
            client.nursery.start_soon(self._carry_standing, client, client.session)
            await member.reply.finish(encode(result))
            return "ok"
        if client.session is None:
            raise RpcError(INVALID_REQUEST, "Invalid request: start with initialize", message.id)
        return await self._legacy.take(member, client.session, message)

    async def _carry_standing(self, client: SseClient, session: Session) -> None:
        """What the service says unasked goes on the same stream. It also keeps the session from being idle."""
        while not session.closed:
            journal = await self._streams.hold(client.call, session)
            follower = journal.follow()
            while (event := await journal.next(follower, journal.sent)) is not None:
                number, message = event
                await client.message(message)
                journal.mark_sent(number)
        client.call.end("session ended")

    async def _end(self, client: SseClient) -> None:
        if client.session is not None:
            with trio.move_on_after(FAREWELL, shield=True):
                await self._registry.end(client.session)


def ticket_in(head: RequestHead) -> str | None:
    """The ticket of a POST; None where the address has none."""
    _, _, query = head.target.partition("?")
    return query.removeprefix(QUERY) if query.startswith(QUERY) else None


def wants_sse(head: RequestHead) -> bool:
    """Whether a GET can only come from such a client: those of later revisions name a session, or a revision."""
    return head.method == "GET" and head.get(b"mcp-session-id") is None and head.get(b"mcp-protocol-version") is None
