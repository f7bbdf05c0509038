"""A virtual server over services that say what a test has them say, and a client of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from gatewayd.auth.keychain import Keychain
from gatewayd.catalog.catalogs import Catalogs, open_catalogs
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, RpcError
from gatewayd.protocol.versions import NAMED
from gatewayd.routes.lock import Pins
from gatewayd.routes.table import Members, Service, Timeouts
from gatewayd.routes.virtual import Member, Virtual
from gatewayd.upstreams.channel import Answer, LegacyPeer, Paused
from gatewayd.upstreams.service import Caller
from gatewayd.virtual.roster import Roster, Seat
from gatewayd.virtual.server import VirtualServer, open_virtual_server
from tests.catalog.scene import Fake, Json

PREFIX = "io.modelcontextprotocol/"
ALICE = Caller("alice")
BOB = Caller("bob")
PATIENCE = 3.0
KEYCHAIN = Keychain([b"k" * 32])
ROUTE = Service("/all", Members(()), Timeouts(call=30.0))
INVALID = -32602


def sent(ident: int, method: str, params: Json, capabilities: Json | None = None) -> Request:
    """A modern request as the exchange sends it on."""
    meta = {
        PREFIX + "protocolVersion": "2026-07-28",
        PREFIX + "clientInfo": {"name": "test", "version": "1"},
        PREFIX + "clientCapabilities": capabilities or {},
    }
    return Request(ident, method, json.dumps({**params, "_meta": meta}).encode())


def told(message: Message | Paused | None) -> Any:
    """What is in a message."""
    match message:
        case Request(params=raw) | Notification(params=raw):
            return json.loads(raw or b"{}")
        case Result(result=raw):
            return json.loads(raw)
        case _:
            raise AssertionError(message)


@attrs.define(eq=False)
class Scene:
    """A virtual server, as its clients see it."""

    server: VirtualServer
    fakes: dict[str, Fake]
    catalogs: dict[str, Catalogs]
    nodes: dict[str, Node]
    retired: dict[str, trio.Event]
    ids: itertools.count[int]
    pins: Pins

    async def request(
        self, method: str, caller: Caller = ALICE, *, capabilities: Json | None = None, **params: Any
    ) -> Answer:
        """Send a request; the answer is the caller's to close."""
        name = params.get(NAMED[method]) if method in NAMED else None
        return await self.server.request(sent(next(self.ids), method, params, capabilities), "2026-07-28", name, caller)

    async def message(self, method: str, caller: Caller = ALICE, **params: Any) -> Message | Paused | None:
        """The first message of the answer."""
        with trio.fail_after(1000):
            answer = await self.request(method, caller, **params)
            try:
                return await answer.receive()
            finally:
                await answer.aclose()

    async def ask(self, method: str, caller: Caller = ALICE, **params: Any) -> Any:
        """The result."""
        return told(await self.message(method, caller, **params))

    async def refused(self, method: str, caller: Caller = ALICE, **params: Any) -> RpcError | Failure:
        """The error."""
        try:
            message = await self.message(method, caller, **params)
        except RpcError as error:
            return error
        assert isinstance(message, Failure)
        return message

    async def tools(self, caller: Caller = ALICE) -> list[str]:
        """Names of the first page."""
        return [one["name"] for one in (await self.ask("tools/list", caller))["tools"]]

    async def uris(self, caller: Caller = ALICE) -> list[str]:
        """Of the resources on the first page."""
        return [one["uri"] for one in (await self.ask("resources/list", caller))["resources"]]

    async def call(self, name: str, caller: Caller = ALICE, **arguments: Any) -> str:
        """The text that a tool answers."""
        result = await self.ask("tools/call", caller, name=name, arguments=arguments)
        text: str = result["content"][0]["text"]
        return text

    def roster(self, virtual: Virtual, pins: Pins | None = None) -> Roster:
        """Other members, or the same ones in another way."""
        seats = [Seat(one, self.fakes[one.service], self.catalogs[one.service]) for one in virtual.members]
        return Roster(virtual, seats, self.pins if pins is None else pins)

    def use(self, virtual: Virtual, pins: Pins | None = None) -> None:
        """As a reload does."""
        self.server.use(ROUTE, self.roster(virtual, pins))

    async def retire(self, service: str) -> None:
        """Close a service, as the daemon does with one that is in no table any more."""
        self.catalogs[service].stop()
        self.retired[service].set()
        await trio.testing.wait_all_tasks_blocked()

    def watchers(self) -> int:
        """How many watch the catalogs that run."""
        every = [one for catalogs in self.catalogs.values() for one in catalogs._catalogs.values()]
        return sum(catalog.watchers for catalog in every)

    def calls_open(self) -> list[str]:
        """Methods of requests that members still work at, but for those of the gateway itself."""
        return [
            heard.request.method
            for fake in self.fakes.values()
            for heard in fake.open
            if heard.request.method != "subscriptions/listen"
            or "resourceSubscriptions" in heard.params["notifications"]
        ]

    def assert_at_rest(self) -> None:
        """Nothing is used, listened to or watched."""
        assert [fake.usage.count for fake in self.fakes.values()] == [0] * len(self.fakes)
        assert self.watchers() == 0
        assert self.server.statistics()["listening"] == 0
        assert not self.calls_open()


