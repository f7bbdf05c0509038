"""Twelve servers behind one address, of both eras and on both transports; three of them are dead, slow and lying.

Clients on the official SDK, of both eras, use all that is left.
"""

from __future__ import annotations

import gc
import json
import uuid
from collections.abc import AsyncIterator, Iterator

import mcp_types as types
import pytest
import trio
from mcp import Client, MCPError

from tests.support.lying_server import AGAIN, BAD, HIDDEN, HONEST
from tests.support.many_server import SHARED
from tests.support.many_servers import (
    OWN,
    One,
    World,
    call,
    has_tools,
    list_once,
    open_world,
    read,
    services_of,
    tools_of,
)
from tests.support.sdk_tools import STEPS
from tests.support.sdk_user import Era, User
from tests.support.threads import entered

pytestmark = [
    pytest.mark.slow,
    # the client leaves the generators of its HTTP library to the garbage collector, which Trio reports
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]

ABSENT: dict[Era, int] = {"modern": -32602, "legacy": -32002}
"""The code for a resource that there is not."""

BUDGET = 3.0
"""Seconds that a list waits for a service that was not late before: the default of `patience`."""

LONGEST = 60.0
"""Seconds for a test."""

UPDATED = "notifications/resources/updated"
CHANGED = "notifications/tools/list_changed"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All the processes, once."""
    with entered(open_world(tmp_path_factory.mktemp("many"))) as world:
        yield world


@pytest.fixture(autouse=True, scope="module")
def _collect() -> Iterator[None]:
    """Let what the client leaves behind be collected here, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(params=["modern", "legacy"])
def user(request: pytest.FixtureRequest, world: World) -> User:
    """Somebody with a client of that era."""
    era: Era = request.param
    return User(era, world.url)


@pytest.fixture
async def client(user: User, world: World) -> AsyncIterator[Client]:
    """The client of the user, when it sees all that there is to be seen."""
    with trio.fail_after(LONGEST):
        async with user.client() as client:
            await has_tools(client, *(f"{one.name}__echo" for one in world.live), f"liar__{HONEST}")
            yield client


async def uris_of(client: Client) -> list[str]:
    """All resources, in their order."""
    return [resource.uri for resource in (await client.list_resources()).resources]


async def shared_of(client: Client, one: One) -> str:
    """Under which URI clients find what that server calls by the name that all have for it."""
    uris = await uris_of(client)
    return uris[uris.index(one.about) - 1]


def test_the_first_list_is_not_late(world: World) -> None:
    assert world.first < BUDGET + 1


def test_what_is_left_out_is_shown_and_logged(world: World) -> None:
    assert "ready" not in (world.begun["dead"]["state"], world.begun["slow"]["state"])
    assert world.begun["dead"]["state"] != world.begun["slow"]["state"]
    logged = {event["service"]: event for event in world.gateway.events("service left out")}
    assert logged.keys() >= {"dead", "slow"}
    assert all(logged[name]["level"] == "warning" and logged[name]["reason"] for name in ("dead", "slow"))


async def test_later_lists_wait_for_nobody(client: Client, world: World) -> None:
    await list_once(world.gateway)
    for _ in range(3):
        start = trio.current_time()
        await list_once(world.gateway)
        assert len(await tools_of(client)) > len(world.live) * len(OWN)
        assert trio.current_time() - start < 1


async def test_opening(client: Client, user: User, world: World) -> None:
    async with user.client() as another:
        capabilities = another.server_capabilities.model_dump(by_alias=True, exclude_none=True)
        assert another.instructions is not None
        places = [another.instructions.find(f"I am {one.name}.") for one in world.live]
    assert -1 not in places
    assert places == sorted(places)
    assert capabilities["tools"]["listChanged"] is True
    assert capabilities["prompts"]["listChanged"] is True
    assert capabilities["resources"] == {"listChanged": True, "subscribe": True}
    assert capabilities.keys() >= {"logging", "completions"}


async def test_lists(client: Client, world: World) -> None:
    names = [one.name for one in world.live]
    tools = await tools_of(client)
    ours = [name for name in tools if not name.startswith("liar__") and "grown" not in name]
    assert ours == [f"{name}__{tool}" for name in names for tool in OWN]
    assert [prompt.name for prompt in (await client.list_prompts()).prompts] == [f"{name}__trip" for name in names]
    templates = (await client.list_resource_templates()).resource_templates
    assert [template.uri_template for template in templates] == [one.template for one in world.live]
    uris = await uris_of(client)
    assert uris[1::2] == [one.about for one in world.live]
    assert uris[0] == SHARED
    assert uris[2::2] == [f"gatewayd://{name}/{SHARED}" for name in names[1:]]


async def test_the_liar(client: Client, world: World) -> None:
    """One of two tools of the same name is a tool, and what nobody can see in a description can be taken out of it."""
    tools = {name: tool for name, tool in (await tools_of(client)).items() if name.startswith("liar__")}
    assert tools.keys() == {"liar__honest", "liar__twice", "liar__tags"}
    assert tools["liar__twice"].description != AGAIN["description"]
    assert tools["liar__tags"].description == BAD["tags"][0]["description"].removesuffix(HIDDEN)
    assert await call(client, "liar__honest", text="x") == {"server": "liar", "called": "honest"}
    for bad in ("no-schema", "array-schema", "huge", "be\x07ll"):
        with pytest.raises(MCPError) as unknown:
            await client.call_tool(f"liar__{bad}")
        assert unknown.value.code == types.INVALID_PARAMS
    shown = json.dumps((await services_of(world.gateway))["liar"])
    for reason in ("twice", "no-schema", "text-schema", "array-schema", "be\\\\u0007ll", "ze\\\\u200bro", "tags"):
        assert reason in shown
    for reason in (
        "is listed twice",
        "its name has hidden characters",
        "inputSchema",
        "KiB",
        "x-mcp-header",
        "does not end",
    ):
        assert reason in shown


