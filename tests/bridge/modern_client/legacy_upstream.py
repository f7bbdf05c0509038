"""A service that speaks only revisions with sessions, without a transport: what modern clients are bridged to.

Requests are answered as `answers` says; what is not in there waits for the test, which drives it with `Asked`.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from gatewayd.auth.keychain import Keychain, fresh_key
from gatewayd.bridge.modern_client.clients import ModernClients, open_modern_clients
from gatewayd.bridge.modern_client.parking import Tickets
from gatewayd.observe.metrics import Processes
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Failure, Id, Message, Notification, Request, Result
from gatewayd.protocol.versions import LEGACY, META_CLIENT_CAPABILITIES, META_LOG_LEVEL, META_VERSION, MODERN
from gatewayd.routes.table import HttpTarget, Service, Sharing, Timeouts
from gatewayd.upstreams.channel import Answer, LegacyPeer, Paused, UpstreamDied, UpstreamError, WrongEra
from gatewayd.upstreams.service import Caller, Opened, Usage

ALICE, BOB = Caller("staff:alice"), Caller("staff:bob")
FORM: dict[str, Any] = {"elicitation": {}}
ALL: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
INFO = {"name": "old", "version": "1"}
CAPABILITIES: dict[str, Any] = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
    "tasks": {"list": {}},
}
Said = Message | Paused | UpstreamError | None
NO_TOOLS: dict[str, Any] = {"tools": []}


@attrs.define(eq=False)
class Asked:
    """A request that came to the service, or a stream that the gateway opened. An `Answer`, driven by the test."""

    message: Request
    peer: Peer
    closed: int = 0
    finished: bool = False
    _queue: deque[Said] = attrs.field(factory=deque[Said])
    _some: trio.Event = attrs.field(factory=trio.Event)

    @property
    def abandoned(self) -> bool:
        """Whether the gateway gave it up before it was answered."""
        return self.closed > 0 and not self.finished

    def say(self, *messages: Said) -> None:
        self._queue.extend(messages)
        self._some.set()

    def finish(self, result: object = None, code: int | None = None, data: object = None) -> None:
        """Answer with a result, or with an error."""
        if code is None:
            self.say(Result(self.message.id, dumped({"content": []} if result is None else result)))
        else:
            self.say(Failure(self.message.id, code, "no", None if data is None else dumped(data)))

    async def receive(self) -> Message | Paused | None:
        await trio.lowlevel.checkpoint()
        while not self._queue:
            self._some = trio.Event()
            await self._some.wait()
        message = self._queue.popleft()
        if isinstance(message, UpstreamError):
            raise message
        self.finished = self.finished or message is None or isinstance(message, Result | Failure)
        return message

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint_if_cancelled()


@attrs.define(eq=False)
class Peer:
    """One session. A `LegacyPeer`."""

    upstream: Upstream
    initialize: Request
    caller: Caller
    closed: int = 0
    sent: list[Notification | Result | Failure] = attrs.field(factory=list[Notification | Result | Failure])
    asked: list[Asked] = attrs.field(factory=list[Asked])
    streams: list[Asked] = attrs.field(factory=list[Asked])
    fail_send: UpstreamError | None = None

    @property
    def session(self) -> str | None:
        return None

    async def request(self, message: Request) -> Answer:
        await trio.lowlevel.checkpoint()
        asked = Asked(message, self)
        self.asked.append(asked)
        canned = self.upstream.answers.get(message.method, NO_TOOLS if message.method == "tools/list" else None)
        if isinstance(canned, UpstreamError):
            asked.say(canned)
        elif isinstance(canned, int):
            asked.finish(code=canned)
        elif canned is not None:
            asked.finish(canned)
        else:
            self.upstream.waiting.append(asked)
        self.upstream.noticed()
        return asked

    async def send(self, message: Notification | Result | Failure) -> None:
        await trio.lowlevel.checkpoint()
        if self.fail_send is not None and not isinstance(message, Notification):
            raise self.fail_send
        self.sent.append(message)
        self.upstream.noticed()

    async def listen(self) -> Answer | None:
        await trio.lowlevel.checkpoint()
        if self.upstream.listening == "never":
            await trio.sleep_forever()
        if self.upstream.listening == "no":
            return None
        if self.upstream.listening == "fails":
            raise UpstreamDied("no stream now")
        self.streams.append(Asked(Request(0, "GET"), self))
        self.upstream.noticed()
        return self.streams[-1]

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint_if_cancelled()

    def methods(self) -> list[str]:
        return [asked.message.method for asked in self.asked]

    def replies(self) -> list[Result | Failure]:
        """What the gateway answered to questions."""
        return [message for message in self.sent if not isinstance(message, Notification)]


@attrs.define(eq=False)
class Upstream:
    """The service. An `Upstream`."""

    service: Service
    usage: Usage = attrs.field(factory=Usage)
    version: str = LEGACY[0]
    capabilities: dict[str, Any] = attrs.field(factory=lambda: dict(CAPABILITIES))
    greeting: dict[str, Any] = attrs.field(factory=lambda: {"serverInfo": INFO, "instructions": "Be kind."})
    answers: dict[str, object] = attrs.field(factory=dict[str, object])
    """By method: the result, the code of an error, or an exception. What is None or not here waits for the test."""
    listening: str = "yes"
    refusal: UpstreamError | None = None
    """What opening a session fails with."""
    opening: float = 0.0
    """Seconds that opening a session takes."""
    peers: list[Peer] = attrs.field(factory=list[Peer])
    waiting: deque[Asked] = attrs.field(factory=deque[Asked])
    _notice: trio.Event = attrs.field(factory=trio.Event)

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        raise WrongEra("no modern revision", LEGACY)

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        await trio.lowlevel.checkpoint()
        await trio.sleep(self.opening)
        if self.refusal is not None:
            raise self.refusal
        peer = Peer(self, message, caller)
        self.peers.append(peer)
        result = {"protocolVersion": self.version, "capabilities": self.capabilities, **self.greeting}
        return Opened(peer, self.version, dumped(result))

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        return None

    def processes(self) -> Processes:
        return Processes()

    def statistics(self) -> dict[str, object]:
        return {}

    def noticed(self) -> None:
        self._notice.set()

    async def until(self, happened: Any) -> None:
        """Wait until a condition holds that changes with what the gateway does."""
        with trio.fail_after(5000):
            while not happened():
                self._notice = trio.Event()
                await self._notice.wait()

    async def next(self, method: str = "tools/call") -> Asked:
        """The next request that waits for the test."""
        await self.until(lambda: self.waiting)
        asked = self.waiting.popleft()
        assert asked.message.method == method
        return asked

    async def stream(self, number: int = 1) -> Asked:
        """The first session's own stream, the `number`th time that it was opened."""
        await self.until(lambda: self.peers and len(self.peers[0].streams) >= number)
        return self.peers[0].streams[number - 1]

    def assert_rest(self, *, sessions: bool = True) -> None:
        """Nothing is open any more: answers and streams, and with `sessions` those, too."""
        for peer in self.peers:
            assert all(asked.closed for asked in peer.asked), peer.methods()
            if sessions:
                assert peer.closed
                assert all(stream.closed for stream in peer.streams)


