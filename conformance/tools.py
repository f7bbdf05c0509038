"""The tools of the fixture. Each is written once, for clients of both eras."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import attrs
import mcp_types as types

from conformance import content
from conformance.content import text
from conformance.dialogue import Answers, Dialogue, elicit, roots, sample
from conformance.listeners import Listeners

OBJECT: dict[str, Any] = {"type": "object", "properties": {}}
STEP = 0.05
"""Seconds between the steps of a tool that reports them."""


@attrs.frozen
class Call:
    """A call of a tool: what it was given, and ways to speak to the client meanwhile."""

    arguments: Mapping[str, Any]
    dialogue: Dialogue
    listeners: Listeners

    async def log(self, message: str) -> None:
        """Send a log message on the stream of the call."""
        context = self.dialogue.context
        await context.session.send_log_message("info", message, related_request_id=context.request_id)  # pyright: ignore[reportDeprecated]


Content = list[types.ContentBlock]
Body = Callable[[Call], Awaitable[Content]]


@attrs.frozen
class Tool:
    """What clients see of it, and what it does."""

    body: Body
    schema: dict[str, Any] = attrs.field(factory=lambda: OBJECT)


TOOLS: dict[str, Tool] = {}


def tool(name: str, schema: dict[str, Any] | None = None) -> Callable[[Body], Body]:
    """Register a tool."""

    def register(body: Body) -> Body:
        TOOLS[name] = Tool(body, schema or OBJECT)
        return body

    return register


def accepts(name: str) -> dict[str, Any]:
    """The schema of a tool with one text for an argument."""
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


class Failed(Exception):
    """The tool reports an error in its result."""


@tool("test_simple_text")
async def simple_text(call: Call) -> Content:
    """Text alone."""
    return [text("This is a simple text response for testing.")]


@tool("test_image_content")
async def image_content(call: Call) -> Content:
    """A picture."""
    return [content.image()]


@tool("test_audio_content")
async def audio_content(call: Call) -> Content:
    """A sound."""
    return [content.audio()]


@tool("test_embedded_resource")
async def embedded_resource(call: Call) -> Content:
    """A resource inside the result."""
    return [content.embedded("test://embedded-resource", "This is an embedded resource content.")]


@tool("test_multiple_content_types")
async def multiple_content_types(call: Call) -> Content:
    """Three kinds of content."""
    resource = content.embedded(
        "test://mixed-content-resource", '{"test": "data", "value": 123}', mime_type="application/json"
    )
    return [text("Multiple content types test:"), content.image(), resource]


@tool("test_tool_with_logging")
async def with_logging(call: Call) -> Content:
    """Three log messages."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await call.log(message)
        await anyio.sleep(STEP)
    return [text("Tool with logging executed successfully")]


@tool("test_logging_tool")
async def logging_tool(call: Call) -> Content:
    """One log message, which a modern client gets only if it asked for logs."""
    await call.log("test_logging_tool ran")
    return [text("logged")]


@tool("test_tool_with_progress")
async def with_progress(call: Call) -> Content:
    """Three reports of progress."""
    for progress in (0, 50, 100):
        await call.dialogue.context.session.report_progress(progress, 100, f"Completed step {progress} of 100")
        await anyio.sleep(STEP)
    return [text("done")]


@tool("test_error_handling")
async def error_handling(call: Call) -> Content:
    """An error of the tool, which is a result."""
    raise Failed("This tool intentionally returns an error for testing")


@tool("json_schema_2020_12_tool", content.JSON_SCHEMA)
async def json_schema(call: Call) -> Content:
    """It matters for its schema alone."""
    return [text("json_schema_2020_12_tool")]


REGION = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}


@tool("test_x_mcp_header", REGION)
async def mcp_header(call: Call) -> Content:
    """An argument that is repeated in a header."""
    return [text(f"region={call.arguments.get('region', '')}")]


@tool("test_reconnection")
async def reconnection(call: Call) -> Content:
    """Closes the stream of the call, which a legacy client resumes."""
    await call.log("Before disconnect")
    if (close := call.dialogue.context.close_sse_stream) is not None:
        await close()
    await anyio.sleep(4 * STEP)
    await call.log("After reconnect")
    return [text("Reconnection test completed")]


@tool("test_trigger_tool_change")
async def trigger_tool_change(call: Call) -> Content:
    """Announces a change of the tools."""
    await call.listeners.tools_changed()
    return [text("tool list changed")]


@tool("test_trigger_prompt_change")
async def trigger_prompt_change(call: Call) -> Content:
    """Announces a change of the prompts."""
    await call.listeners.prompts_changed()
    return [text("prompt list changed")]


