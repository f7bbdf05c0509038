"""Configurations over servers that list what a test says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import attrs

from tests.support.gateway import route, stdio_service
from tests.support.processes import ROOT

Json = dict[str, Any]


def tool(name: str, description: str = "Does something.", *arguments: str) -> Json:
    """A tool whose arguments are texts."""
    properties = {argument: {"type": "string"} for argument in arguments}
    schema = {"type": "object", "properties": properties, "required": arguments}
    return {"name": name, "description": description, "inputSchema": schema}


@attrs.frozen
class Scene:
    """A folder with a configuration, and a file for each server."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.folder / "gateway.toml"

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.folder / "tools.lock"

    def offer(self, service: str, *tools: Json, **more: Any) -> None:
        """Have a server list these."""
        (self.folder / f"{service}.json").write_text(json.dumps({"tools": tools, **more}))

    def journal(self, service: str) -> list[Json]:
        """What a server was sent so far."""
        return [json.loads(line) for line in (self.folder / f"{service}.journal").read_text().splitlines()]

    def service(self, name: str, **keys: str) -> str:
        """TOML of a service that lists what `offer` says."""
        server = str(ROOT / "tests" / "cli" / "listing_server.py")
        files = [str(self.folder / f"{name}.{kind}") for kind in ("json", "journal")]
        return stdio_service(name, sys.executable, "-S", server, *files, **keys)

    def write(self, *services: str, text: str = "", **keys: str) -> None:
        """Write a configuration with one route over these services; `keys` are TOML values of the route."""
        tables = "".join(self.service(name) for name in services)
        self.config.write_text(tables + route("/mcp", "", services=json.dumps(services), **keys) + text)
