"""Real processes: start, wait until ready, measure, stop. Every wait is bounded."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

ROOT = Path(__file__).resolve().parents[2]
"""The repository: where `python -m tests.support...` works."""

PATIENCE = 20.0
"""Seconds for a process to get ready, or to end: far more than it takes, for a busy machine."""

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class Measured:
    """A process of which only the pid need be known."""

    pid: int

    def cpu_seconds(self) -> float:
        """User and system time since its start, without children. Ticks of 10 ms on most systems."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE

    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self) -> list[int]:
        """Pids of its children, zombies included."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
        return sorted(int(pid) for task in tasks for pid in task.read_text().split())


def free_port() -> int:
    """A TCP port of the loopback that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(
    command: Sequence[str], log: Path | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[trio.Process]:
    """A process, terminated with the block; `env` is added to our environment.

    With a `log`, all its output goes there. Without, its standard output is a pipe and its stderr is lost.
    """
    file = None if log is None else log.open("wb")
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=file or subprocess.PIPE,
        stderr=file or subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )
    if file is not None:
        file.close()
    try:
        yield process
    finally:
        await end(process)


async def end(process: trio.Process, patience: float = PATIENCE) -> int:
    """Terminate politely, then kill: the exit status. Harmless when it has ended already."""
    with trio.CancelScope(shield=True):
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        with trio.move_on_after(patience):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                await pipe.aclose()
    assert process.returncode is not None
    return process.returncode


@asynccontextmanager
async def port_of(module: str, *arguments: str) -> AsyncIterator[tuple[int, Measured]]:
    """A server that prints `{"port": N}` when it listens, run as `python -m MODULE`: its port and process."""
    async with running([sys.executable, "-m", module, *arguments]) as process:
        assert process.stdout is not None
        line = b""
        with trio.fail_after(PATIENCE):
            while not line.endswith(b"\n"):
                data = await process.stdout.receive_some()
                if not data:
                    raise RuntimeError(f"{module} ended before it listened")
                line += data
        yield json.loads(line)["port"], Measured(process.pid)
