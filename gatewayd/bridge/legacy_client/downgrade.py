"""What a modern server says, as a client of a legacy revision may read it.

Only what such a client would trip over is changed; members that it does not know are harmless, and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from gatewayd.protocol.codes import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_VERSION,
)
from gatewayd.protocol.jsonrpc import Failure
from gatewayd.protocol.jsontext import (
    elements,
    encode_elements,
    encode_members,
    is_object,
    members,
    members_if_any,
    string,
    text,
)
from gatewayd.protocol.param_headers import callable_tools
from gatewayd.protocol.versions import CACHEABLE, META, META_SERVER_INFO

HINTS: Final = ("ttlMs", "cacheScope")

NO_AUDIO: Final = frozenset({"2024-11-05"})
NO_LINKS: Final = frozenset({"2024-11-05", "2025-03-26"})
"""Revisions that do not know these kinds of content."""

OURS: Final = frozenset({HEADER_MISMATCH, UNSUPPORTED_VERSION})
"""Errors about what the gateway made itself: none of them is the client's fault."""


def downgraded_result(method: str, version: str, result: Mapping[str, bytes], *, strict_headers: bool = False) -> bytes:
    """A complete result of `method`, given by its members, for a client of `version`.

    `strict_headers`: tools with an invalid `x-mcp-header` are left out, as clients over HTTP must. Raises `JsonError`
    where something has to be changed that cannot be read.
    """
    parts = dict(result)
    parts.pop("resultType", None)
    if method in CACHEABLE:
        for hint in HINTS:
            parts.pop(hint, None)
    without_meta(parts, META_SERVER_INFO)
    change = _CHANGES.get(method)
    if change is not None:
        change(parts, version)
    if method == "tools/list" and strict_headers:
        parts["tools"] = callable_tools(parts.get("tools", b"[]"))
    return encode_members(parts)


def downgraded_failure(method: str, answer: Failure) -> Failure:
    """An error answer to `method`, with the code that legacy revisions have for it."""
    if answer.code in OURS:
        return Failure(answer.id, INTERNAL_ERROR, "Internal error: the gateway and the service do not agree")
    if method == "resources/read" and answer.code == INVALID_PARAMS and _names_resource(answer.data):
        return Failure(answer.id, RESOURCE_NOT_FOUND, answer.message, answer.data)
    return answer


def downgraded_content(raw: bytes, version: str) -> bytes:
    """One block of content. Kinds that `version` lacks become a kind that it has; unknown ones stay."""
    parts = members(raw)
    kind = string(parts.get("type", b"null"))
    if kind == "audio" and version in NO_AUDIO:
        return encode_members(_kept(parts, _embedded(parts)))
    if kind == "resource_link" and version in NO_LINKS:
        return encode_members(_kept(parts, _spelled_out(parts)))
    return raw


def without_meta(parts: dict[str, bytes], *names: str) -> None:
    """Take members out of `_meta`, and `_meta` itself where nothing else was in it."""
    raw = parts.get(META)
    if raw is None or not is_object(raw):
        return
    meta = members(raw)
    kept = {name: value for name, value in meta.items() if name not in names}
    if len(kept) == len(meta):
        return
    if kept:
        parts[META] = encode_members(kept)
    else:
        del parts[META]


def _tools(parts: dict[str, bytes], _: str) -> None:
    parts["tools"] = _downgraded_tools(parts.get("tools", b"[]"))


@lru_cache(maxsize=8)
def _downgraded_tools(raw: bytes) -> bytes:
    """An array of tools. Lists are long, and the same ones are asked for again and again."""
    before = elements(raw)
    after = [_tool(tool) for tool in before]
    return raw if after == before else encode_elements(after)


def _tool(raw: bytes) -> bytes:
    """A tool whose output schema, if any, describes an object, as all legacy revisions that know one want it."""
    parts = members(raw)
    schema = parts.get("outputSchema")
    if schema is None or (is_object(schema) and string(members(schema).get("type", b"null")) == "object"):
        return raw
    del parts["outputSchema"]
    return encode_members(parts)


def _call(parts: dict[str, bytes], version: str) -> None:
    blocks = [downgraded_content(block, version) for block in elements(parts.get("content", b"[]"))]
    structured = parts.get("structuredContent")
    if structured is not None and not is_object(structured):
        del parts["structuredContent"]
        if not blocks:
            blocks = [_text(structured.decode())]
    parts["content"] = encode_elements(blocks)


def _prompt(parts: dict[str, bytes], version: str) -> None:
    messages = elements(parts.get("messages", b"[]"))
    parts["messages"] = encode_elements(_message(message, version) for message in messages)


def _message(raw: bytes, version: str) -> bytes:
    parts = members(raw)
    if "content" in parts:
        parts["content"] = downgraded_content(parts["content"], version)
    return encode_members(parts)


_CHANGES: Final[Mapping[str, Callable[[dict[str, bytes], str], None]]] = MappingProxyType(
    {"tools/list": _tools, "tools/call": _call, "prompts/get": _prompt}
)


def _embedded(audio: Mapping[str, bytes]) -> dict[str, bytes]:
    """Audio as a resource: the data reaches the client, which may still know what to do with it."""
    resource = {"uri": b'"attachment:audio"', "blob": audio.get("data", b'""')}
    if "mimeType" in audio:
        resource["mimeType"] = audio["mimeType"]
    return {"type": b'"resource"', "resource": encode_members(resource)}


def _spelled_out(link: Mapping[str, bytes]) -> dict[str, bytes]:
    said = [string(link.get(name, b"null")) for name in ("title", "name", "uri", "description")]
    title, name, uri, description = said
    lines = [": ".join(part for part in (title or name, uri) if part), description]
    return {"type": b'"text"', "text": text("\n".join(line for line in lines if line))}


def _kept(before: Mapping[str, bytes], after: dict[str, bytes]) -> dict[str, bytes]:
    """What all kinds of content have in common stays."""
    return {**after, **{name: before[name] for name in ("annotations", META) if name in before}}


def _text(value: str) -> bytes:
    return encode_members({"type": b'"text"', "text": text(value)})


def _names_resource(data: bytes | None) -> bool:
    return "uri" in members_if_any(data)
