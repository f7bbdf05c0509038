"""The gateway as users run it: `gatewayd --config FILE` in a process of its own."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path

import attrs
import trio

from tests.support import wire
from tests.support.processes import PATIENCE, ROOT, Measured, end, free_port, running

DAEMON = (sys.executable, "-m", "gatewayd")


@attrs.define(slots=False)
class Gateway:
    """A running daemon. Paths of routes are those of the configuration."""

    config: Path
    log: Path
    port: int
    admin_port: int
    process: trio.Process

    @property
    def address(self) -> wire.Address:
        """Where clients connect."""
        return "127.0.0.1", self.port

    @property
    def admin(self) -> wire.Address:
        """Where the admin listener is."""
        return "127.0.0.1", self.admin_port

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return self.process.pid

    @cached_property
    def measured(self) -> Measured:
        """CPU, memory, descriptors, children."""
        return Measured(self.process.pid)

    def url(self, path: str = "/mcp") -> str:
        """The URL of a route."""
        return f"http://127.0.0.1:{self.port}{path}"

    def reload(self, text: str | None = None) -> None:
        """Write the services and routes anew, unless `text` is None, and send SIGHUP. Does not wait."""
        if text is not None:
            self.config.write_text(head(self.port, self.admin_port) + text)
        self.process.send_signal(signal.SIGHUP)

    async def stop(self) -> int:
        """SIGTERM, then wait: the exit status."""
        return await end(self.process)

    async def ask_admin(self, path: str) -> wire.Reply:
        """GET a path of the admin listener."""
        async with wire.connect(self.admin) as client:
            return await client.ask(wire.http_request("GET", path, {"Connection": "close"}))

    def events(self, event: str | None = None) -> list[wire.Json]:
        """The log so far, or its lines of one event; what is not JSON is left out."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if event in (None, line.get("event"))]

    async def wait_event(self, event: str, count: int = 1) -> list[wire.Json]:
        """Wait until the log has so many lines of that event, and return them."""
        with trio.fail_after(PATIENCE):
            while len(found := self.events(event)) < count:
                await trio.sleep(0.02)
        return found


def head(port: int, admin_port: int) -> str:
    """The part of the configuration that the helper writes: JSON logs, loopback listeners."""
    return f'[gateway]\nlisten = "127.0.0.1:{port}"\nadmin = "127.0.0.1:{admin_port}"\n\n'


@asynccontextmanager
async def running_gateway(
    text: str, folder: Path, command: Sequence[str] = DAEMON, env: Mapping[str, str] | None = None
) -> AsyncIterator[Gateway]:
    """A daemon that is ready, with these services and routes; stopped with the block.

    `text` is TOML that follows the `[gateway]` table, so it may begin with further keys of that table. The
    configuration, the log and the session key are kept in `folder`. `env` is added to our environment.

    Raises:
        RuntimeError: it ended before it was ready; the message has its log.
    """
    port, admin_port = free_port(), free_port()
    config, log = folder / "gateway.toml", folder / "gateway.log"
    config.write_text(head(port, admin_port) + text)
    around = {"XDG_STATE_HOME": str(folder / "state"), **(env or {})}
    async with running([*command, "--config", str(config)], log, around) as process:
        gateway = Gateway(config, log, port, admin_port, process)
        await _wait_ready(gateway)
        yield gateway


@asynccontextmanager
async def started_again(gateway: Gateway) -> AsyncIterator[Gateway]:
    """The daemon that took the place of one which was stopped: same configuration, same ports, same folder."""
    log = gateway.log.with_suffix(".again.log")
    around = {"XDG_STATE_HOME": str(gateway.config.parent / "state")}
    async with running([*DAEMON, "--config", str(gateway.config)], log, around) as process:
        successor = Gateway(gateway.config, log, gateway.port, gateway.admin_port, process)
        await _wait_ready(successor)
        yield successor


async def _wait_ready(gateway: Gateway) -> None:
    with trio.move_on_after(PATIENCE):
        while gateway.process.poll() is None:
            try:
                if (await gateway.ask_admin("/readyz")).status == 200:
                    return
            except OSError:
                pass
            except trio.BrokenResourceError:
                pass
            await trio.sleep(0.02)
    raise RuntimeError(f"the gateway did not get ready:\n{gateway.log.read_text()}")


def http_service(name: str, port: int, path: str = "/mcp", **keys: str) -> str:
    """TOML of a service reached over HTTP on this machine. `keys` are TOML values."""
    return _table(f"services.{name}", {"url": json.dumps(f"http://127.0.0.1:{port}{path}")} | keys)


def stdio_service(name: str, *command: str, **keys: str) -> str:
    """TOML of a service that is a process, started in the repository. `keys` are TOML values."""
    return _table(f"services.{name}", {"command": json.dumps(command), "cwd": json.dumps(str(ROOT))} | keys)


def route(path: str, service: str, **keys: str) -> str:
    """TOML of a route that everybody may use, unless `keys` say otherwise."""
    return _table(f'routes."{path}"', {"services": json.dumps([service]), "auth": '"anonymous"'} | keys)


def _table(name: str, keys: dict[str, str]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in keys.items())]) + "\n\n"
