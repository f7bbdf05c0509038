"""What clients see of the services behind a route is what the configuration makes of it."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import mcp_types as types
import pytest
import trio
from mcp import Client, MCPError

from tests.support.gateway import running_gateway
from tests.support.many_server import SHARED
from tests.support.many_servers import call, gateway_over, has_tools, listening, over, read, tools_of, web
from tests.support.sdk_user import Era, User

pytestmark = [
    pytest.mark.slow,
    # the client leaves the generators of its HTTP library to the garbage collector, which Trio reports
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]

ABSENT: dict[Era, int] = {"modern": -32602, "legacy": -32002}
"""The code for a resource that there is not."""

LONGEST = 60.0
"""Seconds for a test."""

SERVICE = {
    "tools": '{ hide = ["count"], rename = { echo = "say" } }',
    "resources": '{ hide = ["demo://left/secret*"] }',
}
"""Keys of the service `left`."""

ROUTE = {
    "tools": '{ hide = ["right__link", "*__alter"], rename = { right__echo = "speak" }, '
    'override = { right__echo = { title = "Speak", description = "Speak up.", '
    "annotations = { readOnlyHint = true } } } }",
    "prompts": '{ only = ["left__*"] }',
    "resources": '{ hide = ["demo://right/about"] }',
}
"""Keys of the route."""


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Let what the client leaves behind be collected here, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(params=["modern", "legacy"])
def era(request: pytest.FixtureRequest) -> Era:
    """What the client speaks."""
    found: Era = request.param
    return found


async def refused(client: Client, tool: str) -> None:
    """Nobody can tell a tool that is kept from clients from one that there is not."""
    with pytest.raises(MCPError) as unknown:
        await client.call_tool(tool, {"text": "x"})
    assert unknown.value.code == types.INVALID_PARAMS
    with pytest.raises(MCPError) as nothing:
        await client.call_tool("nothing", {"text": "x"})
    assert unknown.value.message.replace(tool, "nothing") == nothing.value.message


async def test_chosen_renamed_and_described(era: Era, tmp_path: Path) -> None:
    left, right = web("left", "legacy"), web("right", "modern")
    text = left.service(**SERVICE) + right.service() + over((left, right), **ROUTE) + over((left, right), "/all")
    with trio.fail_after(LONGEST):
        async with (
            listening((left, right), tmp_path),
            running_gateway(text, tmp_path) as gateway,
            User(era, gateway.url()).client() as client,
        ):
            tools = await has_tools(client, "left__say", "speak")
            assert list(tools) == [
                *(f"left__{name}" for name in ("say", "ask", "link", "touch", "grow")),
                *("speak", *(f"right__{name}" for name in ("ask", "count", "touch", "grow"))),
            ]
            assert (tools["speak"].title, tools["speak"].description) == ("Speak", "Speak up.")
            assert tools["speak"].annotations == types.ToolAnnotations(read_only_hint=True)
            assert await call(client, "left__say", text="x") == {"server": "left", "text": "x"}
            assert await call(client, "speak", text="x") == {"server": "right", "text": "x"}
            for hidden in ("left__echo", "left__count", "left__alter", "right__echo", "right__link"):
                await refused(client, hidden)
            await what_is_left_of_the_rest(client, era)
            async with User(era, gateway.url("/all")).client() as another:
                await has_tools(another, "left__say", "right__echo", "right__link")


async def what_is_left_of_the_rest(client: Client, era: Era) -> None:
    """Prompts and resources."""
    assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["left__trip"]
    with pytest.raises(MCPError) as unknown:
        await client.get_prompt("right__trip", {"town": "Rome"})
    assert unknown.value.code == types.INVALID_PARAMS
    uris = [resource.uri for resource in (await client.list_resources()).resources]
    assert uris == [SHARED, "demo://left/about", f"gatewayd://right/{SHARED}"]
    assert await read(client, "demo://left/1") == "demo://left/1 of left"
    for hidden in ("demo://right/about", "demo://left/secret-1"):
        with pytest.raises(MCPError) as absent:
            await client.read_resource(hidden)
        assert (absent.value.code, absent.value.data["uri"]) == (ABSENT[era], hidden)


async def test_a_single_service_keeps_its_names(era: Era, tmp_path: Path) -> None:
    one = web("one", "legacy" if era == "modern" else "modern")
    with trio.fail_after(LONGEST):
        async with (
            gateway_over([one], tmp_path, tools='{ hide = ["count"] }') as gateway,
            User(era, gateway.url()).client() as client,
        ):
            tools = await has_tools(client, "echo")
            assert "count" not in tools
            assert await call(client, "echo", text="x") == {"server": "one", "text": "x"}
            await refused(client, "count")


async def test_names_of_another_route(era: Era, tmp_path: Path) -> None:
    one, two, other = web("one", "modern"), web("two", "legacy"), web("other", "modern")
    also = other.service() + over((other, one), "/other")
    with trio.fail_after(LONGEST):
        async with (
            listening((other,), tmp_path),
            gateway_over([one, two], tmp_path, also=also) as gateway,
            User(era, gateway.url()).client() as client,
        ):
            await has_tools(client, "one__echo", "two__echo")
            await refused(client, "other__echo")
            for uri in (other.about, f"gatewayd://other/{SHARED}"):
                with pytest.raises(MCPError) as absent:
                    await client.read_resource(uri)
                assert absent.value.code == ABSENT[era]


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("prefix", {"echo": "one", "two__echo": "two"}),
        ("first", {"echo": "one"}),
        ("error", {}),
    ],
)
async def test_services_without_prefixes(rule: str, shown: dict[str, str], era: Era, tmp_path: Path) -> None:
    """What becomes of names that both have is declared."""
    one, two = web("one", "modern"), web("two", "legacy")
    text = one.service(prefix='""') + two.service(prefix='""') + over((one, two), conflicts=json.dumps(rule))
    with trio.fail_after(LONGEST):
        async with (
            listening((one, two), tmp_path),
            running_gateway(text, tmp_path) as gateway,
            User(era, gateway.url()).client() as client,
        ):
            await has_tools(client, *shown)
            for name in ("echo", "two__echo"):
                if name in shown:
                    assert await call(client, name, text="x") == {"server": shown[name], "text": "x"}
                else:
                    await refused(client, name)
            said = (await gateway.ask_admin("/services")).body.decode()
            assert "its name is taken by that" in said


async def test_search_instead_of_a_list(era: Era, tmp_path: Path) -> None:
    left, right = web("left", "legacy"), web("right", "modern")
    user = User(era, "")
    keys = {"discovery": '"search"', "tools": '{ hide = ["right__count"] }'}
    with trio.fail_after(LONGEST):
        async with gateway_over([left, right], tmp_path, **keys) as gateway:
            user.url = gateway.url()
            async with user.client() as client:
                assert list(await tools_of(client)) == ["search_tools", "call_tool"]
                progress = await found_by(client, "progress")
                assert "left__count" in progress
                assert "right__count" not in progress
                assert "right__ask" in await found_by(client, "ask the user")
                echoed = await call(client, "call_tool", name="right__echo", arguments={"text": "x"})
                assert echoed == {"server": "right", "text": "x"}
                for one in ("left", "right"):
                    said = await call(client, "call_tool", name=f"{one}__ask", arguments={"message": f"For {one}?"})
                    assert said["user"] == {"action": "accept", "content": {"colour": "teal"}}
                assert len(user.asked) == 2
                for unknown in ("right__count", "nothing"):
                    assert await does_not_call(client, unknown)


async def found_by(client: Client, query: str) -> str:
    """What the search answers, as text."""
    result = await client.call_tool("search_tools", {"query": query})
    assert not result.is_error
    return "".join(block.text for block in result.content if isinstance(block, types.TextContent))


async def does_not_call(client: Client, name: str) -> bool:
    """Whether a call of that name is refused, in whichever way a model can be told."""
    try:
        return (await client.call_tool("call_tool", {"name": name, "arguments": {}})).is_error is True
    except MCPError as error:
        return error.code == types.INVALID_PARAMS
