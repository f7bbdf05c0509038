"""The official Python SDK as client of one era and as server of the other, with the gateway between them.

The same tests without the gateway (`direct`) show what there is to be seen when nothing needs translating.
"""

from __future__ import annotations

import gc
import json
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
import mcp_types as types
import pytest
import trio
from mcp import Client, MCPError

from conformance.eras import ERAS
from tests.e2e.conftest import wait_listening
from tests.support.gateway import Gateway, http_service, route, running_gateway, stdio_service
from tests.support.processes import free_port, running
from tests.support.sdk_server import INSTRUCTIONS, PAGE, SERVER, TOWNS
from tests.support.sdk_sessions import LEVELS
from tests.support.sdk_tools import STEPS, TOOLS, VISITED
from tests.support.sdk_user import FOLDERS, REVISIONS, Era, User, accept, until
from tests.support.threads import entered

pytestmark = [
    pytest.mark.slow,
    # the client leaves the generators of its HTTP library to the garbage collector, which Trio reports
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]

Transport = Literal["http", "stdio", "direct"]

OTHER: dict[Era, Era] = {"modern": "legacy", "legacy": "modern"}
ABSENT: dict[Era, int] = {"modern": -32602, "legacy": -32002}
"""The code for a resource that there is not."""

LONGEST = 30.0
"""Seconds for a test; most take far less than one."""


@attrs.frozen
class World:
    """All the processes: servers of each era, the gateway in front of them, and a server without one."""

    gateway: Gateway
    direct: str
    journal: Path

    def url(self, client: Era, transport: Transport) -> str:
        """Where that client finds a server of the other era, or, directly, one of its own."""
        return self.direct if transport == "direct" else self.gateway.url(f"/{OTHER[client]}/{transport}")


def command(era: str, journal: Path) -> tuple[str, ...]:
    """A server on a pipe."""
    return (sys.executable, "-m", "tests.support.sdk_server", "--era", era, "--journal", str(journal))


@asynccontextmanager
async def open_world(folder: Path) -> AsyncGenerator[World]:
    """Start everything; it ends with the block."""
    journal = folder / "journal"
    journal.touch()
    ports = {era: free_port() for era in ERAS}
    text = ""
    for era in OTHER:
        text += http_service(f"{era}-web", ports[era]) + route(f"/{era}/http", f"{era}-web")
        text += stdio_service(f"{era}-pipe", *command(era, journal)) + route(f"/{era}/stdio", f"{era}-pipe")
    async with AsyncExitStack() as stack:
        for spoken, port in ports.items():
            serve = (*command(spoken, journal), "--http", str(port))
            await stack.enter_async_context(running(serve, folder / f"{spoken}.log"))
        for port in ports.values():
            await wait_listening(port)
        gateway = await stack.enter_async_context(running_gateway(text, folder))
        yield World(gateway, f"http://127.0.0.1:{ports['both']}/mcp", journal)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All the processes, once."""
    with entered(open_world(tmp_path_factory.mktemp("eras"))) as world:
        yield world


@pytest.fixture(params=["http", "stdio", "direct"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """Between gateway and server."""
    found: Transport = request.param
    return found


@pytest.fixture(params=["modern", "legacy"])
def user(request: pytest.FixtureRequest, transport: Transport, world: World) -> User:
    """Somebody with a client of that era."""
    era: Era = request.param
    return User(era, world.url(era, transport))


@pytest.fixture(autouse=True, scope="module")
def _collect() -> Iterator[None]:
    """Let what the client leaves behind be collected here, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture
async def client(user: User) -> AsyncIterator[Client]:
    """The client of the user."""
    with trio.fail_after(LONGEST):
        async with user.client() as client:
            yield client


@pytest.fixture
def key() -> str:
    """Something to be found in the journal."""
    return uuid.uuid4().hex


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """The structured result of a call that succeeds, which is also its text."""
    result = await client.call_tool(tool, arguments)
    [block] = result.content
    assert isinstance(block, types.TextContent)
    assert not result.is_error, block.text
    assert json.loads(block.text) == result.structured_content
    return result.structured_content


async def test_opening(client: Client, user: User) -> None:
    assert client.protocol_version == REVISIONS[user.era]
    assert client.server_info is not None
    assert client.server_info.name == SERVER
    assert client.instructions == INSTRUCTIONS
    capabilities = client.server_capabilities.model_dump(by_alias=True, exclude_none=True)
    assert capabilities == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "logging": {},
        "completions": {},
    }


