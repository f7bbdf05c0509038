"""Sessions through all that ends them elsewhere: restarts and reloads of the gateway, upstreams that die or forget.

Every call has a text of its own, and the upstreams count what they did: a call that was repeated would show.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import attrs
import trio

from tests.support import wire
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.gateway import Gateway, http_service, route, running_gateway, started_again, stdio_service
from tests.support.storm import wait_until

AT_ONCE = 50
"""Clients that call at the same time."""
ROUTES = ("/web", "/pipe")
LONG = wire.call("progress", steps=1, delay=1.0)
"""A call that an upstream may die in."""


@attrs.define
class Survived:
    """What the clients of all sessions saw."""

    calls: int = 0
    """Calls that were made."""
    whole: int = 0
    """Calls that were answered with their result."""
    unknown: int = 0
    """Calls whose outcome is unknown, and was reported so: the upstream died in them."""
    bad: list[str] = attrs.Factory(list)
    """Whatever else was answered."""
    executed: int = 0
    """Calls that the upstreams carried out, or began to."""


@attrs.define
class Scene:
    """Sessions on both routes, and what stands behind them."""

    server: CountingServer
    stats: Path
    sessions: list[tuple[str, str]] = attrs.Factory(list)
    """Route and id."""
    seen: Survived = attrs.Factory(Survived)
    executed_before: int = 0
    """By processes that are gone."""

    async def open(self, address: wire.Address, count: int) -> None:
        """Open sessions, every second one on each route."""
        for number in range(count):
            path = ROUTES[number % 2]
            async with wire.connect(address) as client:
                self.sessions.append((path, await wire.open_session(client, path)))

    async def call_all(self, address: wire.Address, arguments: wire.Json | None = None) -> None:
        """One call in every session."""
        limiter = trio.CapacityLimiter(AT_ONCE)

        async def one(path: str, session: str, number: int) -> None:
            async with limiter, wire.connect(address) as client:
                params = wire.call("echo", text=f"{number}") if arguments is None else arguments
                self._count(await client.ask(wire.legacy("tools/call", params, session=session, path=path, id=number)))

        async with trio.open_nursery() as nursery:
            for path, session in self.sessions:
                self.seen.calls += 1
                nursery.start_soon(one, path, session, self.seen.calls)

    def kill_process(self) -> None:
        """SIGKILL for the process behind `/pipe`."""
        stats = json.loads(self.stats.read_text())
        self.executed_before += stats["started"]
        os.kill(stats["pid"], signal.SIGKILL)

    def process_ended(self) -> None:
        """The process behind `/pipe` is gone with its gateway: remember what it did."""
        self.executed_before += json.loads(self.stats.read_text())["started"]

    def finish(self) -> Survived:
        """The result."""
        now: int = json.loads(self.stats.read_text())["started"]
        self.seen.executed = self.server.script.counters.started + self.executed_before + now
        return self.seen

    def _count(self, reply: wire.Reply) -> None:
        message = reply.json() if reply.status == 200 else {}
        error = message.get("error", {})
        if "result" in message:
            self.seen.whole += 1
        elif error.get("code") == -31001 and "unknown" in error["message"]:
            self.seen.unknown += 1
        else:
            self.seen.bad.append(f"{reply.status} {reply.body[:200]!r}")


async def survive(folder: Path, count: int) -> Survived:
    """Open `count` sessions and put them through all of it."""
    stats = folder / "stats.json"
    pipe = stdio_service("pipe", sys.executable, "-m", "tests.support.counting_stdio", "--stats", str(stats))
    async with open_counting_server() as server:
        text = pipe + http_service("web", server.port) + route("/web", "web") + route("/pipe", "pipe")
        scene = Scene(server, stats)
        async with running_gateway(text, folder) as gateway:
            await scene.open(gateway.address, count)
            await scene.call_all(gateway.address)
            assert await gateway.stop() == 0
            scene.process_ended()
        async with started_again(gateway) as gateway:
            await scene.call_all(gateway.address)
            await _reload(scene, gateway, text)
            await _die(scene, gateway)
            server.sessions.clear()
            await scene.call_all(gateway.address)
        return scene.finish()


async def _reload(scene: Scene, gateway: Gateway, text: str) -> None:
    """A reload that changes nothing about the services, and one that replaces the HTTP one, while calls run."""
    for number, changed in enumerate((text + route("/more", "web"), text.replace("[services.web]", SLOWER)), start=1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.call_all, gateway.address)
            gateway.reload(changed)
            await gateway.wait_event("reloaded", number)
        await scene.call_all(gateway.address)


SLOWER = '[services.web]\ntimeout = { call = "50s" }'


async def _die(scene: Scene, gateway: Gateway) -> None:
    """The process dies while a call runs in every session, then everybody calls again."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.call_all, gateway.address, LONG)
        await wait_until(lambda: bool(json.loads(scene.stats.read_text())["in_flight"]))
        scene.kill_process()
    await scene.call_all(gateway.address)
