"""Two tools in the place of many: one that searches what the client may call, and one that calls it.

For clients whose model would have to read hundreds of definitions before it begins. SQLite's full-text search (FTS5)
ranks; it is asked in memory, and holds nothing but what the list would show.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import msgspec

from gatewayd.protocol.jsontext import (
    elements,
    encode_elements,
    encode_members,
    integer,
    members,
    members_if_any,
    string,
    text,
)
from gatewayd.virtual.merge import Entry, View
from gatewayd.virtual.weight import weight

SEARCH: Final = "search_tools"
CALL: Final = "call_tool"
USUAL: Final = 10
MOST: Final = 50
"""Tools that one search finds."""
LONGEST_QUERY: Final = 1000
"""Characters of a query that are looked at."""

_WORD: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_SEARCH_TOOL: Final = {
    "name": SEARCH,
    "description": (
        "Find tools by what they do. Returns the best matches with their names, descriptions and input schemas. "
        f"Call what you find with `{CALL}`."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "A few words on what the tool should do"},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "description": f"At most so many ({USUAL})"},
        },
        "required": ["query"],
    },
    "annotations": {"readOnlyHint": True, "openWorldHint": False},
}
_CALL_TOOL: Final = {
    "name": CALL,
    "description": f"Call a tool that `{SEARCH}` has found, with arguments that fit its input schema.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": f"The name of the tool, as `{SEARCH}` returns it"},
            "arguments": {"type": "object", "description": "The arguments of the tool"},
        },
        "required": ["name"],
    },
}
TOOLS: Final = msgspec.json.encode([_SEARCH_TOOL, _CALL_TOOL])
"""The list that takes the place of all others."""
WEIGHT: Final = weight(elements(TOOLS))
"""About how many tokens it takes."""


class Index:
    """What can be found in one merged list of tools."""

    def __init__(self, view: View) -> None:
        self._entries = view.entries

    @cached_property
    def _table(self) -> sqlite3.Connection:
        table = sqlite3.connect(":memory:", check_same_thread=False)
        table.execute("CREATE VIRTUAL TABLE tools USING fts5(name, description, tokenize = 'porter unicode61')")
        table.executemany(
            "INSERT INTO tools (rowid, name, description) VALUES (?, ?, ?)",
            map(_row, range(len(self._entries)), self._entries),
        )
        return table

    def search(self, query: str, limit: int) -> Sequence[Entry]:
        """The tools that fit best, the best first; those that come first where nothing is asked for."""
        words = list(dict.fromkeys(_WORD.findall(_spaced(query[:LONGEST_QUERY]).lower())))
        if not words:
            return self._entries[:limit]
        wanted = " OR ".join(f'"{word}" OR "{word}"*' for word in words)
        ranked = "SELECT rowid FROM tools WHERE tools MATCH ? ORDER BY bm25(tools, 4.0, 1.0), rowid LIMIT ?"
        rows: list[tuple[int]] = self._table.execute(ranked, (wanted, limit)).fetchall()
        return [self._entries[rowid] for (rowid,) in rows]


def found(entries: Sequence[Entry]) -> bytes:
    """The result of a search: for the model as text, and as structured content."""
    tools = encode_elements(_shown(entry) for entry in entries)
    structured = encode_members({"tools": tools})
    block = encode_members({"type": b'"text"', "text": text(structured.decode())})
    return encode_members(
        {"resultType": b'"complete"', "content": encode_elements([block]), "structuredContent": structured}
    )


def asked(arguments: bytes | None) -> tuple[str, int]:
    """The query and the limit of a search. Raises `JsonError`; what is missing or makes no sense is as usual."""
    parts = members(arguments or b"{}")
    limit = integer(parts.get("limit", b"")) or USUAL
    return string(parts.get("query", b"null")) or "", min(max(limit, 1), MOST)


def called(arguments: bytes | None) -> tuple[str | None, bytes]:
    """The tool that is to be called, and its arguments. Raises `JsonError`."""
    parts = members(arguments or b"{}")
    return string(parts.get("name", b"null")), parts.get("arguments", b"{}")


def _row(rowid: int, entry: Entry) -> tuple[int, str, str]:
    parts = members_if_any(entry.raw)
    said = [string(parts.get(name, b"null")) or "" for name in ("title", "description")]
    properties = members_if_any(members_if_any(parts.get("inputSchema")).get("properties"))
    return rowid, _spaced(entry.name), _spaced(" ".join([*said, *properties]))


def _shown(entry: Entry) -> bytes:
    parts = members(entry.raw)
    return encode_members(
        {name: parts[name] for name in ("name", "title", "description", "inputSchema") if name in parts}
    )


def _spaced(words: str) -> str:
    """Names taken apart: `getUserName` and `get_user_name` are three words each."""
    return _CAMEL.sub(" ", words).replace("_", " ")
