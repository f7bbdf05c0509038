"""The scripted servers are what they claim: the official client talks to them, and they count right."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
import trio
import trio.testing
from mcp import Client, StdioServerParameters
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult, TextContent

from tests.support import wire
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.storm import wait_until

Mode = Literal["auto", "legacy"]
Kind = Literal["stdio", "json", "sse"]


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Let what the client leaves behind be collected here, and not in somebody else's test."""
    yield
    gc.collect()


@asynccontextmanager
async def official_client(kind: Kind, mode: Mode) -> AsyncIterator[Client]:
    """The SDK's client, connected to one of the servers, with a user who answers questions."""

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"answer": params.message})

    if kind == "stdio":
        command = StdioServerParameters(command=sys.executable, args=["-m", "tests.support.counting_stdio"])
        async with Client(command, mode=mode, elicitation_callback=answer) as client:
            yield client
    else:
        async with open_counting_server(kind) as server:
            url = f"http://127.0.0.1:{server.port}/mcp"
            async with Client(url, mode=mode, elicitation_callback=answer) as client:
                yield client


async def text_of(client: Client, tool: str, **arguments: Any) -> str:
    """The text that a tool answers."""
    [content] = (await client.call_tool(tool, arguments)).content
    assert isinstance(content, TextContent)
    return content.text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")
@pytest.mark.parametrize("kind", ["stdio", "json", "sse"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_is_content(kind: Kind, mode: Mode) -> None:
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    with trio.fail_after(30):
        async with official_client(kind, mode) as client:
            assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
            assert await text_of(client, "echo", text="x") == "x"
            await client.call_tool("progress", {"steps": 3}, progress_callback=note)
            assert steps == [1, 2, 3]
            assert json.loads(await text_of(client, "ask", message="Well?"))["content"] == {"answer": "Well?"}
            with trio.move_on_after(0.2):
                await client.call_tool("hang", {})
            while json.loads(await text_of(client, "stats"))["cancelled"] != 1:
                await trio.sleep(0.01)
            assert json.loads(await text_of(client, "stats"))["in_flight"] == 1  # itself


@asynccontextmanager
async def memory_client(server: CountingServer) -> AsyncIterator[wire.WireClient]:
    """A connection at memory speed."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, theirs)
        async with ours:
            yield wire.WireClient(ours)


async def test_a_modern_call_ends_with_its_connection() -> None:
    server = CountingServer()
    async with memory_client(server) as client:
        await client.send(wire.modern("tools/call", wire.call("hang")))
        await wait_until(lambda: server.counters["in_flight"] == 1)
    assert (server.counters["cancelled"], server.counters["in_flight"]) == (1, 0)


async def test_a_legacy_call_ends_with_a_notification_and_is_abandoned_without() -> None:
    server = CountingServer()
    async with memory_client(server) as client:
        session = await wire.open_session(client)
        await client.send(wire.legacy("tools/call", wire.call("hang"), id=7, session=session))
        await wait_until(lambda: server.counters["in_flight"] == 1)
        async with memory_client(server) as other:
            cancel = {"requestId": 7}
            await other.ask(wire.legacy("notifications/cancelled", cancel, id=None, session=session))
        await client.reply()
        await client.send(wire.legacy("tools/call", wire.call("hang"), id=8, session=session))
        await wait_until(lambda: server.counters["in_flight"] == 1)
    assert (server.counters["cancelled"], server.counters["abandoned"]) == (1, 1)


async def test_standing_streams_of_both_eras_hear_of_a_list_change() -> None:
    server = CountingServer()
    async with memory_client(server) as caller, memory_client(server) as old, memory_client(server) as new:
        session = await wire.open_session(caller)
        await old.send(wire.get_stream(session))
        await new.send(wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="s"))
        await wait_until(lambda: server.counters["streams"] == 2)
        await caller.ask(wire.legacy("tools/call", wire.call("notify"), session=session))
        await old.head()
        await new.head()
        first, second, third = await new.event(), await new.event(), await old.event()
    assert first is not None
    assert second is not None
    assert third is not None
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert second["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": "s"}
    assert second["method"] == third["method"] == "notifications/tools/list_changed"


async def test_headers_that_contradict_the_body_are_refused() -> None:
    server = CountingServer()
    async with memory_client(server) as client:
        call = wire.modern("tools/call", wire.call("echo", text="x"), headers={"Mcp-Name": "other"})
        reply = await client.ask(call)
    assert (reply.status, reply.json()["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("how", ["close", "half", "garbage", "silent-stream"])
async def test_it_fails_as_it_was_told(how: str) -> None:
    server = CountingServer()
    async with memory_client(server) as client:
        await client.send(wire.modern("tools/call", wire.call("fail", how=how)))
        with trio.fail_after(1):
            async for _ in _received(client.stream):
                pass
    assert (server.counters["failed"], server.counters["in_flight"]) == (1, 0)


async def _received(stream: trio.abc.Stream) -> AsyncIterator[bytes]:
    while data := await stream.receive_some():
        yield bytes(data)
