"""SIGHUP: what takes effect, what is kept, and what a bad file changes, which is nothing."""

from __future__ import annotations

import io
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from gatewayd.auth.keyring import add_key, new_key, remove_key
from gatewayd.observe import log
from gatewayd.routes.table import Log
from tests.daemon.inprocess import Running, running_daemon
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.gateway import http_service, route, stdio_service
from tests.support.storm import wait_until

pytestmark = pytest.mark.slow

COUNTING = (sys.executable, "-m", "tests.support.counting_stdio")
DRAIN = 'drain = "300ms"\n\n'


async def reloads(daemon: Running, result: str) -> float:
    """How many reloads ended so."""
    return await daemon.metric(f'gatewayd_reloads_total{{result="{result}"}}')


def statistics(daemon: Running, service: str) -> Any:
    """What `/services` says about one service."""
    [found] = [shown for shown in daemon.daemon.services() if shown["name"] == service]
    return found


async def test_a_file_that_did_not_change_changes_nothing(tmp_path: Path, server: CountingServer) -> None:
    async with running_daemon(tmp_path, http_service("web", server.port) + route("/mcp", "web")) as daemon:
        before = daemon.daemon.table()
        await daemon.reload()
        assert await reloads(daemon, "unchanged") == 1
        assert daemon.daemon.table() == before


async def test_comments_and_order_are_no_change(tmp_path: Path, server: CountingServer) -> None:
    text = http_service("web", server.port) + route("/mcp", "web")
    async with running_daemon(tmp_path, text) as daemon:
        await daemon.reload("# a comment\n" + route("/mcp", "web") + http_service("web", server.port))
        assert await reloads(daemon, "unchanged") == 1


@pytest.mark.parametrize(
    "broken",
    [
        "[services.more\n",
        '[services.more]\nurl = "gopher://nowhere"\n',
        'include = ["nothing.toml"]\n',
    ],
    ids=["not TOML", "not allowed", "not there"],
)
async def test_a_bad_file_changes_nothing(tmp_path: Path, server: CountingServer, broken: str) -> None:
    text = http_service("web", server.port) + route("/mcp", "web")
    async with running_daemon(tmp_path, text) as daemon:
        before = daemon.daemon.table()
        await daemon.reload(text + broken)
        assert await reloads(daemon, "rejected") == 1
        assert daemon.status.startswith("reload rejected")
        assert daemon.daemon.table() == before
        assert await daemon.call() == 200
        await daemon.reload(text + route("/more", "web"))
        assert await daemon.call("/more") == 200


async def test_a_service_that_cannot_work_harms_no_other(tmp_path: Path, server: CountingServer) -> None:
    (tmp_path / "authorities.pem").write_text("nothing of the kind\n")
    text = http_service("web", server.port) + route("/mcp", "web")
    more = '[services.more]\nurl = "https://127.0.0.1:1/mcp"\ntrust = "authorities.pem"\n' + route("/more", "more")
    async with running_daemon(tmp_path, text) as daemon:
        await daemon.reload(text + more)
        assert await daemon.call("/more") == 502
        assert await daemon.call() == 200


async def test_a_file_that_vanished_changes_nothing(tmp_path: Path, server: CountingServer) -> None:
    text = http_service("web", server.port) + route("/mcp", "web")
    async with running_daemon(tmp_path, text) as daemon:
        daemon.config.unlink()
        await daemon.reload()
        assert await reloads(daemon, "rejected") == 1
        assert await daemon.call() == 200


async def test_the_log_has_every_fault_with_its_place(tmp_path: Path, server: CountingServer) -> None:
    text = http_service("web", server.port) + route("/mcp", "web")
    entries = io.StringIO()
    async with running_daemon(tmp_path, text) as daemon:
        log.configure(Log(format="json"), entries)
        await daemon.reload(text + 'colour = "teal"\nsize = 1\n')
    said = entries.getvalue()
    lines = daemon.config.read_text().count("\n")
    assert f'"at":"{daemon.config}:{lines - 1}:1"' in said.replace('": "', '":"')
    assert f'"at":"{daemon.config}:{lines}:1"' in said.replace('": "', '":"')
    assert "teal" not in said


