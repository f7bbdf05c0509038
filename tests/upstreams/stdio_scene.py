"""A process that says what it is told to say, and the sessions around it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Message, Notification, Request, Result
from gatewayd.routes.table import Bounds
from gatewayd.upstreams.channel import Answer, Paused
from gatewayd.upstreams.entry import Lease
from gatewayd.upstreams.service import Caller
from gatewayd.upstreams.stdio import StdioConnection, open_stdio
from gatewayd.upstreams.stdio_session import Hub, StdioLegacyPeer
from tests.support.children import python

SAYING = """
import json, sys
heard = []
for line in sys.stdin:
    message = json.loads(line)
    heard.append({key: message.get(key) for key in ("id", "method", "error") if key in message})
    params = message.get("params") or {}
    if "error" in message:
        print('{"jsonrpc":"2.0","method":"notifications/message","params":{"n":404}}', flush=True)
    if message.get("method") == "report":
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"heard": heard}}), flush=True)
    for reply in params.get("say", []):
        sys.stdout.write(reply + chr(10))
    sys.stdout.flush()
    if params.get("end"):
        break
"""
"""Says what it is told to say, and on `report` what it has heard."""

NOTE = '{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}'
ASK = '{"jsonrpc":"2.0","id":"%s","method":"elicitation/create","params":{}}'
QUESTION = Request("q", "elicitation/create", b"{}")
RESULT = '{"jsonrpc":"2.0","id":%d,"result":{}}'
PING = '{"jsonrpc":"2.0","id":"%s","method":"ping"}'
ALICE, BOB, MIXED = Caller("alice"), Caller("bob"), Caller("alice", mixed=True)
REFUSED = {"id": "q", "error": {"code": METHOD_NOT_FOUND, "message": "no client is there to be asked"}}


@attrs.define(eq=False)
class Table:
    """A process, and the sessions around it."""

    connection: StdioConnection
    hub: Hub
    released: list[StdioLegacyPeer] = attrs.field(factory=list[StdioLegacyPeer])
    ids: int = 100

    def session(self, caller: Caller = ALICE) -> StdioLegacyPeer:
        peers: list[StdioLegacyPeer] = []
        lease = Lease(self.connection, b"{}", lambda: self.released.append(peers[0]))
        peers.append(StdioLegacyPeer(lease, self.hub, caller))
        return peers[0]

    async def say(self, *lines: str, end: bool = False) -> None:
        """Have the process say something that belongs to no request."""
        params = json.dumps({"say": lines, "end": end}).encode()
        await self.connection.send(Notification("say", params))

    async def call(self, peer: StdioLegacyPeer, *lines: str, method: str = "tools/call") -> Answer:
        """A request that stays open, and has the process say something."""
        self.ids += 1
        return await peer.request(Request(self.ids, method, json.dumps({"say": lines}).encode()))

    async def finish(self, call: Answer, ident: int) -> None:
        """Have the process answer a call."""
        await self.say(RESULT % ident)
        with trio.fail_after(10):
            while not isinstance(await call.receive(), Result):
                pass

    async def heard(self) -> list[dict[str, object]]:
        """What the process has heard so far."""
        self.ids += 1
        answer = await self.connection.request(Request(self.ids, "report"))
        with trio.fail_after(10):
            while not isinstance(message := await answer.receive(), Result):
                pass
        told: list[dict[str, object]] = json.loads(message.result)["heard"]
        return told

    async def refused(self, ident: str) -> None:
        """Wait until the process was told that nobody answers its question."""
        with trio.fail_after(10):
            while {**REFUSED, "id": ident} not in await self.heard():
                pass


@asynccontextmanager
async def open_table(script: str = SAYING, bounds: Bounds | None = None) -> AsyncIterator[Table]:
    async with open_stdio(python(script), name="x", bounds=bounds or Bounds()) as connection:
        hub = Hub(connection, 1_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.run)
            yield Table(connection, hub)
            nursery.cancel_scope.cancel()


async def stream(peer: StdioLegacyPeer) -> Answer:
    answer = await peer.listen()
    assert answer is not None
    return answer


async def receive(answer: Answer, count: int = 1) -> list[Message]:
    received: list[Message] = []
    with trio.fail_after(10):
        while len(received) < count:
            message = await answer.receive()
            assert message is not None
            assert not isinstance(message, Paused)
            received.append(message)
    return received


def notes(*numbers: int) -> list[Message]:
    return [Notification("notifications/message", b'{"n":%d}' % number) for number in numbers]


async def nothing_more(answer: Answer) -> None:
    with trio.move_on_after(0.1) as waited:
        await answer.receive()
    assert waited.cancelled_caught
