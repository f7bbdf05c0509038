"""The tool lock: what was not approved is kept from clients, and approved by one command."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import mcp_types as types
import pytest
import trio
from mcp import Client, MCPError

from tests.support.gateway import Gateway
from tests.support.many_server import CHANGED
from tests.support.many_servers import OWN, call, gateway_over, has_tools, tools_of, web
from tests.support.processes import PATIENCE, ROOT
from tests.support.sdk_user import Era, User

pytestmark = [
    pytest.mark.slow,
    # the client leaves the generators of its HTTP library to the garbage collector, which Trio reports
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]

LIST_CHANGED = "notifications/tools/list_changed"
ERAS: tuple[Era, ...] = ("modern", "legacy")
ALL = [f"{name}__{tool}" for name in ("left", "right") for tool in OWN]

LONGEST = 60.0
"""Seconds for a test."""


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Let what the client leaves behind be collected here, and not in somebody else's test."""
    yield
    gc.collect()


async def approve(gateway: Gateway) -> None:
    """`gatewayd lock CONFIG`, and a reload. Bounded."""
    with trio.fail_after(PATIENCE):
        await trio.run_process([sys.executable, "-m", "gatewayd", "lock", str(gateway.config)], cwd=ROOT)
    gateway.reload()


async def withheld(client: Client, *tools: str) -> None:
    """Neither listed nor to be called."""
    assert not (await tools_of(client)).keys() & set(tools)
    for tool in tools:
        with pytest.raises(MCPError) as unknown:
            await client.call_tool(tool, {"text": "x"})
        assert unknown.value.code == types.INVALID_PARAMS


async def reported(gateway: Gateway, *reasons: str) -> None:
    """Wait until `/services` says all of that. Bounded."""
    said = ""
    with trio.fail_after(PATIENCE):
        while not all(reason in said for reason in reasons):
            await trio.sleep(0.05)
            said = (await gateway.ask_admin("/services")).body.decode()


@pytest.mark.parametrize("era", ERAS)
async def test_what_was_not_approved_is_withheld(era: Era, tmp_path: Path) -> None:
    left, right = web("left", "legacy"), web("right", "modern")
    user = User(era, "")
    with trio.fail_after(LONGEST):
        async with gateway_over([left, right], tmp_path, lock='"enforce"') as gateway:
            user.url = gateway.url()
            async with user.client() as client, user.listening(client, left.about):
                assert await tools_of(client) == {}
                await approve(gateway)
                await user.hears(LIST_CHANGED)
                assert list(await has_tools(client, *ALL)) == ALL
                for one in ("left", "right"):
                    await change_and_approve(gateway, user, client, one)


async def change_and_approve(gateway: Gateway, user: User, client: Client, one: str) -> None:
    """A description that becomes another, a schema that takes more, and a tool that was not there."""
    added, changes = f"{one}__added", len(gateway.events())
    for change, arguments, gone in (
        ("alter", {"what": "description"}, f"{one}__echo"),
        ("alter", {"what": "schema"}, f"{one}__count"),
    ):
        user.heard.clear()
        await call(client, f"{one}__{change}", **arguments)
        await user.hears(LIST_CHANGED)
        await withheld(client, gone)
    await call(client, f"{one}__grow", name="added")
    await reported(gateway, "has changed: description", "has changed: schema", "is new")
    await withheld(client, added)
    assert {"echo", "count", "added"} <= {str(event.get("tool")) for event in gateway.events()[changes:]}
    await approve(gateway)
    tools = await has_tools(client, added, f"{one}__echo", f"{one}__count")
    assert tools[f"{one}__echo"].description == CHANGED
    assert "secret" in tools[f"{one}__count"].input_schema["properties"]
    assert await call(client, f"{one}__echo", text="x") == {"server": one, "text": "x"}


async def test_what_was_not_approved_is_reported(tmp_path: Path) -> None:
    left, right = web("left", "legacy"), web("right", "modern")
    with trio.fail_after(LONGEST):
        async with (
            gateway_over([left, right], tmp_path, lock='"warn"') as gateway,
            User("modern", gateway.url()).client() as client,
        ):
            assert list(await has_tools(client, *ALL)) == ALL
            assert await call(client, "left__echo", text="x") == {"server": "left", "text": "x"}
            assert "is new" in (await gateway.ask_admin("/services")).body.decode()


async def test_the_lock_file_can_be_read_in_a_diff(tmp_path: Path) -> None:
    """A tool that changes changes lines that name it, and no other."""
    left, right = web("left", "modern"), web("right", "modern")
    lock = tmp_path / "tools.lock"
    with trio.fail_after(LONGEST):
        async with (
            gateway_over([left, right], tmp_path, lock='"enforce"') as gateway,
            User("modern", gateway.url()).client() as client,
        ):
            await approve(gateway)
            before = lock.read_text().splitlines()
            await has_tools(client, "left__alter")
            await call(client, "left__alter", what="description")
            await approve(gateway)
            after = lock.read_text().splitlines()
    assert len(before) == len(after) > len(ALL)
    different = [number for number, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    section = before.index("[services.left.tools.echo]")
    assert [before[number].split()[0] for number in different] == ["description", "text"]
    assert all(section < number < before.index("", section) for number in different)
    assert CHANGED in after[different[1]]