@attrs.define(eq=False)
class House:
    """Modern clients in front of the service."""

    upstream: Upstream
    clients: ModernClients
    ids: itertools.count[int]
    node: Node

    async def ask(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        caller: Caller = ALICE,
        capabilities: dict[str, Any] | None = None,
        **meta: Any,
    ) -> Answer:
        """The answer to a request of a modern client, as the exchange asks for it."""
        ident = next(self.ids)
        request = modern(ident, method, params, capabilities or {}, **meta)
        named = (params or {}).get("name", (params or {}).get("uri"))
        return await self.clients.request(request, named, caller)

    async def final(self, method: str, params: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """The final message of the answer, as JSON; nothing may precede it."""
        answer = await self.ask(method, params, **more)
        try:
            return await final(answer)
        finally:
            await answer.aclose()


@asynccontextmanager
async def open_house(
    *, per: Sharing = "principal", timeouts: Timeouts | None = None, tickets: Tickets | None = None, **how: Any
) -> AsyncIterator[House]:
    """Modern clients of a legacy service; when they are gone nothing must be left."""
    target = HttpTarget("http://web/mcp", "http", "web", 80, "/mcp")
    upstream = Upstream(Service("web", target, timeouts or Timeouts(), per=per), **how)
    ids = itertools.count(1)
    with Node("service", parent=None, now=trio.current_time()) as node:
        async with open_modern_clients(upstream, tickets or new_tickets(), ids, node) as clients:
            yield House(upstream, clients, ids, node)
    assert node.count() == {"service": 1}
    assert clients.statistics() == {"pooled": 0, "parked": 0}
    upstream.assert_rest()


def new_tickets() -> Tickets:
    """Those of a process of its own."""
    return Tickets(Keychain([fresh_key()]))


def modern(
    ident: int, method: str, params: dict[str, Any] | None = None, capabilities: object = None, **meta: Any
) -> Request:
    """A request as the exchange hands it on. `log` and `token` are members of `_meta`."""
    about: dict[str, Any] = {META_VERSION: MODERN[0], META_CLIENT_CAPABILITIES: capabilities or {}}
    if "log" in meta:
        about[META_LOG_LEVEL] = meta.pop("log")
    if meta.pop("token", False):
        about["progressToken"] = ident
    return Request(ident, method, dumped({**(params or {}), "_meta": {**about, **meta}}))


async def final(answer: Answer) -> dict[str, Any]:
    """The next message, which must be the last one."""
    message = await receive(answer)
    assert isinstance(message, Result | Failure)
    if isinstance(message, Result):
        return loaded(message.result)
    return {"code": message.code, "data": None if message.data is None else json.loads(message.data)}


async def receive(answer: Answer) -> Message:
    with trio.fail_after(5000):
        message = await answer.receive()
    assert isinstance(message, Request | Notification | Result | Failure)
    return message


def elicit(ident: Id = "q", **params: Any) -> Request:
    """A question of the service."""
    asked = {"message": "Well?", "requestedSchema": {"type": "object"}, **params}
    return Request(ident, "elicitation/create", dumped(asked))


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def loaded(raw: bytes | None) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(raw or b"{}")
    return value
