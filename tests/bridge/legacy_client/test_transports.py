"""The same over real connections: what the bridge sends is what modern services of both transports take."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from gatewayd.bridge.legacy_client.peer import ModernPeer, open_modern_peer
from gatewayd.protocol.jsonrpc import Notification, Request, Result
from gatewayd.routes.table import HttpTarget, Launch, Service, StdioTarget
from gatewayd.upstreams.channel import Answer
from gatewayd.upstreams.http import open_http_upstream
from gatewayd.upstreams.service import Caller, Upstream
from gatewayd.upstreams.stdio_service import open_stdio_upstream
from tests.bridge.legacy_client.scripted import told_of
from tests.support.counting_server import open_counting_server

pytestmark = pytest.mark.slow

CHANGED = Notification("notifications/tools/list_changed")


@asynccontextmanager
async def running(transport: str) -> AsyncIterator[Upstream]:
    if transport == "stdio":
        launch = Launch((sys.executable, "-m", "tests.support.counting_stdio", "--eras", "modern"))
        async with open_stdio_upstream(Service("files", StdioTarget(launch))) as upstream:
            yield upstream
    else:
        async with open_counting_server(eras="modern") as server:
            target = HttpTarget(f"http://127.0.0.1:{server.port}/mcp", "http", "127.0.0.1", server.port, "/mcp")
            async with open_http_upstream(Service("web", target)) as http:
                yield http


async def to_the_end(answer: Answer, peer: ModernPeer) -> list[Any]:
    """All that is said; what is asked is accepted."""
    said: list[Any] = []
    try:
        while (message := await answer.receive()) is not None:
            said.append(message)
            if isinstance(message, Request):
                await peer.send(Result(message.id, b'{"action":"accept","content":{"answer":"yes"}}'))
    finally:
        await answer.aclose()
    return said


@pytest.mark.parametrize("transport", ["http", "stdio"])
async def test_a_session_over_a_real_service(transport: str) -> None:
    with trio.fail_after(60):
        async with running(transport) as upstream:
            ids = itertools.count(1)
            params = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"elicitation": {}},
                "clientInfo": {"name": "c", "version": "1"},
            }
            message = Request(next(ids), "initialize", json.dumps(params).encode())
            opened = await open_modern_peer(upstream, message, Caller("alice"), ids)
            assert json.loads(opened.result)["capabilities"]["tools"] == {"listChanged": True}
            peer = opened.peer
            assert isinstance(peer, ModernPeer)

            async def call(tool: str, *, progress: bool = False, **arguments: Any) -> list[Any]:
                ident = next(ids)
                called = {"name": tool, "arguments": arguments, "_meta": {"progressToken": ident} if progress else {}}
                answer = await peer.request(Request(ident, "tools/call", json.dumps(called).encode()))
                said = await to_the_end(answer, peer)
                assert said[-1].id == ident
                return said

            listed = await to_the_end(await peer.request(Request(next(ids), "tools/list")), peer)
            assert told_of(listed[-1]).keys() == {"tools"}
            question, answer = await call("ask", message="Sure?")
            assert told_of(question)["message"] == "Sure?"
            assert json.loads(told_of(answer)["content"][0]["text"]) == {
                "action": "accept",
                "content": {"answer": "yes"},
            }
            assert [told_of(step).get("progress") for step in await call("progress", progress=True)] == [1, 2, 3, None]
            stream = await peer.listen()
            assert stream is not None
            async with trio.open_nursery() as nursery:

                async def listen() -> None:
                    assert await stream.receive() == CHANGED
                    nursery.cancel_scope.cancel()

                nursery.start_soon(listen)
                while True:
                    await call("notify")
                    await trio.sleep(0.05)
            await peer.aclose()
