"""A server on a pipe that lists what a JSON file says, and starts at once: `python tests/cli/listing_server.py FILE`.

The file has the members `tools`, `prompts`, `resources` and `templates`, each an array or missing; `"mute": true` for a
server that answers nothing. It is of the legacy era. With a second argument, everything that it is sent is kept there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "templates",
}
MEMBERS = {"templates": "resourceTemplates"}


def result(method: str, offered: dict[str, Any]) -> dict[str, Any] | None:
    """What a request is answered with; None: it is not known."""
    if method == "initialize":
        capabilities: dict[str, Any] = {name: {} for name in ("tools", "prompts", "resources") if name in offered}
        info = {"name": "listing", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}
    if method in LISTS:
        name = LISTS[method]
        return {MEMBERS.get(name, name): offered.get(name, [])}
    return {} if method == "ping" else None


def main(file: Path, journal: Path | None) -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        message = json.loads(line)
        if journal is not None:
            with journal.open("a") as kept:
                kept.write(line)
        offered = json.loads(file.read_text())
        if "id" not in message or offered.get("mute"):
            continue
        answer = result(message["method"], offered)
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        reply |= {"error": {"code": -32601, "message": "Method not found"}} if answer is None else {"result": answer}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