def virtual_of(*fakes: Fake, prefixed: bool = True, **changes: Any) -> Virtual:
    """All of these, with their names as prefixes."""
    members = tuple(Member(one.service.name, one.service.name if prefixed else "") for one in fakes)
    return attrs.evolve(Virtual(members, patience=PATIENCE), **changes)


@asynccontextmanager
async def open_scene(*fakes: Fake, virtual: Virtual | None = None, pins: Pins | None = None) -> AsyncIterator[Scene]:
    """Everything ends with the block."""
    ids, now = itertools.count(1), trio.current_time()
    by_name = {fake.service.name: fake for fake in fakes}
    nodes = {name: Node("service", name, parent=None, now=now) for name in by_name}
    retired = {name: trio.Event() for name in by_name}

    async def run(name: str, *, task_status: trio.TaskStatus[Catalogs]) -> None:
        async with open_catalogs(by_name[name], ids, nodes[name]) as opened:
            task_status.started(opened)
            await retired[name].wait()

    async with trio.open_nursery() as nursery:
        catalogs: dict[str, Catalogs] = {name: await nursery.start(run, name) for name in by_name}
        virtual = virtual_of(*fakes) if virtual is None else virtual
        seats = [Seat(one, by_name[one.service], catalogs[one.service]) for one in virtual.members]
        roster = Roster(virtual, seats, pins or {})
        async with open_virtual_server("/all", ROUTE, roster, KEYCHAIN, ids) as server:
            yield Scene(server, by_name, catalogs, nodes, retired, ids, pins or {})
        nursery.cancel_scope.cancel()
    for fake in fakes:
        assert not fake.open


class Stream:
    """A client that listens."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def next(self, seconds: float = 30.0) -> Any:
        """Method and params of what is told next, without `_meta`; None: nothing for so long."""
        with trio.move_on_after(seconds):
            message = await self.answer.receive()
            assert isinstance(message, Notification)
            params = told(message)
            params.pop("_meta", None)
            return message.method.removeprefix("notifications/"), params
        return None


@asynccontextmanager
async def listening(scene: Scene, *lists: str, uris: Any = None, caller: Caller = ALICE) -> AsyncIterator[Stream]:
    """Listen to lists and resources; the acknowledgement is to come first."""
    wanted: Json = {f"{name}ListChanged": True for name in lists}
    if uris is not None:
        wanted["resourceSubscriptions"] = uris
    answer = await scene.request("subscriptions/listen", caller, notifications=wanted)
    try:
        yield Stream(answer)
    finally:
        await answer.aclose()


INITIALIZE: Json = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}


async def open_session(scene: Scene) -> tuple[LegacyPeer, Any]:
    """A client with a session, and what it was told; the session is the caller's to close."""
    request = Request(next(scene.ids), "initialize", json.dumps(INITIALIZE).encode())
    agreed = await scene.server.open_legacy(request, ALICE)
    return agreed.peer, json.loads(agreed.result)


async def ask_session(scene: Scene, peer: LegacyPeer, method: str, **params: Any) -> Any:
    """The result that a client with a session gets."""
    answer = await peer.request(Request(next(scene.ids), method, json.dumps(params).encode()))
    try:
        message = await answer.receive()
        assert isinstance(message, Result), message
        return json.loads(message.result)
    finally:
        await answer.aclose()
