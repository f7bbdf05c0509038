"""The demo server, in this process; `e2e` has it as a process behind a gateway."""

from __future__ import annotations

import signal
from typing import Any, Literal

import pytest
import trio
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult, TextContent

from gatewayd import demo
from tests.support import wire

Mode = Literal["auto", "legacy"]


async def colour(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """A user who likes teal."""
    return ElicitResult(action="accept", content={"colour": "teal"})


async def text_of(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """The text that a tool answers."""
    [content] = (await client.call_tool(tool, arguments)).content
    assert isinstance(content, TextContent)
    return content.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_tools_answer_in_both_eras(mode: Mode) -> None:
    async with Client(demo.server, mode=mode, elicitation_callback=colour) as client:
        assert await text_of(client, "echo", {"text": "x"}) == "x"
        assert await text_of(client, "add", {"a": 1, "b": 2}) == "3"
        assert await text_of(client, "ask", {"name": "Ada"}) == "Ada likes teal"


async def test_slow_tells_how_far_it_is() -> None:
    seen: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async with Client(demo.server) as client:
        await client.call_tool("slow", {"seconds": 0.15}, progress_callback=note)
    assert (seen[0], seen[-1]) == ((0, 0.15), (0.15, 0.15))
    assert len(seen) == 3


async def test_slow_does_not_take_hours() -> None:
    async with Client(demo.server) as client:
        assert (await client.call_tool("slow", {"seconds": 3600})).is_error


async def test_resources_and_prompts_are_there() -> None:
    async with Client(demo.server) as client:
        [greeting] = (await client.read_resource("demo://greeting/Ada")).contents
        [about] = (await client.read_resource("demo://about")).contents
        [line] = (await client.get_prompt("haiku", {"topic": "rain"})).messages
    assert "Hello, Ada!" in greeting.model_dump_json()
    assert "gatewayd" in about.model_dump_json()
    assert "rain" in line.model_dump_json()


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:80", "[::]:80", "example.com:80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536"],
)
def test_it_listens_on_loopback_only(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--http", address]) == 2
    assert "gatewayd demo: " in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_addresses_are_fine(host: str) -> None:
    assert demo.loopback(f"{host}:8101") == (host, 8101)


@pytest.mark.parametrize(("argv", "status"), [(["--help"], 0), (["--nonsense"], 2)])
def test_its_command_line_does_not_raise(argv: list[str], status: int) -> None:
    assert demo.main(argv) == status


@pytest.mark.slow
async def test_it_serves_http_until_it_is_told_to_stop(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(demo.serve_http, "127.0.0.1", 0)
            said = ""
            while "/mcp" not in said:
                await trio.sleep(0.01)
                said += capsys.readouterr().err
            port = int(said.rpartition(":")[2].removesuffix("/mcp\n"))
            async with wire.connect(("127.0.0.1", port)) as client:
                call = wire.modern("tools/call", wire.call("add", a=1, b=2))
                assert (await client.ask(call)).json()["result"]["structuredContent"] == {"result": 3}
            signal.raise_signal(signal.SIGTERM)
