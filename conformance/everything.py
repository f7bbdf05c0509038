"""The everything server of the Python SDK: an upstream that somebody else wrote.

It is part of the source archive of the SDK and of no package, so the archive of the installed version is downloaded
once.
`python -m conformance.everything FOLDER` serves standard input and output with the server that is in the folder.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tarfile
from pathlib import Path

import trio

from tests.support.processes import ROOT

CACHE = ROOT / "build/conformance"
INSIDE = "examples/servers/everything-server"
PACKAGE = "mcp_everything_server"
PATIENCE = 180.0
"""Seconds for the download. Pip makes an environment to look at the archive's metadata."""


async def obtain() -> Path | None:
    """The folder that the server can be imported from; None if it cannot be had."""
    version = importlib.metadata.version("mcp")
    folder = CACHE / f"mcp-{version}" / INSIDE
    archive = CACHE / f"mcp-{version}.tar.gz"
    if not folder.exists():
        if not archive.exists():
            await _download(version)
        if not archive.exists():
            return None
        _unpack(archive)
    return folder if (folder / PACKAGE).is_dir() else None


async def _download(version: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    options = ["--quiet", "--no-deps", "--no-binary", "mcp", "--dest", str(CACHE)]
    with trio.move_on_after(PATIENCE):
        await trio.run_process([sys.executable, "-m", "pip", "download", *options, f"mcp=={version}"], check=False)


def _unpack(archive: Path) -> None:
    with tarfile.open(archive) as found:
        wanted = [member for member in found.getmembers() if f"/{INSIDE}/" in member.name]
        found.extractall(archive.parent, wanted, filter="data")


def main() -> None:
    """Serve the pipe: the server itself offers HTTP alone."""
    sys.path.insert(0, sys.argv[1])
    server = importlib.import_module(f"{PACKAGE}.server")
    server.mcp.run(transport="stdio")


if __name__ == "__main__":
    main()
