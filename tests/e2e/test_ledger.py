"""What came after a session began outlives the gateway, too, however it ends: daemon, file and server are real."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Literal

import pytest
import trio

from tests.support import wire
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.gateway import Gateway, http_service, route, running_gateway, started_again, stdio_service
from tests.support.processes import PATIENCE
from tests.support.storm import wait_until

pytestmark = pytest.mark.slow

End = Literal["SIGTERM", "SIGKILL"]
URIS = ("file:///private/1", "file:///private/2")


def ledger_of(folder: Path) -> Path:
    """The ledger of the gateway in that folder."""
    [path] = (folder / "state/gatewayd").glob("*.ledger")
    return path


def rows(folder: Path) -> list[bool]:
    """Of each session in the ledger: whether it has ended."""
    file = sqlite3.connect(ledger_of(folder))
    found = [ended for (ended,) in file.execute("SELECT told IS NULL FROM sessions")]
    file.close()
    return [bool(ended) for ended in found]


async def end(gateway: Gateway, how: End) -> None:
    """Have the gateway end."""
    if how == "SIGTERM":
        assert await gateway.stop() == 0
        return
    gateway.process.kill()
    with trio.fail_after(PATIENCE):
        await gateway.process.wait()


async def ask(gateway: Gateway, path: str, session: str, method: str, params: wire.Json | None = None) -> wire.Reply:
    """Send a request of a session on a connection of its own."""
    async with wire.connect(gateway.address) as client:
        return await client.ask(wire.legacy(method, params, session=session, path=path))


async def prepare(gateway: Gateway, path: str) -> tuple[str, str]:
    """A session whose client has told its server something, and one that was deleted."""
    async with wire.connect(gateway.address) as client:
        session, deleted = await wire.open_session(client, path), await wire.open_session(client, path)
    said: list[tuple[str, wire.Json]] = [("logging/setLevel", {"level": "debug"})]
    said += [("resources/subscribe", {"uri": uri}) for uri in ("file:///other", *URIS)]
    said += [("resources/unsubscribe", {"uri": "file:///other"})]
    for method, params in said:
        reply = await ask(gateway, path, session, method, params)
        assert (reply.status, reply.json()["result"]) == (200, {})
    async with wire.connect(gateway.address) as client:
        gone = await client.ask(wire.http_request("DELETE", path, {"Mcp-Session-Id": deleted}))
        assert gone.status == 204
    folder = gateway.config.parent
    await wait_until(lambda: True in rows(folder))  # with it, or before, all that changed before was written
    assert sorted(rows(folder)) == [False, True]
    return session, deleted


def told(server: CountingServer) -> tuple[str | None, tuple[str, ...]]:
    """The level and the subscriptions that the server knows of."""
    return server.script.level, tuple(server.script.subscribed)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
async def test_a_new_process_of_the_server_is_told_what_the_old_one_knew(tmp_path: Path, how: End) -> None:
    stats = tmp_path / "stats.json"
    pipe = stdio_service("pipe", sys.executable, "-m", "tests.support.counting_stdio", "--stats", str(stats))
    async with running_gateway(pipe + route("/pipe", "pipe"), tmp_path) as gateway:
        session, deleted = await prepare(gateway, "/pipe")
        old = json.loads(stats.read_text())
        assert (old["level"], tuple(old["subscribed"])) == ("debug", URIS)
        await end(gateway, how)
    kept = b"".join(path.read_bytes() for path in ledger_of(tmp_path).parent.iterdir())
    assert b"private" not in kept
    async with started_again(gateway) as gateway:
        assert (await ask(gateway, "/pipe", deleted, "ping")).status == 404
        reply = await ask(gateway, "/pipe", session, "tools/call", wire.call("echo", text="hi"))
        assert (reply.status, "result" in reply.json()) == (200, True)
        new = json.loads(stats.read_text())
        assert new["pid"] != old["pid"]
        assert (new["level"], tuple(new["subscribed"])) == ("debug", URIS)
        assert (await ask(gateway, "/pipe", deleted, "ping")).status == 404


async def test_a_server_that_still_has_the_session_is_told_again_only_once_it_has_lost_it(tmp_path: Path) -> None:
    async with open_counting_server(eras="legacy") as server:
        text = http_service("web", server.port) + route("/web", "web")
        async with running_gateway(text, tmp_path) as gateway:
            session, deleted = await prepare(gateway, "/web")
            assert await gateway.stop() == 0
        server.script.level, server.script.subscribed = None, []
        async with started_again(gateway) as gateway:
            assert (await ask(gateway, "/web", session, "ping")).status == 200
            assert told(server) == (None, ())
            assert (await ask(gateway, "/web", deleted, "ping")).status == 404
            server.sessions.clear()
            assert (await ask(gateway, "/web", session, "ping")).status == 200
            assert told(server) == ("debug", URIS)


async def test_a_bridge_goes_on_with_what_its_client_wants_to_hear_of(tmp_path: Path) -> None:
    async with open_counting_server(eras="modern") as server:
        server.script.capabilities |= {"resources": {"subscribe": True}, "logging": {}}
        text = http_service("web", server.port) + route("/web", "web")
        async with running_gateway(text, tmp_path) as gateway:
            session, deleted = await prepare(gateway, "/web")
            assert await gateway.stop() == 0
        server.seen.clear()
        async with started_again(gateway) as gateway:
            assert (await ask(gateway, "/web", deleted, "ping")).status == 404
            reply = await ask(gateway, "/web", session, "tools/call", wire.call("echo", text="hi"))
            assert (reply.status, "result" in reply.json()) == (200, True)
            heard = {seen["message"]["method"]: seen["message"]["params"] for seen in server.seen if seen["message"]}
            assert heard["subscriptions/listen"]["notifications"]["resourceSubscriptions"] == [*URIS]
            assert heard["tools/call"]["_meta"]["io.modelcontextprotocol/logLevel"] == "debug"


async def test_without_the_file_sessions_go_on(tmp_path: Path) -> None:
    async with open_counting_server(eras="legacy") as server:
        text = http_service("web", server.port) + route("/web", "web")
        async with running_gateway(text, tmp_path) as gateway:
            session, _ = await prepare(gateway, "/web")
            assert await gateway.stop() == 0
        ledger_of(tmp_path).unlink()
        async with started_again(gateway) as gateway:
            assert (await ask(gateway, "/web", session, "ping")).status == 200
            assert rows(tmp_path) == []
            assert not [event for event in gateway.events() if event["level"] == "warning"]
