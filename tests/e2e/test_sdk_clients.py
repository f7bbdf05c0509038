"""The official Python SDK as client and as server, in both eras, with the gateway between them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import trio
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import (
    ElicitRequestParams,
    ElicitResult,
    GetPromptResult,
    ReadResourceResult,
    TextContent,
    TextResourceContents,
)

from tests.support.gateway import Gateway

pytestmark = [
    pytest.mark.slow,
    # the client leaves the generators of its HTTP library to the garbage collector, which Trio reports
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
]

Mode = Literal["auto", "legacy"]

VERSION = {"auto": "2026-07-28", "legacy": "2025-11-25"}


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Let what the client leaves behind be collected here, and not in somebody else's test."""
    yield
    gc.collect()


async def tour(url: str, mode: Mode) -> dict[str, Any]:
    """One of everything that the demo server has."""
    reported: list[float] = []

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"colour": "teal"})

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reported.append(progress)

    async with Client(url, mode=mode, elicitation_callback=answer) as client:
        seen: dict[str, Any] = {
            "version": client.session.protocol_version,
            "tools": [tool.name for tool in (await client.list_tools()).tools],
            "echo": await text_of(client, "echo", {"text": "héllo"}),
            "add": await text_of(client, "add", {"a": 2**60, "b": 1}),
            "ask": await text_of(client, "ask", {"name": "Ada"}),
            "resource": contents(await client.read_resource("demo://about")),
            "template": contents(await client.read_resource("demo://greeting/Ada")),
            "prompt": prompt_text(await client.get_prompt("haiku", {"topic": "rain"})),
        }
        await client.call_tool("slow", {"seconds": 0.3}, progress_callback=note)
    seen["progress"] = (reported[0], reported[-1], reported == sorted(reported))
    return seen


async def text_of(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """The text that a tool answers."""
    [content] = (await client.call_tool(tool, arguments)).content
    assert isinstance(content, TextContent)
    return content.text


def contents(result: ReadResourceResult) -> str:
    """The text of a resource."""
    [content] = result.contents
    assert isinstance(content, TextResourceContents)
    return content.text


def prompt_text(result: GetPromptResult) -> str:
    """The text of a prompt."""
    [message] = result.messages
    assert isinstance(message.content, TextContent)
    return message.content.text


def expected(mode: Mode) -> dict[str, Any]:
    """What the tour finds, with a gateway or without."""
    return {
        "version": VERSION[mode],
        "tools": ["echo", "add", "slow", "ask"],
        "echo": "héllo",
        "add": str(2**60 + 1),
        "ask": "Ada likes teal",
        "resource": "The demo server that ships with gatewayd.",
        "template": "Hello, Ada!",
        "prompt": "Write a haiku about rain.",
        "progress": (0.0, 0.3, True),
    }


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_without_a_gateway(mode: Mode, demo_port: int) -> None:
    with trio.fail_after(60):
        assert await tour(f"http://127.0.0.1:{demo_port}/mcp", mode) == expected(mode)


@pytest.mark.parametrize("path", ["/http/mcp", "/stdio/mcp"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_through_the_gateway(mode: Mode, path: str, demo_gateway: Gateway) -> None:
    with trio.fail_after(60):
        assert await tour(demo_gateway.url(path), mode) == expected(mode)


@pytest.mark.parametrize("path", ["/http/mcp", "/stdio/mcp"])
async def test_both_eras_at_once_on_one_route(path: str, demo_gateway: Gateway) -> None:
    found: dict[Mode, dict[str, Any]] = {}

    async def run(mode: Mode) -> None:
        found[mode] = await tour(demo_gateway.url(path), mode)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "auto")
            nursery.start_soon(run, "legacy")
    assert found == {"auto": expected("auto"), "legacy": expected("legacy")}