async def test_routes_come_and_go(tmp_path: Path, server: CountingServer) -> None:
    web = http_service("web", server.port)
    async with running_daemon(tmp_path, web + route("/old", "web")) as daemon:
        assert (await daemon.call("/old"), await daemon.call("/new")) == (200, 404)
        await daemon.reload(web + route("/new", "web"))
        assert (await daemon.call("/old"), await daemon.call("/new")) == (404, 200)
        assert await reloads(daemon, "applied") == 1
        assert daemon.daemon.table()["generation"] == 2


async def test_a_connection_that_is_open_meets_the_new_routes(tmp_path: Path, server: CountingServer) -> None:
    web = http_service("web", server.port)
    echo = wire.call("echo", text="x")
    async with running_daemon(tmp_path, web + route("/old", "web")) as daemon, wire.connect(daemon.address) as client:
        assert (await client.ask(wire.modern("tools/call", echo, path="/old"))).status == 200
        await daemon.reload(web + route("/new", "web"))
        assert (await client.ask(wire.modern("tools/call", echo, path="/new"))).status == 200


async def test_an_unchanged_service_keeps_process_connection_and_session(
    tmp_path: Path, server: CountingServer
) -> None:
    pipe, web = stdio_service("pipe", *COUNTING, per='"shared"'), http_service("web", server.port)
    text = pipe + web + route("/pipe", "pipe") + route("/web", "web")
    async with running_daemon(tmp_path, text) as daemon, wire.connect(daemon.address) as client:
        sessions = {path: await wire.open_session(client, path) for path in ("/pipe", "/web")}
        processes, accepted = statistics(daemon, "pipe")["processes"], server.script.counters.accepted
        await daemon.reload(text + route("/more", "web"))
        assert [shown["pid"] for shown in statistics(daemon, "pipe")["processes"]] == [
            shown["pid"] for shown in processes
        ]
        for path, session in sessions.items():
            call = wire.legacy("tools/call", wire.call("echo", text="x"), session=session, path=path)
            assert (await client.ask(call)).status == 200
        assert server.script.counters.accepted == accepted
        assert server.counters["initialized"] == 1


async def test_a_call_outlives_the_route_that_it_came_by(tmp_path: Path, server: CountingServer) -> None:
    web = http_service("web", server.port)
    other = http_service("other", server.port) + route("/other", "other")
    async with running_daemon(tmp_path, web + route("/mcp", "web")) as daemon, wire.connect(daemon.address) as client:
        slow = wire.call("progress", steps=5, delay=0.1)
        await client.send(wire.modern("tools/call", slow, progress=1))
        await wait_until(lambda: server.script.counters.in_flight == 1)
        await daemon.reload(other)
        assert server.script.counters.in_flight == 1
        reply = await client.reply()
        assert "result" in reply.json()
        assert [shown["name"] for shown in daemon.daemon.services()] == ["other"]


async def test_sessions_of_a_changed_service_go_on_with_the_new_one(tmp_path: Path, server: CountingServer) -> None:
    web, mcp = http_service("web", server.port), route("/mcp", "web")
    async with running_daemon(tmp_path, DRAIN + web + mcp) as daemon, wire.connect(daemon.address) as client:
        session = await wire.open_session(client)
        echo = wire.legacy("tools/call", wire.call("echo", text="x"), session=session)
        assert (await client.ask(echo)).status == 200
        await daemon.reload(DRAIN + http_service("web", server.port, timeout='{ call = "5s" }') + mcp)
        await trio.sleep(0.5)
        assert (await client.ask(echo)).status == 200
        assert server.counters["sessions"] == 1
        assert statistics(daemon, "web")["users"] == 1


