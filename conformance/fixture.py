"""The upstream of the cross-era runs: a server on the official Python SDK that speaks one era, or both.

`python -m conformance.fixture --era modern --http 8123` serves `/mcp` on that port of the loopback, and without
`--http` standard input and output. It has everything that the scenarios of the suite look for.
"""

from __future__ import annotations

import argparse
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server import NotificationOptions, Server, ServerRequestContext
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from conformance import content
from conformance.dialogue import Dialogue, Unanswered, elicit
from conformance.eras import ERAS, Era, HttpEra, spoken
from conformance.events import EventStore
from conformance.listeners import Listeners
from conformance.tools import TOOLS, Call, Failed

NAME = "conformance-fixture"
RETRY = 100
"""Milliseconds that a client is asked to wait before it resumes a stream."""

NO_SUCH_RESOURCE = -32002
"""The code of the legacy revisions; the modern one uses -32602."""

Context = ServerRequestContext[Any]


class Fixture(Server[Any]):
    """The server. Nothing of it depends on the transport."""

    def __init__(self) -> None:
        self.listeners = Listeners()
        super().__init__(
            NAME,
            version="1",
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
            on_subscriptions_listen=ListenHandler(self.listeners.bus),
        )
        self.add_request_handler("logging/setLevel", types.SetLevelRequestParams, self.set_level)
        self.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
        self.middleware.append(self.listeners)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """As the SDK does, but lists may change."""
        changes = NotificationOptions(prompts_changed=True, tools_changed=True)
        return super().create_initialization_options(changes, experimental_capabilities, extensions)

    async def list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """All tools, on one page."""
        return types.ListToolsResult(
            tools=[
                types.Tool(name=name, description=tool.body.__doc__, input_schema=tool.schema)
                for name, tool in TOOLS.items()
            ]
        )

    async def call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Run a tool."""
        if (tool := TOOLS.get(params.name)) is None:
            raise MCPError(types.INVALID_PARAMS, f"unknown tool: {params.name}")
        try:
            blocks = await tool.body(Call(params.arguments or {}, Dialogue(context, params), self.listeners))
        except Unanswered as unanswered:
            return unanswered.result
        except Failed as failed:
            return types.CallToolResult(content=[content.text(str(failed))], is_error=True)
        return types.CallToolResult(content=blocks)

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """All resources, on one page."""
        return types.ListResourcesResult(
            resources=[
                types.Resource(uri=uri, name=uri.removeprefix("test://"), mime_type=found.mime_type)
                for uri, found in content.RESOURCES.items()
            ]
        )

    async def list_templates(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """The one template."""
        template = types.ResourceTemplate(uri_template=content.TEMPLATE, name="template", mime_type="application/json")
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """A resource by its name, or by the template."""
        before, after = content.TEMPLATE.split("{id}")
        uri = params.uri
        if (found := content.RESOURCES.get(uri)) is not None:
            return types.ReadResourceResult(contents=[found])
        if uri.startswith(before) and uri.endswith(after):
            identity = uri.removeprefix(before).removesuffix(after)
            value = f'{{"id": "{identity}", "templateTest": true, "data": "Data for ID: {identity}"}}'
            made = types.TextResourceContents(uri=uri, mime_type="application/json", text=value)
            return types.ReadResourceResult(contents=[made])
        modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        raise MCPError(types.INVALID_PARAMS if modern else NO_SUCH_RESOURCE, "Resource not found", {"uri": uri})

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Nothing here changes, so nothing is remembered."""
        return types.EmptyResult()

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """The end of a subscription."""
        return types.EmptyResult()

    async def set_level(self, context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        """Everything is logged at the level `info`, so nothing is remembered."""
        return types.EmptyResult()

    async def list_prompts(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """All prompts, on one page."""
        return types.ListPromptsResult(
            prompts=[
                types.Prompt(
                    name=name,
                    description=name.replace("_", " "),
                    arguments=[types.PromptArgument(name=argument, required=True) for argument in arguments],
                )
                for name, arguments in content.PROMPTS.items()
            ]
        )

    async def get_prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        """A prompt, filled in."""
        if params.name not in content.PROMPTS:
            raise MCPError(types.INVALID_PARAMS, f"unknown prompt: {params.name}")
        try:
            blocks = await said_by(params, Dialogue(context, params))
        except Unanswered as unanswered:
            return unanswered.result
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=block) for block in blocks])

    async def complete(self, context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        """Knows nothing, and says so."""
        return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))


async def said_by(params: types.GetPromptRequestParams, dialogue: Dialogue) -> list[types.ContentBlock]:
    """The messages of a prompt."""
    given = params.arguments or {}
    match params.name:
        case "test_prompt_with_arguments":
            return [content.text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")]
        case "test_prompt_with_embedded_resource":
            resource = content.embedded(given.get("resourceUri", ""), "Embedded resource content for testing.")
            return [resource, content.text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            return [content.image(), content.text("Please analyze the image above.")]
        case "test_input_required_result_prompt":
            question = elicit("What context should the prompt use?", content.CONTEXT)
            answers = await dialogue.ask({"user_context": question})
            return [content.text(f"Use the following context: {answers['user_context'].get('content')}")]
        case _:
            return [content.text("This is a simple prompt for testing.")]


async def serve_stdio(era: Era) -> None:
    """Serve standard input and output until the input ends."""
    server = Fixture()
    async with stdio_server() as (read, write), spoken(era, read, write) as messages:
        await server.run(messages, write, server.create_initialization_options())


def serve_http(era: Era, port: int) -> None:
    """Serve `/mcp` on the loopback until a signal."""
    app = Fixture().streamable_http_app(event_store=EventStore(), retry_interval=RETRY)
    uvicorn.run(
        HttpEra(app, era), host="127.0.0.1", port=port, http="h11", log_level="warning", timeout_graceful_shutdown=1
    )


def main() -> None:
    """Parse and serve."""
    parser = argparse.ArgumentParser("conformance.fixture", description="An upstream with everything.")
    parser.add_argument("--era", choices=ERAS, default="both", help="what it speaks (both)")
    parser.add_argument("--http", type=int, metavar="PORT", help="listen there instead of on standard input")
    options = parser.parse_args()
    if options.http is None:
        anyio.run(serve_stdio, options.era)
    else:
        serve_http(options.era, options.http)


if __name__ == "__main__":
    main()
