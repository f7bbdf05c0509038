"""The official Python SDK as a client of HTTP+SSE (MCP 2024-11-05), which is served where a route asks for it."""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import mcp_types as types
import pytest
import trio
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.sse import sse_client

from tests.support.gateway import Gateway, http_service, route, running_gateway, stdio_service
from tests.support.storm import at_rest

pytestmark = [
    pytest.mark.slow,
    # the client leaves the generators of its HTTP library to the garbage collector, which Trio reports
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
]

DEMO = (sys.executable, "-m", "gatewayd.demo")
PATHS = ("/http", "/stdio")


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Let what the client leaves behind be collected here, and not in somebody else's test."""
    yield
    gc.collect()


def configuration(demo_port: int, **keys: str) -> str:
    """`/http` leads to a demo server over HTTP, `/stdio` to one over stdio, `/plain` to the first without HTTP+SSE."""
    text = http_service("web", demo_port) + stdio_service("pipe", *DEMO, per=json.dumps("shared"))
    text += route("/http", "web", sse="true", **keys) + route("/stdio", "pipe", sse="true")
    return text + route("/plain", "web")


@pytest.fixture
async def gateway(demo_port: int, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(configuration(demo_port), tmp_path) as gateway:
        yield gateway


async def answer(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"colour": "teal"})


def client(gateway: Gateway, path: str) -> Client:
    """A client that has never heard of later transports."""
    return Client(sse_client(gateway.url(path)), mode="legacy", elicitation_callback=answer)


async def text_of(client: Client, tool: str, arguments: dict[str, object]) -> str:
    """The text that a tool answers."""
    [content] = (await client.call_tool(tool, arguments)).content
    assert isinstance(content, types.TextContent)
    return content.text


async def wait_nodes(gateway: Gateway, nodes: Counter[str]) -> None:
    """Wait until the tree is like that again."""
    while (await at_rest(gateway)).nodes != nodes:
        await trio.sleep(0.05)


@pytest.mark.parametrize("path", PATHS)
async def test_one_of_everything(path: str, gateway: Gateway) -> None:
    reported: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reported.append(progress)

    with trio.fail_after(60):
        before = (await at_rest(gateway)).nodes
        async with client(gateway, path) as user:
            assert [tool.name for tool in (await user.list_tools()).tools] == ["echo", "add", "slow", "ask"]
            assert await text_of(user, "echo", {"text": "héllo"}) == "héllo"
            assert await text_of(user, "ask", {"name": "Ada"}) == "Ada likes teal"
            await user.call_tool("slow", {"seconds": 0.3}, progress_callback=note)
            assert (reported[0], reported[-1], reported == sorted(reported)) == (0.0, 0.3, True)
            [content] = (await user.read_resource("demo://greeting/Ada")).contents
            assert isinstance(content, types.TextResourceContents)
            assert content.text == "Hello, Ada!"
        await wait_nodes(gateway, before)


async def test_many_clients_at_once(gateway: Gateway) -> None:
    answers: list[str] = []

    async def visit(number: int) -> None:
        async with client(gateway, PATHS[number % 2]) as user:
            answers.append(await text_of(user, "echo", {"text": str(number)}))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(visit, number)
    assert sorted(answers, key=int) == [str(number) for number in range(10)]


async def test_a_reload_is_not_noticed(gateway: Gateway, demo_port: int) -> None:
    """The route is another one afterwards."""
    with trio.fail_after(60):
        before = (await at_rest(gateway)).nodes
        async with client(gateway, "/http") as user:
            assert await text_of(user, "echo", {"text": "a"}) == "a"
            gateway.reload(configuration(demo_port, errors='"http"'))
            await gateway.wait_event("reloaded")
            assert await text_of(user, "echo", {"text": "b"}) == "b"
        await wait_nodes(gateway, before)


async def test_a_route_that_does_not_serve_it(gateway: Gateway) -> None:
    with trio.fail_after(60), pytest.raises(Exception, match="400 Bad Request"):
        async with client(gateway, "/plain"):
            pass
