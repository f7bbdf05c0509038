"""Small child processes that do one thing each, and what tests look at around them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import trio

from gatewayd.routes.table import Launch

ECHO = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = {"pid": os.getpid(), "of": message["method"]}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
"""Answers every request with its method."""

REPORT = """
import json, sys
heard = []
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "report":
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"heard": heard}}), flush=True)
    else:
        heard.append(message)
"""
"""Never answers, but tells on `report` what it has heard."""

SCRIPTED = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        for reply in message["params"]["say"]:
            sys.stdout.write(reply.replace("$ID", str(message["id"])) + chr(10))
        sys.stdout.flush()
"""
"""Says the lines that the request asks for in `params.say`, with `$ID` for its id."""

DEAF = "import time; time.sleep(600)"
"""Never reads, never says anything, but ends when told to."""

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
"""Only SIGKILL ends it."""


def python(script: str, *args: str) -> Launch:
    """A process that runs `script`; the quickest start that Python has."""
    return Launch((sys.executable, "-I", "-S", "-c", "import os\n" + script, *args))


def running(pid: int) -> bool:
    """Whether there is such a process and it has not ended; a zombie has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def zombies() -> list[int]:
    """Children of ours that ended and were not reaped."""
    tasks = Path("/proc/self/task").glob("*/children")
    pids = [int(pid) for task in tasks for pid in task.read_text().split()]
    return [pid for pid in pids if not running(pid)]


def descriptors() -> int:
    """Our open file descriptors."""
    return len(os.listdir("/proc/self/fd"))


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that happens in another process, where no event can be waited for."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.01)
