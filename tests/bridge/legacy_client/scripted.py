"""A modern service that says what a test tells it to: an external party, seen through its `Upstream`."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result
from gatewayd.routes.table import HttpTarget, Service, Timeouts
from gatewayd.upstreams.channel import Answer, Paused, UpstreamError
from gatewayd.upstreams.service import Caller, Usage
from tests.support.stateless import Stateless

SERVICE = Service("web", HttpTarget("http://web/mcp", "http", "web", 80, "/mcp"), Timeouts(call=10.0))


class Told:
    """One request that the service got, and its answer: an `Answer` that the test writes."""

    def __init__(self, request: Request, name: str | None, caller: Caller, version: str) -> None:
        self.request = request
        self.name = name
        self.caller = caller
        self.version = version
        self.closed = False
        self._said: deque[Message | Paused | UpstreamError | None] = deque()
        self._news = trio.Event()

    @property
    def params(self) -> Any:
        return json.loads(self.request.params or b"{}")

    @property
    def meta(self) -> Any:
        return self.params["_meta"]

    def say(self, *messages: Message | Paused | UpstreamError | None) -> None:
        """None is the end, an error breaks it off."""
        self._said.extend(messages)
        self._news.set()

    def result(self, **members: Any) -> None:
        self.say(Result(self.request.id, json.dumps({"resultType": "complete", **members}).encode()))

    def fail(self, code: int, message: str = "why", data: Any = None) -> None:
        raw = None if data is None else json.dumps(data).encode()
        self.say(Failure(self.request.id, code, message, raw))

    def notify(self, method: str, **params: Any) -> None:
        self.say(Notification(method, json.dumps(params).encode()))

    async def receive(self) -> Message | Paused | None:
        assert not self.closed
        while not self._said:
            self._news = trio.Event()
            await self._news.wait()
        await trio.lowlevel.checkpoint_if_cancelled()
        said = self._said.popleft()
        if isinstance(said, UpstreamError):
            raise said
        return said

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


Script = Callable[[Told], None]


@attrs.define(eq=False)
class Scripted(Stateless):
    """The service. `scripts` by method say what is answered at once; without one the test answers later, or never."""

    service: Service = SERVICE
    usage: Usage = attrs.field(factory=Usage)
    told: list[Told] = attrs.field(factory=list[Told])
    scripts: dict[str, Script] = attrs.field(factory=dict[str, Script])
    sending: float = 0.0
    """Seconds that taking a request needs."""
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        await trio.sleep(self.sending)
        told = Told(message, name, caller, version)
        script = self.scripts.get(message.method)
        if script is not None:
            script(told)
        self.told.append(told)
        self._news.set()
        return told

    def of(self, method: str) -> list[Told]:
        return [told for told in self.told if told.request.method == method]

    async def wait(self, method: str, number: int = 1) -> Told:
        """The request of that method and number, once it is there."""
        with trio.fail_after(60):
            while len(self.of(method)) < number:
                self._news = trio.Event()
                await self._news.wait()
        return self.of(method)[number - 1]

    @property
    def open(self) -> list[Told]:
        return [told for told in self.told if not told.closed]


IDS = itertools.count(1000)


def request(method: str, **params: Any) -> Request:
    """A request as the exchange sends it on."""
    return Request(next(IDS), method, json.dumps(params).encode())


def told_of(message: Message | Paused | None) -> Any:
    """What is in a message."""
    match message:
        case Request(params=raw) | Notification(params=raw):
            return json.loads(raw or b"{}")
        case Result(result=raw):
            return json.loads(raw)
        case Failure(code=code):
            return code
        case _:
            raise AssertionError(message)
