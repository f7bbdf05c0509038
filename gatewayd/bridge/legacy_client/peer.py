"""A legacy client with a session, over a service that has none: the gateway keeps it (MCP 2026-07-28, stateless)."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Protocol

import msgspec
import trio

from gatewayd.bridge.changes import LIST_CHANGED
from gatewayd.bridge.immediate import Immediate
from gatewayd.bridge.legacy_client.answer import Field, LegacyAnswer
from gatewayd.bridge.legacy_client.downgrade import downgraded_failure
from gatewayd.bridge.legacy_client.envelopes import (
    Client,
    client_of,
    initialize_result,
    level_of,
    modern_meta,
    promises,
)
from gatewayd.bridge.legacy_client.listening import Listening, Opener
from gatewayd.bridge.legacy_client.rounds import Rounds
from gatewayd.bridge.legacy_client.subscriptions import Subscriptions
from gatewayd.protocol.codes import INVALID_PARAMS, METHOD_NOT_FOUND, REFUSED
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result, RpcError
from gatewayd.protocol.jsontext import JsonError, encode_members, members, string
from gatewayd.protocol.versions import BOTH, DISCOVER, META, MODERN, NAMED
from gatewayd.routes.table import HttpTarget
from gatewayd.upstreams.channel import Answer, Refused, UpstreamBroke, UpstreamDied, UpstreamError, UpstreamTimedOut
from gatewayd.upstreams.service import Caller, Opened, Upstream
from gatewayd.upstreams.tool_headers import CALL, Asker, ToolHeaders


class CallFields(Protocol):
    """Makes the header fields of tool calls. `ToolHeaders` is one."""

    async def fields(
        self, tool: str, arguments: bytes | None, connection: Asker, *, relearn: bool = False
    ) -> tuple[Field, ...]:
        """See `ToolHeaders.fields`."""
        ...

    def expire(self) -> None:
        """See `ToolHeaders.expire`."""
        ...


class NoFields:
    """`CallFields` for a service that makes them itself, because it knows its tools."""

    async def fields(
        self, tool: str, arguments: bytes | None, connection: Asker, *, relearn: bool = False
    ) -> tuple[Field, ...]:
        """See `CallFields.fields`: none."""
        await trio.lowlevel.checkpoint()
        return ()

    def expire(self) -> None:
        """See `CallFields.expire`."""


class ModernPeer:
    """A `LegacyPeer` over a modern service: log level and subscriptions are kept here, and sent where they belong.

    `tools` is what is known of the service's tools; it may be shared by all sessions of the service.
    """

    def __init__(
        self,
        inner: Upstream,
        client: Client,
        caller: Caller,
        ids: itertools.count[int],
        wanted: Subscriptions,
        tools: CallFields,
    ) -> None:
        self.ids = ids
        self.level: str | None = None
        self._inner = inner
        self._client = client
        self._caller = Caller(caller.key, session=caller.session)
        self._tools = tools
        self._over_http = isinstance(inner.service.target, HttpTarget)
        self._running: set[LegacyAnswer] = set()
        self._wanted = wanted
        self._opener = Opener(inner, client, caller, ids)
        self._joining: set[str] = set()
        """Resources that somebody waits for the subscription of."""
        self._listener: Listening | None = None

    @property
    def session(self) -> str | None:
        """See `LegacyPeer.session`: the service knows of none."""
        return None

    async def request(self, message: Request) -> Answer:
        """See `LegacyPeer.request`."""
        try:
            if message.method in BOTH:
                return await self._carry(message)
            return Immediate(await self._answer(message))
        except JsonError as error:
            return Immediate(Failure(message.id, INVALID_PARAMS, f"Invalid params: {error.reason}"))

    async def send(self, message: Notification | Result | Failure) -> None:
        """See `LegacyPeer.send`. There is nobody to pass a notification on to."""
        await trio.lowlevel.checkpoint()
        if not isinstance(message, Notification):
            for answer in self._running:
                answer.take(message)

    async def listen(self) -> Answer | None:
        """See `LegacyPeer.listen`. What happens between two streams is told as a change at the next."""
        await trio.lowlevel.checkpoint()
        if not self._wanted.promises.any:
            return None
        before = self._listener
        self._listener = Listening(self._opener, self._wanted, self._noted, again=before is not None)
        if before is not None:
            await before.aclose()
        return self._listener

    async def aclose(self) -> None:
        """See `LegacyPeer.aclose`: the stream ends. Answers end with those who read them."""
        if self._listener is not None:
            await self._listener.aclose()

    async def fields(self, rounds: Rounds, *, relearn: bool) -> tuple[Field, ...]:
        """See `Sender.fields`."""
        if rounds.request.method != CALL:
            return ()
        asker = ToolsAsker(self._inner, self._caller, self.ids)
        tool, arguments = _name(rounds) or "", rounds.parts.get("arguments")
        return await self._tools.fields(tool, arguments, asker, relearn=relearn)

    async def submit(self, request: Request, rounds: Rounds, fields: tuple[Field, ...]) -> Answer:
        """See `Sender.submit`."""
        caller = msgspec.structs.replace(self._caller, fields=fields)
        return await self._inner.request(request, MODERN[0], _name(rounds), caller)

    async def _carry(self, message: Request) -> Answer:
        rounds = Rounds(message, members(message.params or b"{}"), self._client, strict_headers=self._over_http)
        if message.method in NAMED and _name(rounds) is None:
            raise JsonError(f'the string "{NAMED[message.method]}" is missing')
        answer = LegacyAnswer(rounds, self, self._running.discard)
        self._running.add(answer)
        try:
            await answer.begin()
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def _answer(self, message: Request) -> Result | Failure:
        """What the gateway answers itself. Raises `UpstreamError`, `JsonError`."""
        match message.method:
            case "ping":
                pass
            case "logging/setLevel":
                level = level_of(message)
                if level is None:
                    raise JsonError("there is no such log level")
                self.level = level
            case "resources/subscribe" if self._wanted.promises.updates:
                return await self._subscribe(message, _uri(message))
            case "resources/unsubscribe" if self._wanted.promises.updates:
                await self._unsubscribe(_uri(message))
            case _:
                return Failure(message.id, METHOD_NOT_FOUND, "Method not found")
        return Result(message.id, b"{}")

    async def _subscribe(self, message: Request, uri: str) -> Result | Failure:
        if uri not in self._wanted.uris:
            if not self._wanted.fits(uri):
                return Failure(message.id, REFUSED, "Too many subscriptions in this session")
            self._joining.add(uri)
            try:
                async with self._opener.lock:
                    if uri not in self._wanted.uris:
                        await self._extend()
            finally:
                self._joining.discard(uri)
        if uri in self._wanted.uris:
            return Result(message.id, b"{}")
        data = encode_members({"uri": members(message.params or b"{}")["uri"]})
        return Failure(message.id, INVALID_PARAMS, "Invalid params: the service offers no updates of it", data)

    async def _extend(self) -> None:
        """Subscribe to all that is waited for at once. To be called under the lock. Raises `UpstreamError`."""
        joining = frozenset(self._joining)
        params = self._wanted.params(self._wanted.uris | joining)
        assert params is not None
        try:
            subscription = await self._opener.open(params)
        except Refused as error:
            raise UpstreamBroke("the service refused to be listened to", f"code {error.failure.code}") from error
        self._wanted.uris |= joining & subscription.uris
        if self._listener is None or not joining & subscription.uris:
            await subscription.answer.aclose()
        else:
            await self._listener.replace(subscription.answer)

    async def _unsubscribe(self, uri: str) -> None:
        """Where the service cannot be told, its news of the resource are dropped."""
        if uri not in self._wanted.uris:
            await trio.lowlevel.checkpoint()
            return
        async with self._opener.lock:
            self._wanted.uris -= {uri}
            if self._listener is None or self._listener.closed:
                return
            params = self._wanted.params(self._wanted.uris)
            if params is None:
                await self._listener.replace(None)
                return
            with suppress(UpstreamError):
                await self._listener.replace((await self._opener.open(params)).answer)

    def _noted(self, message: Notification) -> None:
        if message.method == LIST_CHANGED["tools"]:
            self._tools.expire()


class ToolsAsker:
    """Lists tools for `ToolHeaders`, under ids that are unique in the process."""

    def __init__(self, inner: Upstream, caller: Caller, ids: itertools.count[int]) -> None:
        self._inner = inner
        self._caller = caller
        self._ids = ids

    async def request(self, message: Request) -> Answer:
        """See `Asker.request`."""
        request = Request(next(self._ids), message.method, message.params)
        return await self._inner.request(request, MODERN[0], None, self._caller)


async def open_modern_peer(
    inner: Upstream, message: Request, caller: Caller, ids: itertools.count[int], tools: CallFields | None = None
) -> Opened:
    """Answer `initialize`, of which the version is one of `LEGACY`, from what the service says of itself.

    `tools`: see `ModernPeer`; None: what is learned of them serves this session alone. Raises `UpstreamError`,
    `Refused` with the service's own error, `RpcError` where the client's capabilities cannot be read.
    """
    try:
        client = client_of(message)
    except JsonError as error:
        raise RpcError(INVALID_PARAMS, f"Invalid params: {error.reason}") from None
    params = encode_members({META: encode_members(modern_meta(client))})
    discovered = await _discover(inner, Request(next(ids), DISCOVER, params), caller)
    service = inner.service
    try:
        result = initialize_result(discovered, client, service.name)
        wanted = Subscriptions(promises(discovered))
    except JsonError as error:
        raise UpstreamBroke("the service describes itself in a way that nobody can read", error.reason) from None
    known = tools_of(inner) if tools is None else tools
    return Opened(ModernPeer(inner, client, caller, ids, wanted, known), client.version, result)


def tools_of(inner: Upstream) -> ToolHeaders:
    """What is known of a service's tools: nothing yet."""
    service = inner.service
    return ToolHeaders(service.name, service.timeouts.call / 2, service.max.response)


async def _discover(inner: Upstream, request: Request, caller: Caller) -> bytes:
    seconds = inner.service.timeouts.call
    with trio.move_on_after(seconds):
        answer = await inner.request(request, MODERN[0], None, caller)
        try:
            while (message := await answer.receive()) is not None:
                if isinstance(message, Result):
                    return message.result
                if isinstance(message, Failure):
                    raise Refused(downgraded_failure(DISCOVER, message))
        finally:
            await answer.aclose()
        raise UpstreamDied("the service ended its answer before it said anything of itself")
    raise UpstreamTimedOut(f"the service said nothing of itself within {seconds:g} seconds")


def _name(rounds: Rounds) -> str | None:
    """What the request is about, where requests of its kind are about something."""
    member = NAMED.get(rounds.request.method)
    return None if member is None else string(rounds.parts.get(member, b"null"))


def _uri(message: Request) -> str:
    uri = string(members(message.params or b"{}").get("uri", b"null"))
    if uri is None:
        raise JsonError('the string "uri" is missing')
    return uri