@tool("test_missing_capability")
async def missing_capability(call: Call) -> Content:
    """Cannot do without sampling."""
    await call.dialogue.ask({"sample": sample("Say hello")})
    return [text("the client can sample")]


@tool("test_sampling", accepts("prompt"))
async def sampling(call: Call) -> Content:
    """A question to the model, with the prompt of the caller."""
    answers = await call.dialogue.ask({"sample": sample(call.arguments["prompt"])})
    return [text(f"LLM response: {said(answers, 'sample')}")]


@tool("test_elicitation", accepts("message"))
async def elicitation(call: Call) -> Content:
    """A question to the user, with the message of the caller."""
    answers = await call.dialogue.ask({"user": elicit(call.arguments["message"], content.RESPONSE)})
    return [text(f"User response: {answers['user']}")]


@tool("test_streaming_elicitation")
async def streaming_elicitation(call: Call) -> Content:
    """A question to the user: a modern server may not put it on the stream of the call."""
    answers = await call.dialogue.ask({"user": elicit("Say a word", content.RESPONSE)})
    return [text(f"elicitation {answers['user']['action']}")]


@tool("test_elicitation_sep1034_defaults")
async def elicitation_defaults(call: Call) -> Content:
    """A form with a default for each type."""
    answers = await call.dialogue.ask({"user": elicit("Please provide user information", content.DEFAULTS)})
    return [text(f"Elicitation result: {answers['user']}")]


@tool("test_elicitation_sep1330_enums")
async def elicitation_enums(call: Call) -> Content:
    """A form with every kind of choice."""
    answers = await call.dialogue.ask({"user": elicit("Please select values", content.ENUMS)})
    return [text(f"Elicitation completed: {answers['user']}")]


@tool("test_input_required_result_elicitation")
async def required_elicitation(call: Call) -> Content:
    """One question to the user."""
    answers = await call.dialogue.ask({"user_name": elicit("What is your name?", content.NAME)})
    return [text(f"Hello, {field(answers, 'user_name', 'name')}!")]


@tool("test_input_required_result_sampling")
async def required_sampling(call: Call) -> Content:
    """One question to the model."""
    answers = await call.dialogue.ask({"capital_question": sample("What is the capital of France?")})
    return [text(f"Model said: {said(answers, 'capital_question')}")]


@tool("test_input_required_result_list_roots")
async def required_roots(call: Call) -> Content:
    """One question for the folders."""
    answers = await call.dialogue.ask({"client_roots": roots()})
    return [text(f"Client exposed {len(answers['client_roots'].get('roots', []))} root(s).")]


@tool("test_input_required_result_request_state")
async def required_state(call: Call) -> Content:
    """A question with a state to bring back."""
    await call.dialogue.ask({"confirm": elicit("Please confirm", content.CONFIRM)}, stateful=True)
    return [text("state-ok: confirmation received")]


@tool("test_input_required_result_tampered_state")
async def required_tampered_state(call: Call) -> Content:
    """A question with a state that is damaged on the way back."""
    await call.dialogue.ask({"confirm": elicit("Please confirm", content.CONFIRM)}, stateful=True)
    return [text("state-ok")]


@tool("test_input_required_result_multiple_inputs")
async def required_multiple(call: Call) -> Content:
    """Three questions at once."""
    questions: dict[str, types.InputRequest] = {
        "user_name": elicit("What is your name?", content.NAME),
        "greeting": sample("Generate a greeting", 50),
        "client_roots": roots(),
    }
    await call.dialogue.ask(questions, stateful=True)
    return [text("All inputs received.")]


@tool("test_input_required_result_multi_round")
async def required_rounds(call: Call) -> Content:
    """A question, and another after its answer."""
    first = await call.dialogue.ask({"step1": elicit("Step 1: What is your name?", content.NAME)}, stateful=True)
    second = await call.dialogue.ask({"step2": elicit("Step 2: What is your favorite color?", content.COLOR)})
    return [text(f"{field(first, 'step1', 'name')} likes {field(second, 'step2', 'color')}.")]


@tool("test_input_required_result_capabilities")
async def required_capabilities(call: Call) -> Content:
    """Asks only what the client can answer."""
    questions: dict[str, types.InputRequest] = {}
    if call.dialogue.declared("sampling"):
        questions["sample"] = sample("Say hello", 50)
    if call.dialogue.declared("elicitation"):
        questions["ask"] = elicit("What is your name?", content.NAME)
    await call.dialogue.ask(questions, stateful=True)
    return [text(f"{len(questions)} answers")]


def said(answers: Answers, key: str) -> str:
    """The text that a model answered."""
    return str(answers[key].get("content", {}).get("text", "?"))


def field(answers: Answers, key: str, name: str) -> str:
    """What a user filled in."""
    return str((answers[key].get("content") or {}).get(name, "?"))
