"""The servers behind an address come and go while clients of both eras have sessions open."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import mcp_types as types
import pytest
import trio
from mcp import Client, MCPError

from tests.support.gateway import Gateway, running_gateway
from tests.support.many_servers import One, call, has_tools, listening, over, tools_of, web
from tests.support.sdk_user import Era, User

pytestmark = [
    pytest.mark.slow,
    # the client leaves the generators of its HTTP library to the garbage collector, which Trio reports
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]

CHANGED = "notifications/tools/list_changed"
UNREACHABLE = -31001
ERAS: tuple[Era, ...] = ("modern", "legacy")

LONGEST = 60.0
"""Seconds for a test."""

SOON = 2.0
"""Seconds from the signal to the news, where the machine may be busy. It should be 250 ms."""

Listener = tuple[User, Client]


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Let what the client leaves behind be collected here, and not in somebody else's test."""
    yield
    gc.collect()


def text(servers: tuple[One, ...]) -> str:
    """The configuration with a route over these."""
    return "".join(server.service() for server in servers) + over(servers)


@asynccontextmanager
async def listeners(gateway: Gateway, *servers: One) -> AsyncGenerator[list[Listener]]:
    """A client of each era that sees these servers and listens for changes; it has heard of none."""
    async with AsyncExitStack() as stack:
        found = list[Listener]()
        for era in ERAS:
            user = User(era, gateway.url())
            client = await stack.enter_async_context(user.client())
            await has_tools(client, *(f"{server.name}__echo" for server in servers))
            await stack.enter_async_context(user.listening(client, servers[0].about))
            found.append((user, client))
        for user, _ in found:
            user.heard.clear()
        yield found


async def heard_after_reload(gateway: Gateway, config: str, users: list[User]) -> list[float]:
    """Reload: seconds from the signal until each of them heard that there are other tools."""
    delays = dict[Era, float]()

    async def wait(user: User, start: float) -> None:
        await user.hears(CHANGED)
        delays[user.era] = trio.current_time() - start

    gateway.reload(config)
    async with trio.open_nursery() as nursery:
        for user in users:
            nursery.start_soon(wait, user, trio.current_time())
    sys.stdout.write("".join(f"{era}: heard {delay * 1000:.0f} ms after SIGHUP\n" for era, delay in delays.items()))
    return list(delays.values())


@pytest.mark.parametrize("era", ERAS)
async def test_a_service_more(era: Era, tmp_path: Path) -> None:
    """It is announced at once, and used in the sessions that there are."""
    first, second, late = web("first", "legacy"), web("second", "modern"), web("late", era)
    with trio.fail_after(LONGEST):
        async with (
            listening((first, second, late), tmp_path),
            running_gateway(text((first, second)), tmp_path) as gateway,
            listeners(gateway, first, second) as found,
        ):
            delays = await heard_after_reload(gateway, text((first, second, late)), [user for user, _ in found])
            assert max(delays) < SOON
            for _, client in found:
                assert "late__echo" in await tools_of(client)
                assert await call(client, "late__echo", text="x") == {"server": "late", "text": "x"}
                assert await call(client, "first__echo", text="x") == {"server": "first", "text": "x"}


async def test_a_service_less(tmp_path: Path) -> None:
    first, second, gone = web("first", "legacy"), web("second", "modern"), web("gone", "modern")
    with trio.fail_after(LONGEST):
        async with (
            listening((first, second, gone), tmp_path),
            running_gateway(text((first, second, gone)), tmp_path) as gateway,
            listeners(gateway, first, second, gone) as found,
        ):
            assert max(await heard_after_reload(gateway, text((first, second)), [user for user, _ in found])) < SOON
            for _, client in found:
                assert not [name for name in await tools_of(client) if name.startswith("gone__")]
                with pytest.raises(MCPError) as unknown:
                    await client.call_tool("gone__echo", {"text": "x"})
                assert unknown.value.code == types.INVALID_PARAMS
                assert await call(client, "second__echo", text="x") == {"server": "second", "text": "x"}


async def test_a_reload_that_changes_nothing_for_a_route_is_not_announced(tmp_path: Path) -> None:
    first, second = web("first", "legacy"), web("second", "modern")
    config = text((first, second))
    with trio.fail_after(LONGEST):
        async with (
            listening((first, second), tmp_path),
            running_gateway(config, tmp_path) as gateway,
            listeners(gateway, first, second) as found,
        ):
            gateway.reload(config + over((first,), "/another"))
            await gateway.wait_event("reloaded")
            for user, client in found:
                await call(client, "first__touch", uri=first.about)
                await user.hears("notifications/resources/updated", first.about)
                assert (CHANGED, None) not in user.heard


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_comes_and_goes(era: Era, tmp_path: Path) -> None:
    """One that is down when everything starts is announced when it is up; when it is gone, others do not suffer."""
    first, late = web("first", "modern"), web("late", era)
    with trio.fail_after(LONGEST):
        async with (
            listening((first,), tmp_path),
            running_gateway(text((first, late)), tmp_path) as gateway,
            listeners(gateway, first) as found,
        ):
            for _, client in found:
                assert not [name for name in await tools_of(client) if name.startswith("late__")]
            [left_out] = gateway.events("service left out")
            assert left_out["service"] == "late"
            async with listening((late,), tmp_path):
                for user, client in found:
                    await user.hears(CHANGED)
                    assert "late__echo" in await tools_of(client)
                    assert await call(client, "late__echo", text="x") == {"server": "late", "text": "x"}
                await gateway.wait_event("service is back")
            for _, client in found:
                with pytest.raises(MCPError) as broken:
                    await client.call_tool("late__echo", {"text": "x"})
                assert broken.value.code == UNREACHABLE
                assert await call(client, "first__echo", text="x") == {"server": "first", "text": "x"}
