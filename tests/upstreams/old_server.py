"""A server of the HTTP+SSE transport (MCP 2024-11-05), of which every byte is written in the test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from gatewayd.protocol.eventstream import encode_event
from gatewayd.upstreams.http import HttpUpstream
from tests.support.counting_http import Incoming, Lost
from tests.upstreams.origin import ACCEPTED, LAST_CHUNK, SSE_HEAD, Origin, Visit, open_upstream, reply

Json = dict[str, Any]
NO_POST = reply(b"", 405, "text/plain")


def named(name: str, data: bytes) -> bytes:
    """An event with a name, as one chunk."""
    text = encode_event(data, event=name)
    return b"%x\r\n%b\r\n" % (len(text), text)


@attrs.define(eq=False)
class OldServer:
    """The server. What it does with a message is in the hands of the test: see `react`."""

    opening: bytes = SSE_HEAD + named("endpoint", b"/messages?session=1")
    """What a stream begins with."""
    refusal: bytes = NO_POST
    """What a POST to the URL of the service gets."""
    acknowledgement: bytes = ACCEPTED
    heard: list[Json] = attrs.field(factory=list[Json])
    """Messages that were sent to the endpoint."""
    streams: list[Visit] = attrs.field(factory=list[Visit])
    """Those that are open, the newest last."""
    posts: int = 0
    """To the URL of the service."""
    react: Callable[[Json], Awaitable[None]] | None = None
    """What happens after a message was acknowledged, instead of an answer."""
    first: bool = False
    """Whether that happens before the acknowledgement."""
    deaf: trio.Event | None = None
    """Requests on new connections are not read before."""
    mute: bool = False
    """Whether `initialize` is not answered."""
    error: Json | None = None
    """What `initialize` is refused with."""
    version: str = "2024-11-05"

    async def script(self, visit: Visit) -> None:
        """See `origin.Script`."""
        if self.deaf is not None:
            await self.deaf.wait()
        while True:
            request = await visit.hear()
            if request.verb == "GET":
                await self._stream(visit)
                raise Lost
            if request.path == "/mcp":
                self.posts += 1
                await visit.say(self.refusal)
            else:
                await self._take(visit, request)

    async def say(self, message: Json, name: str = "message") -> None:
        """Say something on the newest stream."""
        await self.streams[-1].say(named(name, json.dumps({"jsonrpc": "2.0", **message}).encode()))

    async def answer(self, message: Json, **result: object) -> None:
        """Answer a request."""
        await self.say({"id": message["id"], "result": result})

    async def wait_heard(self, method: str | None, times: int = 1) -> Json:
        """Wait until so many messages of a method were sent; returns the last one. None: answers to questions."""
        with trio.fail_after(10):
            while len(found := [message for message in self.heard if message.get("method") == method]) < times:
                await trio.sleep(0.001)
        return found[-1]

    async def _stream(self, visit: Visit) -> None:
        self.streams.append(visit)
        try:
            await visit.say(self.opening)
            if not self.opening.endswith(LAST_CHUNK):
                await visit.gone()
        finally:
            self.streams.remove(visit)

    async def _take(self, visit: Visit, request: Incoming) -> None:
        assert request.path == "/messages?session=1"
        message: Json = json.loads(request.body)
        self.heard.append(message)
        if not self.first and self.acknowledgement:
            await visit.say(self.acknowledgement)
        await self._react(message)
        if self.first and self.acknowledgement:
            await visit.say(self.acknowledgement)

    async def _react(self, message: Json) -> None:
        if message.get("method") == "initialize":
            if self.error is not None:
                await self.say({"id": message["id"], "error": self.error})
            elif not self.mute:
                await self.answer(message, protocolVersion=self.version, capabilities={})
        elif self.react is not None:
            await self.react(message)
        elif "id" in message and "method" in message:
            await self.answer(message, method=message["method"])


@asynccontextmanager
async def open_old(
    server: OldServer, *, connect: float = 5.0, limit: int = 10_000
) -> AsyncIterator[tuple[HttpUpstream, Origin]]:
    """A service in front of it. In the end nothing may be open."""
    async with open_upstream(server.script, connect=connect, limit=limit) as (upstream, origin):
        yield upstream, origin
