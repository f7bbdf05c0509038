"""Modern clients over a service that has sessions only: their requests, carried by pooled sessions."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from gatewayd.bridge.asking import REQUEST_STATE
from gatewayd.bridge.immediate import Immediate
from gatewayd.bridge.modern_client.call_answer import CallAnswer, ask_again
from gatewayd.bridge.modern_client.client_request import ClientRequest, bridgeable, lowered, read_request
from gatewayd.bridge.modern_client.filters import Filter, read_filter
from gatewayd.bridge.modern_client.listen_answer import ListenAnswer
from gatewayd.bridge.modern_client.live_call import LiveCall
from gatewayd.bridge.modern_client.parking import Parked, Parking, Tickets
from gatewayd.bridge.modern_client.pooled_session import PooledSession
from gatewayd.bridge.modern_client.questions import answer, read_responses
from gatewayd.bridge.modern_client.session_pool import Lease, SessionPool
from gatewayd.bridge.modern_client.upgrade import discovery
from gatewayd.observe.tree import Node
from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Request, Result, RpcError
from gatewayd.protocol.jsontext import members
from gatewayd.protocol.versions import BOTH, DISCOVER, LISTEN, MAY_ASK
from gatewayd.upstreams.channel import Answer
from gatewayd.upstreams.service import Caller, Upstream
from gatewayd.upstreams.tool_headers import CALL, ToolHeaders


class ModernClients:
    """The modern clients of one service. Made by `open_modern_clients`."""

    def __init__(
        self, inner: Upstream, tickets: Tickets, ids: itertools.count[int], node: Node, nursery: trio.Nursery
    ) -> None:
        service = inner.service
        self._service = service
        self._nursery = nursery
        self._closed = False
        self._pool = SessionPool(inner, ids, nursery, node)
        self._tickets = tickets
        self._parking = Parking(tickets, service.name, inner.usage, node)
        self._tools = ToolHeaders(service.name, service.timeouts.connect, service.max.response)
        nursery.start_soon(self._parking.run)

    async def request(self, message: Request, name: str | None, caller: Caller) -> Answer:
        """The answer to a checked modern request under our id, in modern messages; see `Upstream.request` for `name`.

        Raises `UpstreamError`; `RpcError` for what cannot be bridged, for `Mcp-Param-*` that disagree with the
        arguments, and for a `requestState` that is not one of ours, not this caller's or used up.
        """
        request = read_request(message)
        if request.method == DISCOVER:
            return await self._discover(request, caller)
        if request.method == LISTEN:
            return await self._listen(request, caller)
        if request.method not in BOTH:
            raise RpcError(METHOD_NOT_FOUND, "Method not found", status=404)
        if request.method in MAY_ASK and REQUEST_STATE in request.params:
            return await self._resume(request, name, caller)
        return await self._begin(request, name, caller)

    def statistics(self) -> dict[str, object]:
        """How many sessions are open, and how many calls wait for clients."""
        return {"pooled": len(self._pool), "parked": len(self._parking)}

    def close(self) -> None:
        """Nothing is told upstream in the background any more: the sessions end."""
        self._closed = True

    async def _lease(self, request: ClientRequest, caller: Caller) -> Lease:
        return await self._pool.lease(caller.key, bridgeable(request.capabilities), caller.session)

    async def _discover(self, request: ClientRequest, caller: Caller) -> Answer:
        lease = await self._lease(request, caller)
        try:
            stream = await lease.session.has_stream()
            return Immediate(Result(request.id, discovery(lease.session.greeting, stream=stream)))
        finally:
            lease.release()

    async def _begin(self, request: ClientRequest, name: str | None, caller: Caller) -> Answer:
        """Make a call."""
        lease = await self._lease(request, caller)
        live = LiveCall(lease, request.id, request.method)
        try:
            await self._check_headers(request, name, caller, lease.session)
            if request.log_level is not None:
                await lease.session.want_logs(request.log_level)
            await live.send(lowered(request, lease.session.greeting.version))
        except BaseException:
            await live.aclose()
            raise
        return CallAnswer(live, request, caller.key, self._parking)

    async def _resume(self, request: ClientRequest, name: str | None, caller: Caller) -> Answer:
        """Go on with a call that was parked, be it with a service that this one replaces.

        Nothing is used up by a retry that is malformed.
        """
        parked = self._tickets.find(caller.key, self._service.name, request)
        if parked.live is None:
            return await self._again(request, parked, name, caller)
        live = parked.live
        await self._check_headers(request, name, caller, live.session)
        parked = self._tickets.find(caller.key, self._service.name, request)  # somebody else may have been quicker
        given = read_responses(request)
        answered = [key for key in parked.questions if key in given]
        version = live.session.greeting.version
        replies = [answer(parked.questions[key], given[key], version) for key in answered]
        parked.parking.take(parked)
        for key in answered:
            live.questions.pop(key, None)
        live.replies.extend(replies)
        resumed = CallAnswer(live, request, caller.key, parked.parking)
        try:
            if request.log_level is not None:
                await live.session.want_logs(request.log_level)
            await live.reply()
        except BaseException:
            await resumed.aclose()
            raise
        return resumed

    async def _again(self, request: ClientRequest, parked: Parked, name: str | None, caller: Caller) -> Answer:
        """Make a call again that failed because the user had to visit some URLs, once the client has been there.

        What the user did there is between the user and the service, so the answers themselves go nowhere.
        """
        given = read_responses(request)
        parked.parking.take(parked)
        if parked.questions.keys() <= given.keys():
            return await self._begin(request, name, caller)
        lease = await self._lease(request, caller)
        greeting = lease.session.greeting
        lease.release()
        return Immediate(ask_again(self._parking, caller.key, request, parked.questions, greeting))

    async def _check_headers(
        self, request: ClientRequest, name: str | None, caller: Caller, session: PooledSession
    ) -> None:
        """The gateway is the HTTP server of modern clients: legacy servers know nothing of `Mcp-Param-*`."""
        if request.method == CALL and name is not None:
            await self._tools.check(lowered(request, session.greeting.version), name, caller.fields, Lister(session))

    async def _listen(self, request: ClientRequest, caller: Caller) -> Answer:
        wanted = read_filter(request)
        lease = await self._lease(request, caller)
        session, uris = lease.session, list[str]()
        try:
            lists: tuple[str, ...] = ()
            if await session.has_stream():
                lists = tuple(name for name in wanted.lists if session.greeting.offers(name, "listChanged"))
                if session.greeting.offers("resources", "subscribe"):
                    await self._subscribe(session, wanted.uris, uris)
        except BaseException:
            self._part(lease, uris)
            raise

        def part(listener: ListenAnswer) -> None:
            session.listeners.discard(listener)
            self._part(lease, uris)

        listener = ListenAnswer(request.id, Filter(lists, tuple(uris)), part)
        session.listeners.add(listener)
        return listener

    async def _subscribe(self, session: PooledSession, wanted: tuple[str, ...], done: list[str]) -> None:
        """Subscribe to what the time allows."""
        with trio.move_on_after(self._service.timeouts.call):
            for uri in wanted:
                if await session.subscribe(uri):
                    done.append(uri)

    def _part(self, lease: Lease, uris: list[str]) -> None:
        """Give the session back, in the background where there is something to be taken back."""
        if uris and not self._closed:
            self._nursery.start_soon(self._unsubscribe, lease, uris)
        else:
            lease.release()

    async def _unsubscribe(self, lease: Lease, uris: list[str]) -> None:
        try:
            with trio.move_on_after(self._service.timeouts.call):
                for uri in uris:
                    await lease.session.unsubscribe(uri)
        finally:
            lease.release()


class Lister:
    """Lists tools over a pooled session, in the gateway's own name."""

    def __init__(self, session: PooledSession) -> None:
        self._session = session

    async def request(self, message: Request) -> Answer:
        """The answer to `tools/list`. Raises `UpstreamError`."""
        params = members(message.params or b"{}")
        cursor = {name: raw for name, raw in params.items() if name == "cursor"}
        return Immediate(await self._session.ask(message.method, cursor))


@asynccontextmanager
async def open_modern_clients(
    inner: Upstream, tickets: Tickets, ids: itertools.count[int], node: Node
) -> AsyncGenerator[ModernClients]:
    """The modern clients of a service, which is `node` in the tree. No session is open yet.

    At the end of the block parked calls are given up and sessions are closed. Exceptions leave in a group.
    """
    async with trio.open_nursery() as nursery:
        clients = ModernClients(inner, tickets, ids, node, nursery)
        try:
            yield clients
        finally:
            clients.close()
            nursery.cancel_scope.cancel()
