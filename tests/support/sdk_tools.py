"""The tools of a server on the official SDK: one for each thing that can happen while a tool runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import attrs
import mcp_types as types
from mcp import UrlElicitationRequiredError

from conformance.dialogue import Answers, Dialogue, elicit, roots, sample
from tests.support.sdk_sessions import LEVELS, Sessions

STEP = 0.02
"""Seconds between the steps of a tool that reports them."""

STEPS = 4
LONG = 60.0
"""Seconds that a tool takes which is to be cancelled: longer than any test."""


@attrs.frozen
class Journal:
    """A file for what the server noticed, of which clients need not hear. Processes may share it."""

    path: Path

    def note(self, line: str) -> None:
        """Add a line, whole."""
        with self.path.open("a") as file:
            file.write(line + "\n")

    def has(self, line: str) -> bool:
        """Whether that has been noticed."""
        return line in self.path.read_text().splitlines()


@attrs.frozen
class Call:
    """A call of a tool: what it was given, and ways to speak to the client meanwhile."""

    arguments: Mapping[str, Any]
    dialogue: Dialogue
    sessions: Sessions
    journal: Journal

    async def log(self, level: types.LoggingLevel) -> None:
        """Log on the stream of the call, if the client wants that level."""
        context = self.dialogue.context
        if self.sessions.wants(context, level):
            await context.session.send_log_message(  # pyright: ignore[reportDeprecated]
                level, f"a message of level {level}", "tools", related_request_id=context.request_id
            )


Body = Callable[[Call], Awaitable[dict[str, Any]]]
"""The structured result of a call."""


@attrs.frozen
class Tool:
    """What clients see of it, and what it does."""

    body: Body
    schema: dict[str, Any]


TOOLS: dict[str, Tool] = {}


class Failed(Exception):
    """The tool reports an error in its result."""


def tool(name: str, **properties: dict[str, Any]) -> Callable[[Body], Body]:
    """Register a tool that needs these arguments."""

    def register(body: Body) -> Body:
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        TOOLS[name] = Tool(body, schema)
        return body

    return register


VISITED = "https://pages.example/form?of=1"
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
NAME = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}
COLOUR = {"type": "object", "properties": {"colour": TEXT}, "required": ["colour"]}


@tool("add", a=NUMBER, b=NUMBER)
async def add(call: Call) -> dict[str, Any]:
    """Add two integers."""
    return {"sum": call.arguments["a"] + call.arguments["b"]}


@tool("fail", why=TEXT)
async def fail(call: Call) -> dict[str, Any]:
    """Report an error in the result."""
    raise Failed(call.arguments["why"])


@tool("weather", region=TEXT | {"x-mcp-header": "Region"})
async def weather(call: Call) -> dict[str, Any]:
    """Has an argument that modern clients repeat in a header, which modern servers insist on."""
    return {"rain in": call.arguments["region"]}


@tool("count")
async def count(call: Call) -> dict[str, Any]:
    """Report progress."""
    for step in range(1, STEPS + 1):
        await call.dialogue.context.session.report_progress(step, STEPS, f"step {step}")
        await anyio.sleep(STEP)
    return {"steps": STEPS}


@tool("chatter")
async def chatter(call: Call) -> dict[str, Any]:
    """Log one message of each level."""
    for level in LEVELS:
        await call.log(level)
    return {"logged": len(LEVELS)}


@tool("wait", key=TEXT)
async def wait(call: Call) -> dict[str, Any]:
    """Take longer than anybody has time for, and note in the journal that nobody waits any more."""
    key = call.arguments["key"]
    call.journal.note(f"{key} began")
    try:
        await anyio.sleep(LONG)
    except anyio.get_cancelled_exc_class():
        call.journal.note(f"{key} cancelled")
        raise
    return {}


@tool("change", what=TEXT)
async def change(call: Call) -> dict[str, Any]:
    """Announce a change of a list, or of the resource with that URI."""
    what = call.arguments["what"]
    await (call.sessions.updated(what) if ":" in what else call.sessions.changed(what))
    return {}


@tool("ask_user", message=TEXT)
async def ask_user(call: Call) -> dict[str, Any]:
    """A question to the user."""
    return dict(await call.dialogue.ask({"user": elicit(call.arguments["message"], COLOUR)}))


@tool("ask_model", prompt=TEXT)
async def ask_model(call: Call) -> dict[str, Any]:
    """A question to the client's model."""
    answers = await call.dialogue.ask({"model": sample(call.arguments["prompt"])})
    return {"model": answers["model"]["model"], "text": answers["model"]["content"]["text"]}


@tool("ask_roots")
async def ask_roots(call: Call) -> dict[str, Any]:
    """A question for the client's folders."""
    return dict((await call.dialogue.ask({"roots": roots()}))["roots"])


@tool("visit")
async def visit(call: Call) -> dict[str, Any]:
    """Send the user to a page."""
    return dict(await call.dialogue.ask({"user": page(None if call.dialogue.modern else "visit-1")}))


@tool("pay", key=TEXT)
async def pay(call: Call) -> dict[str, Any]:
    """Refuse the first call with that key until the user has been to a page; of legacy servers only."""
    if not call.journal.has(call.arguments["key"]):
        call.journal.note(call.arguments["key"])
        where = page("pay-1").params
        assert isinstance(where, types.ElicitRequestURLParams)
        raise UrlElicitationRequiredError([where])
    return {"paid": True}


def page(identity: str | None) -> types.ElicitRequest:
    """A page for the user to visit; legacy ones have a name."""
    return types.ElicitRequest(
        params=types.ElicitRequestURLParams(message="Have a look", url=VISITED, elicitation_id=identity)
    )


@tool("interview")
async def interview(call: Call) -> dict[str, Any]:
    """Two questions at once, then a third, of which the words need the first answer."""
    questions: dict[str, types.InputRequest] = {"name": elicit("Your name?", NAME), "motto": sample("A motto")}
    first = await call.dialogue.ask(questions, stateful=True)
    name = field(first, "name", "name")
    second = await call.dialogue.ask({"colour": elicit(f"Your colour, {name}?", COLOUR)})
    return {"name": name, "motto": first["motto"]["content"]["text"], "colour": field(second, "colour", "colour")}


def field(answers: Answers, key: str, name: str) -> str:
    """What a user filled in."""
    content: dict[str, Any] = answers[key].get("content") or {}
    return str(content.get(name, "nothing"))
