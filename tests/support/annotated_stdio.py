"""A modern MCP server over stdio whose list of tools is a file, so that a test can change it while the server runs.

The file holds an object: under each cursor of `tools/list` the result, and under `""` the first page's. What is missing
there is never answered; `null` ends the process, a number is a JSON-RPC error. Every tool answers the ids of the
`tools/list` requests so far, each of which is preceded by progress that nobody asked for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gatewayd.routes.table import Launch
from tests.support.children import python

SERVER = """
import json, sys
listed = []
for line in sys.stdin:
    message = json.loads(line)
    method, params, result, error = message["method"], message.get("params") or {}, None, None
    if method == "server/discover":
        result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    elif method == "tools/call":
        result = {"content": [], "listed": listed}
    elif method == "tools/list":
        listed.append(message["id"])
        progress = {"progressToken": message["id"], "progress": 1}
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}), flush=True)
        pages = json.load(open(sys.argv[1]))
        cursor = params.get("cursor", "")
        if cursor not in pages:
            continue
        result = pages[cursor]
        if result is None:
            os._exit(1)
        if isinstance(result, int):
            result, error = None, {"code": result, "message": "no list"}
    if "id" in message:
        answer = {"error": error} if error else {"result": result}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


def annotated(pages: Path) -> Launch:
    """The server with this file of pages."""
    return python(SERVER, str(pages))


def tool(name: str, header: object = None, **more: Any) -> dict[str, Any]:
    """A tool with the string argument `region`, mirrored where `header` names a header."""
    region = {"type": "string"} if header is None else {"type": "string", "x-mcp-header": header}
    return {"name": name, "inputSchema": {"type": "object", "properties": {"region": region}}, **more}


def write(pages: Path, **results: Any) -> None:
    """Replace the pages; `first` is the one without a cursor. Whole, whoever reads meanwhile."""
    fresh = pages.with_suffix(".new")
    fresh.write_text(json.dumps({"" if cursor == "first" else cursor: result for cursor, result in results.items()}))
    fresh.replace(pages)
