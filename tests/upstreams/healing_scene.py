"""A session that is lost, and the service that opens it again: parties from outside, as their contracts have them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs
import trio
import trio.testing

from gatewayd.observe.metrics import Processes
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result
from gatewayd.routes.table import HttpTarget, Service, Timeouts
from gatewayd.upstreams.channel import (
    Answer,
    LegacyPeer,
    Paused,
    SessionLost,
    UpstreamError,
)
from gatewayd.upstreams.healing import HealingPeer
from gatewayd.upstreams.service import Caller, Opened, Usage

CALL_TIMEOUT = 60.0
SERVICE = Service("web", HttpTarget("http://web/mcp", "http", "web", 80, "/mcp"), Timeouts(call=CALL_TIMEOUT))
INITIALIZE = b'{"protocolVersion":"2025-11-25"}'
CALL = Request(100, "tools/call", b'{"name":"a"}')
DONE = Result(100, b'{"n":1}')
CALLER = Caller("alice")

Line = Message | Paused | UpstreamError
Script = Callable[["Peer", Request], list[Line]]


def agree(peer: Peer, message: Request) -> list[Line]:
    return [Result(message.id, b"{}")]


@attrs.define(eq=False)
class Answered:
    """What an upstream says to one request: messages, and how it fails. Then it is silent."""

    peer: Peer
    lines: list[Line]
    closed: int = 0
    silence: trio.Event = attrs.field(factory=trio.Event)

    async def receive(self) -> Message | Paused | None:
        await trio.lowlevel.checkpoint()
        if not self.lines:
            await self.silence.wait()
            return None
        line = self.lines.pop(0)
        if isinstance(line, UpstreamError):
            raise line
        return line

    async def aclose(self) -> None:
        self.closed += 1
        self.peer.open_answers.discard(self)
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Peer:
    """One session of an upstream, which may forget it.

    `refuses`: what the next requests, messages and streams fail with, by method.
    """

    name: str
    script: Script = agree
    lost: bool = False
    refuses: dict[str, UpstreamError] = attrs.field(factory=dict[str, UpstreamError])
    heard: list[Message] = attrs.field(factory=list[Message])
    open_answers: set[Answered] = attrs.field(factory=set[Answered])
    closed: bool = False
    slow: float = 0.0

    @property
    def session(self) -> str | None:
        return self.name

    @property
    def methods(self) -> list[str]:
        return [message.method for message in self.heard if isinstance(message, Request | Notification)]

    async def request(self, message: Request) -> Answer:
        await self._hear(message.method)
        self.heard.append(message)
        await trio.sleep(self.slow)
        answer = Answered(self, self.script(self, message))
        self.open_answers.add(answer)
        return answer

    async def send(self, message: Notification | Result | Failure) -> None:
        await self._hear(message.method if isinstance(message, Notification) else "answer")
        self.heard.append(message)

    async def listen(self) -> Answer | None:
        await self._hear("listen")
        answer = Answered(self, [Notification(f"said by {self.name}")])
        self.open_answers.add(answer)
        return answer

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()

    async def _hear(self, method: str) -> None:
        await trio.lowlevel.checkpoint()
        if method in self.refuses:
            raise self.refuses[method]
        if self.lost or self.closed:
            raise SessionLost("no such session")


@attrs.define(eq=False)
class Upstream:
    """A service that opens sessions: as `prepared`, or plain ones."""

    prepared: list[Peer | UpstreamError] = attrs.field(factory=list[Peer | UpstreamError])
    slow: float = 0.0
    usage: Usage = attrs.field(factory=Usage)
    service: Service = SERVICE
    peers: list[Peer] = attrs.field(factory=list[Peer])
    asked: list[tuple[Request, Caller]] = attrs.field(factory=list[tuple[Request, Caller]])

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        self.asked.append((message, caller))
        await trio.sleep(self.slow)
        peer = self.prepared.pop(0) if self.prepared else Peer(f"again-{len(self.peers)}")
        if isinstance(peer, UpstreamError):
            raise peer
        self.peers.append(peer)
        return Opened(peer, "2025-11-25", b"{}")

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        raise NotImplementedError

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        raise NotImplementedError

    def processes(self) -> Processes:
        return Processes()

    def statistics(self) -> dict[str, object]:
        return {}

    def assert_nothing_is_left(self) -> None:
        """Every session was ended, and every answer given back."""
        assert [peer.name for peer in self.peers if not peer.closed] == []
        assert [peer.name for peer in self.peers if peer.open_answers] == []


@attrs.define(eq=False)
class Scene:
    """A healing peer, and the session that it begins with, which was opened for its client."""

    upstream: Upstream
    first: Peer
    peer: HealingPeer

    @property
    def second(self) -> Peer:
        """The session that was opened in its place."""
        assert self.upstream.peers[0] is self.first
        return self.upstream.peers[1]


def scene(script: Script = agree, prepared: list[Peer | UpstreamError] | None = None) -> Scene:
    first = Peer("first", script)
    upstream = Upstream([] if prepared is None else prepared, peers=[first])
    return Scene(upstream, first, new_peer(upstream, first))


def new_peer(upstream: Upstream, first: Peer | None) -> HealingPeer:
    return HealingPeer(upstream, Request(0, "initialize", INITIALIZE), CALLER, itertools.count(1), first)


def losing(peer: Peer, message: Request) -> list[Line]:
    """A session that is lost when the request comes, which shows in the answer."""
    peer.lost = True
    return [SessionLost("no such session")]


async def final(answer: Answer) -> Message | Paused | None:
    """The last message of an answer, which is closed."""
    try:
        while (message := await answer.receive()) is not None:
            if isinstance(message, Result | Failure):
                return message
        return None
    finally:
        await answer.aclose()


async def ask(peer: HealingPeer, message: Request = CALL) -> Message | Paused | None:
    return await final(await peer.request(message))


async def say(peer: HealingPeer, method: str, uri: str | None = None) -> Message | Paused | None:
    return await ask(peer, Request(7, method, None if uri is None else b'{"uri":"%b"}' % uri.encode()))
