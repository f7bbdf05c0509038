"""Modern clients over real legacy servers of both transports."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gatewayd.bridge.modern_client.clients import ModernClients, open_modern_clients
from gatewayd.observe.tree import Node
from gatewayd.protocol.jsonrpc import Notification
from gatewayd.routes.table import HttpTarget, Launch, Service, Sharing, StdioTarget
from gatewayd.upstreams.channel import Answer
from gatewayd.upstreams.http import open_http_upstream
from gatewayd.upstreams.service import Caller, Upstream
from gatewayd.upstreams.stdio_service import open_stdio_upstream
from tests.bridge.modern_client.legacy_upstream import ALICE, BOB, FORM, final, loaded, modern, new_tickets, receive
from tests.support.counting_server import open_counting_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def service(kind: str, per: Sharing) -> AsyncGenerator[Upstream]:
    if kind == "http":
        async with open_counting_server(eras="legacy") as server:
            url = f"http://127.0.0.1:{server.port}/mcp"
            target = HttpTarget(url, "http", "127.0.0.1", server.port, "/mcp")
            async with open_http_upstream(Service("web", target, per=per)) as http:
                yield http
            assert server.counters["sessions"] == 0
    else:
        command = (sys.executable, "-m", "tests.support.counting_stdio", "--eras", "legacy")
        process = StdioTarget(Launch(command, cwd=str(ROOT)))
        async with open_stdio_upstream(Service("files", process, per=per)) as stdio:
            yield stdio


class House:
    """Modern clients of a real service."""

    def __init__(self, clients: ModernClients, ids: itertools.count[int]) -> None:
        self.clients = clients
        self.ids = ids

    async def ask(self, method: str, params: dict[str, Any], caller: Caller = ALICE, **meta: Any) -> Answer:
        name = params.get("name")
        return await self.clients.request(modern(next(self.ids), method, params, FORM, **meta), name, caller)

    async def final(self, method: str, params: dict[str, Any], **how: Any) -> dict[str, Any]:
        answer = await self.ask(method, params, **how)
        try:
            return await final(answer)
        finally:
            await answer.aclose()

    async def text(self, tool: str, **arguments: Any) -> str:
        told = await self.final("tools/call", {"name": tool, "arguments": arguments})
        text: str = told["content"][0]["text"]
        return text


@pytest.fixture(params=["http", "stdio"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@asynccontextmanager
async def open_house(kind: str, per: Sharing = "principal") -> AsyncIterator[House]:
    ids = itertools.count(1)
    with trio.fail_after(60):
        async with (
            service(kind, per) as upstream,
            open_modern_clients(upstream, new_tickets(), ids, Node("service", parent=None, now=0.0)) as clients,
        ):
            yield House(clients, ids)


@pytest.mark.parametrize("per", ["principal", "call"])
async def test_discovery_lists_and_calls(kind: str, per: Sharing) -> None:
    async with open_house(kind, per) as house:
        told = await house.final("server/discover", {})
        assert told["capabilities"]["tools"] == {"listChanged": True}
        assert (await house.final("tools/list", {}))["ttlMs"] == 0
        assert await house.text("echo", text="hello") == "hello"


async def test_progress(kind: str) -> None:
    async with open_house(kind) as house:
        params = {"name": "progress", "arguments": {"steps": 3}}
        answer = await house.ask("tools/call", params, token=True)
        for step in (1, 2, 3):
            told = await receive(answer)
            assert isinstance(told, Notification)
            assert loaded(told.params)["progress"] == step
        assert (await final(answer))["resultType"] == "complete"
        await answer.aclose()


@pytest.mark.parametrize("per", ["principal", "call"])
async def test_a_question_and_its_answer(kind: str, per: Sharing) -> None:
    async with open_house(kind, per) as house:
        params = {"name": "ask", "arguments": {"message": "Sure?"}}
        told = await house.final("tools/call", params)
        ((key, entry),) = told["inputRequests"].items()
        assert entry["params"]["message"] == "Sure?"
        response = {"action": "accept", "content": {"answer": "yes"}}
        given = {"requestState": told["requestState"], "inputResponses": {key: response}}
        done = await house.final("tools/call", {**params, **given})
        assert '"answer": "yes"' in done["content"][0]["text"]
        assert house.clients.statistics()["parked"] == 0


async def test_news(kind: str) -> None:
    async with open_house(kind) as house:
        answer = await house.ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        first = await receive(answer)
        assert isinstance(first, Notification)
        assert loaded(first.params)["notifications"] == {"toolsListChanged": True}
        await house.text("notify")
        told = await receive(answer)
        assert isinstance(told, Notification)
        assert told.method == "notifications/tools/list_changed"
        await answer.aclose()


async def test_a_client_that_leaves_cancels_its_call(kind: str) -> None:
    async with open_house(kind) as house:
        answer = await house.ask("tools/call", {"name": "hang"})
        with trio.move_on_after(0.2):
            await answer.receive()
        await answer.aclose()
        while '"cancelled": 1' not in await house.text("stats"):
            await trio.sleep(0.01)


async def test_a_shared_process_asks_nobody_when_two_principals_could_be_meant() -> None:
    async with open_house("stdio", "shared") as house:
        hanging = await house.ask("tools/call", {"name": "hang"}, caller=BOB)
        told = await house.final("tools/call", {"name": "ask", "arguments": {"message": "Sure?"}})
        assert told["isError"]
        assert "no client is there to be asked" in told["content"][0]["text"]
        await hanging.aclose()