async def test_tools(client: Client) -> None:
    listed = await client.list_tools()
    found = {tool.name: tool.input_schema for tool in listed.tools}
    assert len(found) == PAGE
    while listed.next_cursor is not None:
        listed = await client.list_tools(cursor=listed.next_cursor)
        found |= {tool.name: tool.input_schema for tool in listed.tools}
    assert found == {name: tool.schema for name, tool in TOOLS.items()}
    assert await call(client, "add", a=2**52, b=1) == {"sum": 2**52 + 1}
    failed = await client.call_tool("fail", {"why": "out of héllos"})
    assert failed.is_error
    assert failed.content == [types.TextContent(type="text", text="out of héllos")]
    with pytest.raises(MCPError, match="unknown tool: nothing") as unknown:
        await client.call_tool("nothing")
    assert unknown.value.code == types.INVALID_PARAMS


async def test_a_tool_with_an_argument_in_a_header(client: Client) -> None:
    """Nobody has listed the tools: the gateway has to find out by itself."""
    assert await call(client, "weather", region="Ile-de-Fränce") == {"rain in": "Ile-de-Fränce"}


async def test_resources(client: Client, user: User) -> None:
    assert [resource.uri for resource in (await client.list_resources()).resources] == ["test://about"]
    templates = (await client.list_resource_templates()).resource_templates
    assert [template.uri_template for template in templates] == ["test://town/{name}"]
    [contents] = (await client.read_resource("test://town/Parma")).contents
    assert isinstance(contents, types.TextResourceContents)
    assert contents.text == "All about Parma."
    with pytest.raises(MCPError) as absent:
        await client.read_resource("test://town/Atlantis")
    assert absent.value.code == ABSENT[user.era]
    assert absent.value.data == {"uri": "test://town/Atlantis"}


async def test_prompts(client: Client) -> None:
    [trip, letter] = (await client.list_prompts()).prompts
    assert (trip.name, letter.name) == ("trip", "letter")
    assert trip.arguments == [types.PromptArgument(name="town", required=True)]
    assert words(await client.get_prompt("trip", {"town": "Quito"})) == "Plan a trip to Quito."


def words(prompt: types.GetPromptResult) -> str:
    """The text of a prompt."""
    [message] = prompt.messages
    assert isinstance(message.content, types.TextContent)
    return message.content.text


@pytest.mark.parametrize(
    "of", [types.PromptReference(name="trip"), types.ResourceTemplateReference(uri="test://town/{name}")]
)
async def test_completion(of: types.PromptReference | types.ResourceTemplateReference, client: Client) -> None:
    completion = (await client.complete(of, {"name": "town", "value": "Par"})).completion
    assert (completion.values, completion.total, completion.has_more) == (["Paris", "Parma"], 2, False)


async def test_elicitation(client: Client, user: User) -> None:
    assert await call(client, "ask_user", message="Which colour?") == {
        "user": {"action": "accept", "content": {"colour": "teal"}}
    }
    for action in ("decline", "cancel"):
        user.answers = partial(refusal, action)
        assert await call(client, "ask_user", message="And now?") == {"user": {"action": action}}
    assert len(user.asked) == 3
    assert user.asked[0].endswith("Which colour?")


def refusal(action: Literal["decline", "cancel"], message: str) -> types.ElicitResult:
    """No."""
    return types.ElicitResult(action=action)


async def test_elicitation_by_a_page(client: Client, user: User) -> None:
    assert await call(client, "visit") == {"user": {"action": "accept"}}
    assert user.pages == [VISITED]


async def test_a_page_that_must_be_visited_first(client: Client, user: User, transport: Transport, key: str) -> None:
    """Legacy servers end the call with an error (MCP 2025-11-25, URL elicitation), which modern clients do not know."""
    if transport == "direct" or user.era == "legacy":
        with pytest.raises(MCPError) as error:
            await client.call_tool("pay", {"key": key})
        assert error.value.code == types.URL_ELICITATION_REQUIRED
    else:
        assert await call(client, "pay", key=key) == {"paid": True}
        assert user.pages == [VISITED]


async def test_elicitation_of_a_prompt(client: Client, user: User) -> None:
    user.answers = lambda message: accept(name="Grace")
    assert words(await client.get_prompt("letter")) == "Write to Grace."


async def test_sampling(client: Client) -> None:
    assert await call(client, "ask_model", prompt="Say it") == {"model": "parrot", "text": "SAY IT"}


async def test_roots(client: Client) -> None:
    assert await call(client, "ask_roots") == {"roots": [{"uri": uri} for uri in FOLDERS]}


