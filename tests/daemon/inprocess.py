"""A whole daemon in the test's own Trio run: real sockets, real signals, and a service manager that listens.

Signals reach the daemon through this process, so they are only sent while it is there to take them. What it
tells its service manager is how a test knows that it is ready, or that a reload is over.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from gatewayd.daemon.configuration import Configuration
from gatewayd.daemon.notify import Notifier
from gatewayd.daemon.root import Daemon
from gatewayd.dsl import compile_file
from tests.support import wire
from tests.support.gateway import head
from tests.support.processes import free_port

PATIENCE = 20.0


@attrs.define(eq=False)
class Running:
    """A daemon that serves."""

    daemon: Daemon
    config: Path
    port: int
    admin_port: int
    manager: trio.socket.SocketType
    status: str = ""
    """The last status text that the manager heard."""
    ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def address(self) -> wire.Address:
        """Where clients connect."""
        return "127.0.0.1", self.port

    def write(self, text: str) -> None:
        """Write the configuration: what follows the first keys of `[gateway]`."""
        self.config.write_text(head(self.port, self.admin_port) + text)

    async def hear(self, field: str) -> dict[str, str]:
        """Wait for a message to the manager that has this field."""
        with trio.fail_after(PATIENCE):
            while True:
                heard = dict(line.split("=", 1) for line in (await self.manager.recv(4096)).decode().split("\n"))
                self.status = heard.get("STATUS") or self.status
                if field in heard:
                    return heard

    def send(self, number: signal.Signals) -> None:
        """Send ourselves a signal."""
        assert not self.ended.is_set()
        os.kill(os.getpid(), number)

    async def reload(self, text: str | None = None) -> None:
        """Write the configuration anew, unless `text` is None, and wait until a reload is over."""
        if text is not None:
            self.write(text)
        self.send(signal.SIGHUP)
        await self.hear("RELOADING")
        await self.hear("READY")

    async def wait_ended(self) -> None:
        """Wait until `Daemon.run` has returned."""
        with trio.fail_after(PATIENCE):
            await self.ended.wait()

    async def admin(self, path: str) -> wire.Reply:
        """GET a path of the admin listener."""
        async with wire.connect(("127.0.0.1", self.admin_port)) as client:
            return await client.ask(wire.http_request("GET", path, {"Connection": "close"}))

    async def metric(self, sample: str) -> float:
        """The value of a sample, labels and all."""
        text = (await self.admin("/metrics")).body.decode()
        [line] = [line for line in text.splitlines() if line.startswith(f"{sample} ")]
        return float(line.rpartition(" ")[2])

    async def call(self, path: str = "/mcp") -> int:
        """The HTTP status of a small modern call on a connection of its own."""
        async with wire.connect(self.address) as client:
            return (await client.ask(wire.modern("tools/call", wire.call("echo", text="x"), path=path))).status


@asynccontextmanager
async def running_daemon(folder: Path, text: str) -> AsyncIterator[Running]:
    """A daemon that is ready; it is drained after the block, unless it has ended by then."""
    config, port, admin_port = folder / "gateway.toml", free_port(), free_port()
    config.write_text(head(port, admin_port) + text)
    environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    table = compile_file(config, environ=environ).table
    assert table is not None
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        (folder / "notify").unlink(missing_ok=True)  # of the daemon that ran here before
        await manager.bind(str(folder / "notify"))
        notifier = Notifier(str(folder / "notify"))
        daemon = Daemon(Configuration(config, environ), notifier)
        running = Running(daemon, config, port, admin_port, manager)

        async def run() -> None:
            try:
                await daemon.run(table)
            finally:
                running.ended.set()
                notifier.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await running.hear("READY")
            yield running
            if not running.ended.is_set():
                running.send(signal.SIGTERM)
                await running.wait_ended()
