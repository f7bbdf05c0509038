"""A call through an installed gateway: `python -I smoke.py gateway.toml.example`, in any folder.

Starts the `gatewayd` that is installed beside this interpreter with the example configuration, on free ports,
sends what the example's own `curl` line sends over both of its routes, and asks the gateway to end. Needs the
standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds for each step, on a busy machine."""


def main(example: Path) -> int:
    """Returns the exit code: 0 when all of it worked."""
    text = with_free_ports(example.read_text(encoding="utf-8"))
    config = Path("gateway.toml")
    config.write_text(text, encoding="utf-8")
    url, fields, body = curl_line(text)
    gatewayd = Path(sysconfig.get_path("scripts"), "gatewayd")
    around = {**os.environ, "XDG_STATE_HOME": str(Path("state").absolute())}
    with subprocess.Popen([gatewayd, "--config", config], env=around) as daemon:
        try:
            for address in (url, url.replace("/mcp", "/http/mcp")):
                answer = call(address, fields, body, daemon)
                if answer["result"]["structuredContent"] != {"result": "hello"}:
                    raise SystemExit(f"{address} answered {answer}")
                print(f"{address}: hello", flush=True)
            daemon.send_signal(signal.SIGTERM)
            status = daemon.wait(PATIENCE)
        finally:
            daemon.kill()
    print(f"gatewayd ended with status {status}")
    return status


def with_free_ports(text: str) -> str:
    """The same configuration, on ports that nobody used a moment ago."""
    for port in dict.fromkeys(re.findall(r"127\.0\.0\.1:(\d+)", text)):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{probe.getsockname()[1]}")
    return text


def curl_line(text: str) -> tuple[str, dict[str, str], bytes]:
    """URL, header fields and body of the `curl` line in the comment at the top of the example."""
    found = re.search(r"^#   curl (.*?)^#$", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit("the example has no curl line")
    command = re.sub(r"^#", "", found[1], flags=re.MULTILINE).replace("\\\n", " ")
    words = shlex.split(command)
    fields = [words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H"]
    url = next(word for word in words if word.startswith("http"))
    return url, dict(fields), words[words.index("-d") + 1].encode()


def call(url: str, fields: dict[str, str], body: bytes, daemon: subprocess.Popen[bytes]) -> Any:
    """POST until the gateway, and the server behind it, are up."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with opener.open(urllib.request.Request(url, body, fields), timeout=PATIENCE) as response:
                return json.load(response)
        except (urllib.error.URLError, ConnectionError) as error:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{url}: {error}") from None
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