async def test_several_questions_in_several_rounds(client: Client, user: User) -> None:
    user.answers = lambda message: accept(name="Ada") if "name" in message else accept(colour=message)
    found = await call(client, "interview")
    assert found.pop("colour").endswith("Your colour, Ada?")
    assert found == {"name": "Ada", "motto": "A MOTTO"}
    assert len(user.asked) == 2


async def test_a_client_that_cannot_answer(user: User, transport: Transport) -> None:
    """It is told what it lacks. What a legacy server says without the gateway is up to the server."""
    with trio.fail_after(LONGEST):
        async with Client(user.url, mode="auto" if user.era == "modern" else "legacy") as client:
            with pytest.raises(MCPError) as lacking:
                await client.call_tool("ask_user", {"message": "Anybody?"})
            if (user.era, transport) != ("legacy", "direct"):
                assert lacking.value.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
                assert "elicitation" in lacking.value.data["requiredCapabilities"]
            assert await call(client, "add", a=1, b=1) == {"sum": 2}


async def test_progress(client: Client) -> None:
    steps: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    result = await client.call_tool("count", progress_callback=note)
    assert result.structured_content == {"steps": STEPS}
    assert steps == [(step, STEPS, f"step {step}") for step in range(1, STEPS + 1)]


@pytest.mark.parametrize("level", ["debug", "warning", "emergency"])
async def test_logging(level: types.LoggingLevel, user: User) -> None:
    with trio.fail_after(LONGEST):
        async with user.client(level) as client:
            await call(client, "chatter")
            await until(lambda: len(user.logs) == len(LEVELS) - LEVELS.index(level), f"logs from {level}")
    assert user.logs == list(LEVELS[LEVELS.index(level) :])


async def test_each_client_has_its_own_log_level(user: User, transport: Transport) -> None:
    """Also one that wants no logs, though it may share a session of the upstream with others that do."""
    quiet, silent = User(user.era, user.url), User(user.era, user.url)
    with trio.fail_after(LONGEST):
        async with user.client("info") as first, quiet.client("error") as second, silent.client() as third:
            for client in (first, second, third, second, first):
                await call(client, "chatter")
            await until(lambda: len(user.logs) == 2 * 7 and len(quiet.logs) == 2 * 4, "logs")
    assert set(quiet.logs) == set(LEVELS[4:])
    if (user.era, transport) != ("legacy", "direct"):
        assert silent.logs == []


async def test_changes_of_lists(client: Client, user: User, key: str) -> None:
    async with user.listening(client, f"test://{key}"):
        for what in ("tools", "prompts", "resources"):
            await call(client, "change", what=what)
            await user.hears(f"notifications/{what}/list_changed")
            await call(client, "add", a=1, b=1)
    assert len(user.heard) == 3


async def test_updates_of_resources(client: Client, user: User, key: str) -> None:
    mine, other, last = f"test://mine/{key}", f"test://other/{key}", f"test://last/{key}"
    updated = "notifications/resources/updated"
    async with user.listening(client, mine), user.listening(client, last):
        for uri in (mine, other, mine, last):
            await call(client, "change", what=uri)
            if uri != other:
                await user.hears(updated, uri)
        assert (updated, other) not in user.heard
    user.heard.clear()
    async with user.listening(client, last):
        await call(client, "change", what=mine)
        await call(client, "change", what=last)
        await user.hears(updated, last)
        assert (updated, mine) not in user.heard


async def test_cancellation(client: Client, world: World, key: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.call_tool, "wait", {"key": key})
        await until(lambda: f"{key} began" in world.journal.read_text(), "the call begins")
        nursery.cancel_scope.cancel()
    await until(lambda: f"{key} cancelled" in world.journal.read_text(), "the server notices")
    assert await call(client, "add", a=1, b=1) == {"sum": 2}


async def test_questions_of_calls_at_once_do_not_mix(client: Client, user: User, transport: Transport) -> None:
    """A legacy server on a pipe does not say which call a question belongs to: one that nobody can tell is refused."""
    user.answers = lambda message: accept(colour=message.split()[-1])
    found, refused = dict[str, Any](), list[int]()

    async def ask(colour: str) -> None:
        try:
            found[colour] = await call(client, "ask_user", message=f"What about {colour}")
        except MCPError as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        for colour in TOWNS:
            nursery.start_soon(ask, colour)
    assert found == {town: {"user": {"action": "accept", "content": {"colour": town}}} for town in found}
    assert len(found) + len(refused) == len(TOWNS)
    assert set(refused) <= ({types.METHOD_NOT_FOUND} if (transport, user.era) == ("stdio", "modern") else set())
    assert (await call(client, "ask_user", message="What about Rome"))["user"]["content"] == {"colour": "Rome"}
