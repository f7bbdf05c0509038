"""Sessions with an `old_server`."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Message, Notification, Request, Result
from gatewayd.upstreams.channel import (
    Answer,
    LegacyPeer,
)
from gatewayd.upstreams.http import HttpUpstream
from gatewayd.upstreams.service import Caller
from tests.upstreams.old_server import Json, OldServer, open_old
from tests.upstreams.origin import (
    Origin,
    messages,
)

ALICE = Caller("staff:alice", ((b"x-request-id", b"abc"),))
MIXED = Caller("staff:alice", mixed=True)
IDS = itertools.count(1)
NOTE: Json = {"method": "notifications/tools/list_changed", "params": {}}
LOG: Json = {"method": "notifications/message", "params": {"data": 1}}
QUESTION: Json = {"id": "q", "method": "roots/list", "params": {}}
LISTED = Notification("notifications/tools/list_changed", b"{}")
ASKED = Request("q", "roots/list", b"{}")
REFUSED = {"code": METHOD_NOT_FOUND, "message": "no client is there to be asked"}


def initialize() -> Request:
    return Request(next(IDS), "initialize", b'{"protocolVersion":"2025-11-25","capabilities":{}}')


@asynccontextmanager
async def session(
    server: OldServer, caller: Caller = ALICE, *, connect: float = 5.0, limit: int = 10_000
) -> AsyncIterator[tuple[LegacyPeer, HttpUpstream, Origin]]:
    """A session with the server; nothing is left of it in the end."""
    async with open_old(server, connect=connect, limit=limit) as (upstream, origin):
        peer = (await upstream.open_legacy(initialize(), caller)).peer
        yield peer, upstream, origin
        await peer.aclose()
        assert upstream.pool.open == upstream.pool.idle


async def call(peer: LegacyPeer, method: str = "tools/call") -> tuple[int, Answer]:
    ident = next(IDS)
    return ident, await peer.request(Request(ident, method))


async def ask(peer: LegacyPeer) -> Message:
    ident, answer = await call(peer)
    message = (await messages(answer))[-1]  # questions may come with it
    assert isinstance(message, Result)
    assert message.id == ident
    return message


async def silence(_: Json) -> None:
    await trio.lowlevel.checkpoint()