async def test_calls(client: Client, world: World) -> None:
    for one in world.live:
        assert await call(client, f"{one.name}__echo", text="héllo") == {"server": one.name, "text": "héllo"}


@pytest.mark.parametrize("name", ["nothing", "echo", "legacy-web-1__nothing", "nobody__echo"])
async def test_a_tool_that_there_is_not(name: str, client: Client) -> None:
    with pytest.raises(MCPError) as unknown:
        await client.call_tool(name, {"text": "x"})
    assert unknown.value.code == types.INVALID_PARAMS


async def test_resources(client: Client, world: World) -> None:
    for one in world.live:
        assert await read(client, one.about) == f"{one.about} of {one.name}"
        assert await read(client, await shared_of(client, one)) == f"{SHARED} of {one.name}"
        found = one.template.format(id="7")
        assert await read(client, found) == f"{found} of {one.name}"


@pytest.mark.parametrize("uri", ["demo://legacy-pipe-1/nothing", "demo://modern-web-1/nothing", "demo://nobody/1"])
async def test_a_resource_that_there_is_not(uri: str, client: Client, user: User) -> None:
    with pytest.raises(MCPError) as absent:
        await client.read_resource(uri)
    assert (absent.value.code, absent.value.data["uri"]) == (ABSENT[user.era], uri)


async def test_what_results_point_to_can_be_read(client: Client, world: World) -> None:
    """Under the same URIs as in the lists, and also what is in none."""
    for one in world.live:
        shared = await shared_of(client, one)
        *links, enclosed = (await client.call_tool(f"{one.name}__link")).content
        uris = [link.uri for link in links if isinstance(link, types.ResourceLink)]
        assert uris == [shared, one.about, one.template.format(id="unlisted")]
        for uri in uris:
            assert (await read(client, uri)).endswith(f" of {one.name}")
        assert isinstance(enclosed, types.EmbeddedResource)
        assert enclosed.resource.uri == shared


async def test_prompts(client: Client, world: World) -> None:
    for one in world.live:
        [message] = (await client.get_prompt(f"{one.name}__trip", {"town": "Rome"})).messages
        assert isinstance(message.content, types.TextContent)
        assert message.content.text == f"To Rome with {one.name}."
    with pytest.raises(MCPError) as unknown:
        await client.get_prompt("trip", {"town": "Rome"})
    assert unknown.value.code == types.INVALID_PARAMS


async def test_completion(client: Client, world: World) -> None:
    argument = {"name": "town", "value": "Par"}
    for one in world.live:
        prompt = types.PromptReference(name=f"{one.name}__trip")
        for of in (prompt, types.ResourceTemplateReference(uri=one.template)):
            values = (await client.complete(of, argument)).completion.values
            assert values == [f"Paris of {one.name}", f"Parma of {one.name}"]
    with pytest.raises(MCPError) as unknown:
        await client.complete(types.PromptReference(name="trip"), argument)
    assert unknown.value.code == types.INVALID_PARAMS


async def test_elicitation(client: Client, user: User, world: World) -> None:
    for one in world.live:
        said = await call(client, f"{one.name}__ask", message=f"Which colour, {one.name}?")
        assert said == {"server": one.name, "user": {"action": "accept", "content": {"colour": "teal"}}}
        assert user.asked[-1].endswith(f"Which colour, {one.name}?")
    assert len(user.asked) == len(world.live)


async def test_progress(client: Client, world: World) -> None:
    for one in world.live:
        steps = list[str | None]()

        async def note(
            progress: float, total: float | None, message: str | None, steps: list[str | None] = steps
        ) -> None:
            steps.append(message)

        await client.call_tool(f"{one.name}__count", progress_callback=note)
        assert steps == [f"step {step} of {one.name}" for step in range(1, STEPS + 1)]


async def test_subscriptions(client: Client, user: User, world: World) -> None:
    """Each update comes under the URI that was subscribed to, whichever name the server has for it."""
    for one in world.kinds:
        shared = await shared_of(client, one)
        async with user.listening(client, one.about), user.listening(client, shared):
            for own, exposed in ((one.about, one.about), (SHARED, shared)):
                await call(client, f"{one.name}__touch", uri=own)
                await user.hears(UPDATED, exposed)
        assert [uri for method, uri in user.heard if method == UPDATED] == [one.about, shared]
        user.heard.clear()


async def test_updates_of_a_name_that_all_have(client: Client, user: User, world: World) -> None:
    """Who subscribed to that of one server does not hear of that of another."""
    first, *_, other = world.live
    async with user.listening(client, SHARED), user.listening(client, first.about):
        await call(client, f"{other.name}__touch", uri=SHARED)
        await call(client, f"{first.name}__touch", uri=first.about)
        await user.hears(UPDATED, first.about)
        await call(client, f"{first.name}__touch", uri=SHARED)
        await user.hears(UPDATED, SHARED)
    assert [uri for method, uri in user.heard if method == UPDATED] == [first.about, SHARED]


async def test_a_tool_more(client: Client, user: User, world: World) -> None:
    for one in world.kinds:
        name = f"grown-{uuid.uuid4().hex[:8]}"
        user.heard.clear()
        async with user.listening(client, one.about):
            await call(client, f"{one.name}__grow", name=name)
            await user.hears(CHANGED)
            assert f"{one.name}__{name}" in await tools_of(client)
            assert await call(client, f"{one.name}__{name}", text="x") == {"server": one.name, "text": "x"}