async def test_sessions_survive_a_change_of_keys_and_new_ids_are_sealed_with_the_new_one(
    tmp_path: Path, server: CountingServer
) -> None:
    text = http_service("web", server.port) + route("/mcp", "web")

    def keyed(*keys: str) -> str:
        for key in keys:
            (tmp_path / key).write_text(key * 32)
        references = ", ".join(f'{{ file = "{key}" }}' for key in keys)
        return f"session.keys = [{references}]\n\n" + text

    async def status(session: str) -> int:
        async with wire.connect(daemon.address) as client:
            return (await client.ask(wire.legacy("tools/list", session=session))).status

    sessions: list[str] = []
    for keys in (("a",), ("b", "a"), ("b",)):
        async with running_daemon(tmp_path, keyed(*keys)) as daemon, wire.connect(daemon.address) as client:
            alive = [await status(session) for session in sessions]
            sessions.append(await wire.open_session(client))
            await daemon.reload(keyed("c"))
            assert await status(sessions[-1]) == 200
    assert alive == [404, 200]


async def test_processes_of_a_removed_service_are_stopped(tmp_path: Path, server: CountingServer) -> None:
    pipe, web = stdio_service("pipe", *COUNTING), http_service("web", server.port) + route("/mcp", "web")
    async with running_daemon(tmp_path, DRAIN + pipe + web + route("/pipe", "pipe")) as daemon:
        assert await daemon.call("/pipe") == 200
        [process] = statistics(daemon, "pipe")["processes"]
        await daemon.reload(DRAIN + web)
        await wait_until(lambda: not Path(f"/proc/{process['pid']}").exists())
        assert await daemon.call() == 200


async def test_a_revoked_key_ends_sessions_and_streams_of_its_owner_alone(
    tmp_path: Path, server: CountingServer
) -> None:
    keys = {name: new_key() for name in ("alice", "bob")}
    for name, key in keys.items():
        add_key(tmp_path / "keys.toml", name, key, now=datetime.now(UTC))
    ring = '[auth.keys]\ntype = "api_key"\nfile = "keys.toml"\n\n'
    text = http_service("web", server.port) + route("/mcp", "web", auth='["keys"]') + ring
    async with (
        running_daemon(tmp_path, text) as daemon,
        wire.connect(daemon.address) as alice,
        wire.connect(daemon.address) as bob,
        wire.connect(daemon.address) as listening,
    ):
        clients = {"alice": alice, "bob": bob}
        headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
        sessions: dict[str, str] = {}
        for name, client in clients.items():
            opened = await client.ask(wire.initialize(headers=headers[name]))
            sessions[name] = opened.headers["mcp-session-id"]
        await listening.send(wire.get_stream(sessions["alice"], headers=headers["alice"]))
        assert (await listening.head()).status == 200
        remove_key(tmp_path / "keys.toml", "alice")
        await daemon.reload()
        with trio.fail_after(5):
            assert await listening.event() is None
        await wait_until(lambda: server.counters["sessions"] == 1)
        status = {}
        for name, client in clients.items():
            call = wire.legacy("tools/list", session=sessions[name], headers=headers[name])
            status[name] = (await client.ask(call)).status
        assert status == {"alice": 401, "bob": 200}


async def test_new_addresses_wait_for_a_restart(tmp_path: Path, server: CountingServer) -> None:
    text = http_service("web", server.port) + route("/mcp", "web")
    entries = io.StringIO()
    async with running_daemon(tmp_path, text) as daemon:
        daemon.config.write_text('[gateway]\nlisten = "127.0.0.1:0"\nadmin = false\n[log]\nformat = "json"\n' + text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", entries)
            await daemon.reload()
        assert await daemon.call() == 200
        assert (await daemon.admin("/readyz")).status == 200
    assert "take effect after a restart" in entries.getvalue()


async def test_signals_that_come_together_end_in_the_last_file(tmp_path: Path, server: CountingServer) -> None:
    web = http_service("web", server.port)
    async with running_daemon(tmp_path, web + route("/mcp", "web")) as daemon:
        for number in range(10):
            daemon.write(web + route("/mcp", "web") + route(f"/extra-{number}", "web"))
            daemon.send(signal.SIGHUP)
        with trio.fail_after(10):
            while await daemon.call("/extra-9") != 200:
                await trio.sleep(0.02)
        assert await daemon.call("/extra-0") == 404
