"""A server on the official Python SDK that speaks one era and has one of everything.

`python -m tests.support.sdk_server --era modern --journal FILE --http 8123` serves `/mcp` on that port of the loopback,
and without `--http` standard input and output. What it notices it writes into the journal.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from conformance.dialogue import Dialogue, Unanswered, elicit
from conformance.eras import ERAS, Era, HttpEra, spoken
from tests.support.sdk_sessions import Context, Sessions
from tests.support.sdk_tools import NAME, TOOLS, Call, Failed, Journal

SERVER = "everything"
INSTRUCTIONS = "Ask for anything."
PAGE = 5
"""Tools on a page."""

NO_SUCH_RESOURCE = -32002
"""The code of the legacy revisions; the modern one uses -32602."""

TOWNS = ("Paris", "Parma", "Prague", "Quito")


class SdkServer(Server[Any]):
    """The server. Nothing of it depends on the transport."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.sessions = Sessions()
        super().__init__(
            SERVER,
            version="1",
            instructions=INSTRUCTIONS,
            get_tool_input_schema=lambda name: TOOLS[name].schema if name in TOOLS else None,
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_list_resources=self.list_resources,
            on_list_resource_templates=self.list_templates,
            on_read_resource=self.read_resource,
            on_subscribe_resource=self.subscribe,
            on_unsubscribe_resource=self.unsubscribe,
            on_list_prompts=self.list_prompts,
            on_get_prompt=self.get_prompt,
            on_completion=self.complete,
            on_subscriptions_listen=ListenHandler(self.sessions.bus),
        )
        self.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self.set_level)
        self.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=SERVER))
        self.middleware.append(self.sessions)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """As the SDK does, but lists may change."""
        changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().create_initialization_options(changes, experimental_capabilities, extensions)

    async def list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """The tools, on several pages."""
        start = int((params.cursor if params else None) or 0)
        page = list(TOOLS.items())[start : start + PAGE]
        return types.ListToolsResult(
            tools=[
                types.Tool(name=name, description=found.body.__doc__, input_schema=found.schema) for name, found in page
            ],
            next_cursor=str(start + PAGE) if start + PAGE < len(TOOLS) else None,
        )

    async def call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Run a tool."""
        if (tool := TOOLS.get(params.name)) is None:
            raise MCPError(types.INVALID_PARAMS, f"unknown tool: {params.name}")
        call = Call(params.arguments or {}, Dialogue(context, params), self.sessions, self.journal)
        try:
            result = await tool.body(call)
        except Unanswered as unanswered:
            return unanswered.result
        except Failed as failed:
            return types.CallToolResult(content=[text(str(failed))], is_error=True)
        return types.CallToolResult(content=[text(json.dumps(result))], structured_content=result)

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The resource that can be named in advance."""
        about = types.Resource(uri="test://about", name="about", mime_type="text/plain")
        return types.ListResourcesResult(resources=[about])

    async def list_templates(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """The resources that cannot."""
        towns = types.ResourceTemplate(uri_template="test://town/{name}", name="town", mime_type="text/plain")
        return types.ListResourceTemplatesResult(resource_templates=[towns])

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """A resource; the answer to a name that there is not differs between the eras."""
        uri = params.uri
        name = uri.removeprefix("test://town/")
        if uri != "test://about" and name not in TOWNS:
            modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
            code = types.INVALID_PARAMS if modern else NO_SUCH_RESOURCE
            raise MCPError(code, "Resource not found", {"uri": uri})
        contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=f"All about {name}.")
        return types.ReadResourceResult(contents=[contents])

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Remember who wants to hear of a resource."""
        self.sessions.of(context).uris.add(params.uri)
        self.journal.note(f"subscribed {params.uri}")
        return types.EmptyResult()

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """The end of a subscription."""
        self.sessions.of(context).uris.discard(params.uri)
        self.journal.note(f"unsubscribed {params.uri}")
        return types.EmptyResult()

    async def set_level(self, context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        """What a session wants to hear."""
        self.sessions.of(context).level = params.level
        return types.EmptyResult()

    async def list_prompts(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """A prompt to fill in, and one that asks its user."""
        town = types.PromptArgument(name="town", required=True)
        trip = types.Prompt(name="trip", description="Plan a trip", arguments=[town])
        return types.ListPromptsResult(prompts=[trip, types.Prompt(name="letter", description="Write a letter")])

    async def get_prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        """A prompt, filled in."""
        if params.name == "trip":
            words = f"Plan a trip to {(params.arguments or {})['town']}."
        else:
            try:
                answers = await Dialogue(context, params).ask({"to": elicit("To whom?", NAME)})
            except Unanswered as unanswered:
                return unanswered.result
            words = f"Write to {answers['to']['content']['name']}."
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text(words))])

    async def complete(self, context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        """The towns that begin so."""
        found = [town for town in TOWNS if town.startswith(params.argument.value)]
        return types.CompleteResult(completion=types.Completion(values=found, total=len(found), has_more=False))


def text(words: str) -> types.TextContent:
    """Text as content."""
    return types.TextContent(type="text", text=words)


async def serve_stdio(server: SdkServer, era: Era) -> None:
    """Serve standard input and output until the input ends."""
    async with stdio_server() as (read, write), spoken(era, read, write) as messages:
        await server.run(messages, write, server.create_initialization_options())


def serve_http(server: SdkServer, era: Era, port: int) -> None:
    """Serve `/mcp` on the loopback until a signal."""
    app = HttpEra(server.streamable_http_app(), era)
    uvicorn.run(app, host="127.0.0.1", port=port, http="h11", log_level="warning", timeout_graceful_shutdown=1)


def main() -> None:
    """Parse and serve."""
    parser = argparse.ArgumentParser("sdk_server", description="A server with one of everything.")
    parser.add_argument("--era", choices=ERAS, default="both", help="what it speaks (both)")
    parser.add_argument("--journal", type=Path, required=True, help="the file for what it notices")
    parser.add_argument("--http", type=int, metavar="PORT", help="listen there instead of on standard input")
    options = parser.parse_args()
    server = SdkServer(Journal(options.journal))
    if options.http is None:
        anyio.run(serve_stdio, server, options.era)
    else:
        serve_http(server, options.era, options.http)


if __name__ == "__main__":
    main()
