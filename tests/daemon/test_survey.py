"""Services are asked what they offer, and nothing is left of that."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest
import trio

from gatewayd.catalog.kinds import KINDS, TOOLS, Kind
from gatewayd.daemon.survey import Answered, Survey, survey
from gatewayd.routes.shaping import Shape, Shapes
from gatewayd.routes.table import HttpTarget, Launch, Route, Service, StdioTarget, Table
from gatewayd.routes.virtual import Member, Virtual
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.processes import ROOT, free_port
from tests.support.scripted import Eras

pytestmark = pytest.mark.slow

EVERYTHING = tuple(KINDS.values())
HANGS = Service("hangs", StdioTarget(Launch((sys.executable, "-c", "import time; time.sleep(60)"))))


def web(port: int, name: str = "web", launch: Launch | None = None) -> Service:
    """A service over HTTP on this machine."""
    return Service(name, HttpTarget(f"http://127.0.0.1:{port}/mcp", "http", "127.0.0.1", port, "/mcp", launch))


def table_of(*services: Service, virtual: Virtual | None = None) -> Table:
    """A table with one route over all of them."""
    route = Route("/mcp", tuple(service.name for service in services), virtual=virtual)
    return Table(services={service.name: service for service in services}, routes={"/mcp": route})


async def ask(table: Table, kinds: Sequence[Kind] = EVERYTHING, timeout: float = 20.0) -> tuple[Survey, list[Answered]]:
    """The survey of all services, and the answers in the order in which they came. Bounded."""
    told: list[Answered] = []
    with trio.fail_after(timeout + 10):
        return await survey(table, tuple(table.services), kinds, timeout, told.append), told


async def wait_let_go(server: CountingServer) -> None:
    """Wait until nobody is connected any more, has a session or listens. Bounded."""
    with trio.fail_after(5):
        while server.sessions or server.listens or server.counters["connections"]:
            await trio.sleep(0.01)


@pytest.mark.parametrize("eras", ["legacy", "modern"])
async def test_what_a_service_lists_is_told_and_its_sessions_end(eras: Eras) -> None:
    async with open_counting_server(eras=eras) as server:
        found, told = await ask(table_of(web(server.port)))
        await wait_let_go(server)
    [answered] = found.services
    assert (answered.error, answered.whole, told) == (None, True, [answered])
    [offered] = found.routes
    assert [name for name, _ in offered.tools] == list(answered.tools)
    assert (offered.virtual, offered.told) == (False, offered.tokens)
    assert offered.listed == answered.listed
    assert offered.heaviest(1)[0][1] == max(tokens for _, tokens in offered.tools)


async def test_a_route_shows_what_it_is_to_show() -> None:
    async with open_counting_server() as server:
        names = list((await ask(table_of(web(server.port)), (TOOLS,)))[0].services[0].tools)
        members = (Member("one", "one"), Member("two", "two", Shapes(tools=Shape(only=(names[0],)))))
        services = web(server.port, "one"), web(server.port, "two")
        found, _ = await ask(table_of(*services, virtual=Virtual(members)), (TOOLS,))
        [offered] = found.routes
        assert [name for name, _ in offered.tools] == [*(f"one__{name}" for name in names), f"two__{names[0]}"]
        found, _ = await ask(table_of(*services, virtual=Virtual(members, discovery="search")), (TOOLS,))
        [searched] = found.routes
        assert (searched.tools, searched.told != searched.tokens) == (offered.tools, True)


async def test_one_that_hangs_keeps_nobody_waiting() -> None:
    async with open_counting_server() as server:
        found, told = await ask(table_of(HANGS, web(free_port(), "dead"), web(server.port)), (TOOLS,), 0.5)
    assert [answered.service for answered in found.services] == ["hangs", "dead", "web"]
    assert sorted(answered.service for answered in told[:2]) == ["dead", "web"]
    hangs, dead, live = found.services
    assert (hangs.error, hangs.whole) == ("it did not say within 0.5 seconds what it offers", False)
    assert str(dead.error).startswith("the service cannot be reached (")
    assert live.error is None
    assert hangs.seconds >= 0.5 > live.seconds


async def test_a_server_that_is_started_has_time_to_begin_to_listen() -> None:
    port = free_port()
    command = (sys.executable, "-m", "gatewayd", "demo", "--http", f"127.0.0.1:{port}")
    found, _ = await ask(table_of(web(port, launch=Launch(command, cwd=str(ROOT)))))
    assert "echo" in found.services[0].tools
    with pytest.raises(OSError):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_an_interrupted_survey_lets_everything_go() -> None:
    async with open_counting_server(eras="legacy") as server, trio.open_nursery() as nursery:
        web_answered = trio.Event()

        async def run() -> None:
            table = table_of(HANGS, web(server.port))
            await survey(table, tuple(table.services), EVERYTHING, 60.0, lambda answered: web_answered.set())

        nursery.start_soon(run)
        with trio.fail_after(20):
            await web_answered.wait()
        assert server.sessions
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_let_go(server)
