"""The client that the suite examines: the gateway in front of the suite's server, and the SDK's client in front of it.

`python -m conformance.client --mode modern URL` is what the suite runs; the scenario is in the environment. What
reaches the suite is said by the gateway, which is the client that is meant.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import trio
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext

from conformance.cells import REVISIONS, Era, gateway

Drive = Callable[[Client], Awaitable[None]]

MODES: dict[Era, Literal["legacy", "auto"]] = {"legacy": "legacy", "modern": "auto"}
SUPPLY = {"string": "x", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": [], "null": None}
"""An argument for each type."""


class WrongEra(Exception):
    """The client fell back to the other era: what it would show says nothing about this one."""


async def initialize(client: Client) -> None:
    """Connect, and list the tools."""
    await client.list_tools()


async def tools_call(client: Client) -> None:
    """Add two numbers."""
    await client.list_tools()
    await client.call_tool("add_numbers", {"a": 5, "b": 3})


async def sse_retry(client: Client) -> None:
    """Call a tool whose stream is closed before the answer."""
    await client.list_tools()
    await client.call_tool("test_reconnection", {})


async def elicitation_defaults(client: Client) -> None:
    """Call a tool that asks for a form."""
    await client.list_tools()
    await client.call_tool("test_client_elicitation_defaults", {})


async def preserve_schema(client: Client) -> None:
    """Send a schema back that was listed."""
    listed = await client.list_tools()
    focal = next(tool for tool in listed.tools if tool.name == "json_schema_2020_12_tool")
    await client.call_tool("json_schema_echo", {"schema": focal.input_schema})


async def standard_headers(client: Client) -> None:
    """One request of each kind that names something."""
    for tool in (await client.list_tools()).tools[:1]:
        await client.call_tool(tool.name, supplied(tool.input_schema))
    for resource in (await client.list_resources()).resources[:1]:
        await client.read_resource(resource.uri)
    for prompt in (await client.list_prompts()).prompts[:1]:
        await client.get_prompt(prompt.name)


async def custom_headers(client: Client) -> None:
    """The calls that the suite asks for, to the letter."""
    listed = {tool.name for tool in (await client.list_tools()).tools}
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        if call["name"] in listed:
            await client.call_tool(call["name"], call.get("arguments") or {})


async def invalid_headers(client: Client) -> None:
    """Call every tool that is listed: those that nobody may call should not be."""
    for tool in (await client.list_tools()).tools:
        try:
            await client.call_tool(tool.name, supplied(tool.input_schema))
        except MCPError as error:
            print(f"{tool.name}: {error}")


async def request_state(client: Client) -> None:
    """Calls that end with a question, and one between them that does not."""
    await client.list_tools()
    for name in ("test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state", "test_mrtr_no_result_type"):
        await client.call_tool(name, {})


SCENARIOS: dict[Era, dict[str, Drive]] = {
    "legacy": {
        "initialize": initialize,
        "tools_call": tools_call,
        "elicitation-sep1034-client-defaults": elicitation_defaults,
        "sse-retry": sse_retry,
        "json-schema-2020-12-preservation": preserve_schema,
    },
    "modern": {
        "tools_call": tools_call,
        "request-metadata": tools_call,
        "sep-2322-client-request-state": request_state,
        "http-standard-headers": standard_headers,
        "http-custom-headers": custom_headers,
        "http-invalid-tool-headers": invalid_headers,
        "json-schema-ref-no-deref": initialize,
        "json-schema-2020-12-preservation": preserve_schema,
    },
}
"""Those that apply to a gateway, by the era of the suite's server.

The others are about things that a gateway does not do as a client of its upstreams: obtaining tokens (`auth/*`: the
credential of an upstream is configured) and looking into files (`sep-2640-*`: that is the agent's part).
"""


def supplied(schema: dict[str, Any]) -> dict[str, Any]:
    """The least that a tool accepts."""
    properties = schema.get("properties", {})
    return {name: SUPPLY.get(properties.get(name, {}).get("type"), "x") for name in schema.get("required", [])}


async def answer(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Accept a form as it is: with its defaults, and yes to what has none."""
    fields: dict[str, Any] = {}
    if isinstance(params, types.ElicitRequestFormParams):
        fields = dict(params.requested_schema.get("properties", {}))
    content = {
        name: field.get("default", True)
        for name, field in fields.items()
        if "default" in field or field.get("type") == "boolean"
    }
    return types.ElicitResult(action="accept", content=content)


async def sample(context: ClientRequestContext, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    """Say nothing much."""
    content = types.TextContent(type="text", text="yes")
    return types.CreateMessageResult(role="assistant", content=content, model="conformance")


async def folders(context: ClientRequestContext) -> types.ListRootsResult:
    """There are none."""
    return types.ListRootsResult(roots=[])


async def run(mode: Era, drive: Drive, url: str) -> None:
    """Put a gateway before `url`, and drive the scenario through it."""
    with tempfile.TemporaryDirectory() as folder:
        async with gateway(f'[services.upstream]\nurl = "{url}"\n\n', Path(folder)) as address:
            try:
                async with Client(
                    address,
                    mode=MODES[mode],
                    elicitation_callback=answer,
                    sampling_callback=sample,
                    list_roots_callback=folders,
                ) as client:
                    if client.session.protocol_version != REVISIONS[mode]:
                        raise WrongEra(f"the gateway does not speak {REVISIONS[mode]} for this upstream")
                    await drive(client)
            finally:
                print((Path(folder) / "gateway.log").read_text())


def causes(group: BaseExceptionGroup) -> Iterator[str]:
    """What happened, each on one line: tracebacks through the SDK are long and say no more."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from causes(error)
        else:
            yield f"{type(error).__name__}: {' '.join(str(error).split())}"


def main() -> None:
    """Run the scenario that the environment names."""
    parser = argparse.ArgumentParser("conformance.client", description="The client that the suite examines.")
    parser.add_argument("--mode", choices=MODES, required=True, help="the era of the client before the gateway")
    parser.add_argument("--upstream", choices=SCENARIOS, required=True, help="the era of the suite's server")
    parser.add_argument("url", help="the suite's server")
    options = parser.parse_args()
    drive = SCENARIOS[options.upstream][os.environ["MCP_CONFORMANCE_SCENARIO"]]
    try:
        trio.run(run, options.mode, drive, options.url)
    except BaseExceptionGroup as group:
        sys.exit("; ".join(dict.fromkeys(causes(group))))
    with warnings.catch_warnings(action="ignore"):  # generators that the SDK's HTTP library leaves behind
        gc.collect()


if __name__ == "__main__":
    main()
