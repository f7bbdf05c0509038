"""From ready to stopped: what clients, probes and the service manager see of a drain, in this order."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.daemon.inprocess import Running, running_daemon
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.gateway import http_service, route
from tests.support.storm import wait_until

pytestmark = pytest.mark.slow

SHORT = 'drain = "200ms"\n\n'


def text(server: CountingServer) -> str:
    """One service, one route."""
    return http_service("web", server.port) + route("/mcp", "web")


async def begin(client: wire.WireClient, server: CountingServer, tool: str, **arguments: float) -> None:
    """Have a modern call at the upstream."""
    await client.send(wire.modern("tools/call", wire.call(tool, **arguments), id=7))
    await wait_until(lambda: server.script.counters.in_flight == 1)


async def drain(daemon: Running) -> None:
    """Begin to drain."""
    daemon.send(signal.SIGTERM)
    await daemon.hear("STOPPING")


async def test_ready_is_said_when_it_is_true(tmp_path: Path, server: CountingServer) -> None:
    async with running_daemon(tmp_path, text(server)) as daemon:
        assert daemon.status == "serving 1 routes"
        assert (await daemon.admin("/readyz")).json() == {"ready": True, "reason": "serving"}
        assert await daemon.call() == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_without_calls_the_end_is_at_once(tmp_path: Path, server: CountingServer, number: signal.Signals) -> None:
    async with running_daemon(tmp_path, text(server)) as daemon, wire.connect(daemon.address) as idle:
        assert (await idle.ask(wire.modern("tools/list"))).status == 200
        daemon.send(number)
        with trio.fail_after(5):
            assert await idle.closed()
            await daemon.wait_ended()


async def test_a_drain_lets_a_call_finish_and_nobody_in(tmp_path: Path, server: CountingServer) -> None:
    async with running_daemon(tmp_path, text(server)) as daemon, wire.connect(daemon.address) as client:
        await begin(client, server, "progress", steps=5, delay=0.1)
        await drain(daemon)
        ready = await daemon.admin("/readyz")
        assert (ready.status, ready.json()) == (503, {"ready": False, "reason": "draining"})
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream(*daemon.address)
        reply = await client.reply()
        assert (reply.status, reply.json()["id"]) == (200, 7)
        assert "result" in reply.json()
        assert await client.closed()
        await daemon.wait_ended()


async def test_subscriptions_end_first_and_streams_of_sessions_last(tmp_path: Path, server: CountingServer) -> None:
    async with (
        running_daemon(tmp_path, text(server)) as daemon,
        wire.connect(daemon.address) as modern,
        wire.connect(daemon.address) as legacy,
        wire.connect(daemon.address) as calling,
    ):
        wanted = {"notifications": {"toolsListChanged": True}}
        await modern.send(wire.modern("subscriptions/listen", wanted, id="s"))
        assert (await modern.head()).status == 200
        session = await wire.open_session(legacy)
        await legacy.send(wire.get_stream(session))
        assert (await legacy.head()).status == 200
        await begin(calling, server, "progress", steps=5, delay=0.1)
        await drain(daemon)
        last = [message async for message in modern.events()][-1]
        assert (last["id"], last["result"]["resultType"]) == ("s", "complete")
        assert server.script.counters.in_flight == 1
        async with trio.open_nursery() as nursery:
            left: list[str] = []

            async def leave(who: str, wait: Callable[[], Awaitable[object]]) -> None:
                await wait()
                left.append(who)

            rest = bytearray()

            async def read() -> None:
                rest.extend(await legacy.rest())

            nursery.start_soon(leave, "stream", read)
            nursery.start_soon(leave, "call", calling.reply)
        assert left == ["call", "stream"]
        assert b"retry: 3000" in rest
        await daemon.wait_ended()


async def test_a_call_that_outlasts_the_drain_is_told_so(tmp_path: Path, server: CountingServer) -> None:
    async with running_daemon(tmp_path, SHORT + text(server)) as daemon, wire.connect(daemon.address) as client:
        await begin(client, server, "hang")
        await drain(daemon)
        with trio.fail_after(5):
            reply = await client.reply()
        assert reply.status == 503
        assert reply.headers["retry-after"]
        error = reply.json()["error"]
        assert (reply.json()["id"], error["code"]) == (7, -31009)
        await daemon.wait_ended()
        await wait_until(lambda: server.script.counters.in_flight == 0)


async def test_a_second_signal_does_not_wait(tmp_path: Path, server: CountingServer) -> None:
    async with running_daemon(tmp_path, text(server)) as daemon, wire.connect(daemon.address) as client:
        await begin(client, server, "hang")
        await drain(daemon)
        daemon.send(signal.SIGTERM)
        with trio.fail_after(5):
            await daemon.wait_ended()
            assert await client.closed()
        await wait_until(lambda: server.script.counters.in_flight == 0)


async def test_a_reload_during_the_drain_is_ignored(tmp_path: Path, server: CountingServer) -> None:
    async with running_daemon(tmp_path, text(server)) as daemon, wire.connect(daemon.address) as client:
        await begin(client, server, "progress", steps=5, delay=0.1)
        await drain(daemon)
        daemon.write("not TOML")
        daemon.send(signal.SIGHUP)
        assert "result" in (await client.reply()).json()
        await daemon.wait_ended()
        assert daemon.daemon.table()["generation"] == 1


async def test_a_restart_goes_on_with_the_sessions_of_clients_and_upstreams(
    tmp_path: Path, server: CountingServer
) -> None:
    async with running_daemon(tmp_path, text(server)) as daemon, wire.connect(daemon.address) as client:
        session = await wire.open_session(client)
        await drain(daemon)
        await daemon.wait_ended()
        await wait_until(lambda: server.script.counters.connections == 0)
    async with running_daemon(tmp_path, text(server)) as daemon, wire.connect(daemon.address) as client:
        assert (await client.ask(wire.legacy("tools/list", session=session))).status == 200
        assert server.counters["sessions"] == 1
        assert (await client.ask(wire.legacy("tools/list", session=f"{session[:-1]}-"))).status == 404


async def test_a_gateway_that_cannot_keep_its_key_serves_all_the_same(tmp_path: Path, server: CountingServer) -> None:
    (tmp_path / "state").write_text("no folder")
    async with running_daemon(tmp_path, text(server)) as daemon, wire.connect(daemon.address) as client:
        session = await wire.open_session(client)
        await daemon.reload(text(server) + route("/more", "web"))
        assert (await client.ask(wire.legacy("tools/list", session=session))).status == 200


async def test_what_the_admin_plane_shows_is_what_is(tmp_path: Path, server: CountingServer) -> None:
    async with running_daemon(tmp_path, text(server)) as daemon, wire.connect(daemon.address) as client:
        await wire.open_session(client)
        [service] = (await daemon.admin("/services")).json()["services"]
        assert (service["name"], service["users"], service["kind"]) == ("web", 1, "http")
        assert await daemon.metric("gatewayd_sessions_open") == 1
        assert await daemon.metric("gatewayd_table_generation") == 1
        kinds = {child["kind"] for child in (await daemon.admin("/api/v1/tree")).json()["children"]}
        assert kinds >= {"sessions", "upstreams", "listener"}
