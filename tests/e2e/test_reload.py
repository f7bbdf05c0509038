"""SIGHUP under load: no call fails, processes stay, a bad file changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.counting_server import open_counting_server
from tests.support.gateway import http_service, route, running_gateway, stdio_service
from tests.support.reloading import reload_under_load, wait_route

pytestmark = pytest.mark.slow

STDIO = stdio_service("pipe", sys.executable, "-m", "tests.support.counting_stdio", per='"shared"')


async def test_no_call_fails_and_no_process_is_replaced(tmp_path: Path) -> None:
    async with open_counting_server() as server:
        text = STDIO + http_service("web", server.port) + route("/web", "web") + route("/pipe", "pipe")
        async with running_gateway(text, tmp_path) as gateway:
            await wait_route(gateway, "/pipe")
            children = gateway.measured.children()
            calls = await reload_under_load(gateway, text, ("/web", "/pipe"), "web", calls=40, reloads=10, seconds=2)
            assert calls.bad == []
            assert calls.good == 40
            assert gateway.measured.children() == children
            assert len(children) == 1
