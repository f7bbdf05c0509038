"""The TypeScript inspector's command line as client: needs `npx`, and that it can get the inspector."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gateway import Gateway, route, running_gateway, stdio_service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("npx") is None, reason="npx is not installed"),
]

PATIENCE = 180.0
"""Seconds for npx to fetch the inspector, when it must."""


async def inspect(url: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the inspector against a URL."""
    command = [
        "npx",
        "-y",
        "@modelcontextprotocol/inspector",
        "--cli",
        url,
        "--transport",
        "http",
        *arguments,
    ]
    with trio.fail_after(PATIENCE):
        return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


async def ask(url: str, *arguments: str) -> Any:
    """What the inspector prints, which is the result as JSON."""
    done = await inspect(url, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture
async def inspector(demo_port: int) -> None:
    """Skips where the inspector cannot be had or does not work by itself."""
    done = await inspect(f"http://127.0.0.1:{demo_port}/mcp", "--method", "tools/list")
    if done.returncode != 0:
        pytest.skip(f"the inspector does not run here: {done.stderr.decode()[-300:]}")


@pytest.mark.usefixtures("inspector")
async def test_the_inspector_lists_and_calls_tools(demo_gateway: Gateway) -> None:
    for path in ("/http/mcp", "/stdio/mcp"):
        url = demo_gateway.url(path)
        listed = await ask(url, "--method", "tools/list")
        assert [tool["name"] for tool in listed["tools"]] == ["echo", "add", "slow", "ask"]
        add = ("--tool-name", "add", "--tool-arg", "a=2", "--tool-arg", "b=3")
        called = await ask(url, "--method", "tools/call", *add)
        assert called["structuredContent"] == {"result": 5}


@pytest.mark.usefixtures("inspector")
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_whatever_era_the_server_speaks(era: str, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    service = stdio_service("all", sys.executable, "-m", "tests.support.sdk_server", "--era", era, "--journal", journal)
    async with running_gateway(service + route("/mcp", "all"), tmp_path) as gateway:
        listed = await ask(gateway.url(), "--method", "tools/list")
        assert "weather" in {tool["name"] for tool in listed["tools"]}
        weather = ("--tool-name", "weather", "--tool-arg", "region=Gers")
        called = await ask(gateway.url(), "--method", "tools/call", *weather)
        assert called["structuredContent"] == {"rain in": "Gers"}
