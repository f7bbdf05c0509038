"""Answers of a service, with the URIs under which clients of the virtual server reach what they name. Pure.

Only what the protocol defines as a URI of a resource is rewritten (links, embedded resources, contents); free text and
structured content are not looked into.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gatewayd.bridge.asking import ELICIT, INPUT_REQUESTS
from gatewayd.protocol.jsonrpc import Failure
from gatewayd.protocol.jsontext import (
    JsonError,
    elements,
    encode_elements,
    encode_members,
    is_array,
    is_object,
    members,
    members_if_any,
    string,
    text,
)

Rewrite = Callable[[str], str]
MOST_BLOCKS: Final = 10_000
"""Blocks of content in one answer that names resources: a tenth of a second."""

_URI: Final = b'"uri"'
_TASK: Final = b'"taskId"'
_ASKING: Final = b'"inputRequests"'
_ESCAPE: Final = b"\\u"
"""Only so could a member name be spelled in another way."""


def mentions(raw: bytes | None) -> bool:
    """Whether an answer may name a resource or a task, or ask something; most do not, and are left alone."""
    return raw is not None and any(sign in raw for sign in (_URI, _TASK, _ASKING, _ESCAPE))


def rewritten_result(method: str, raw: bytes, rewrite: Rewrite) -> bytes:
    """The result of `tools/call`, `prompts/get` or `resources/read`. Raises `JsonError` where it cannot be read."""
    if _URI not in raw and _ESCAPE not in raw:
        return raw
    parts = members(raw)
    before = dict(parts)
    match method:
        case "tools/call":
            _each(parts, "content", lambda block: _content(block, rewrite))
        case "prompts/get":
            _each(parts, "messages", lambda message: _message(message, rewrite))
        case "resources/read":
            _each(parts, "contents", lambda contents: _uri(contents, rewrite))
        case _:
            pass
    return raw if parts == before else encode_members(parts)


def rewritten_failure(failure: Failure, rewrite: Rewrite) -> Failure:
    """An error answer: `data.uri` names the resource that was not found."""
    if failure.data is None or not is_object(failure.data):
        return failure
    data = _uri(failure.data, rewrite)
    return Failure(failure.id, failure.code, failure.message, data)


def attributed(raw: bytes, service: str) -> bytes:
    """A result whose questions to a person say who asks: clients see nobody but the gateway.

    MCP 2025-11-25, elicitation: it must be clear which server asks. Raises `JsonError` where it cannot be read.
    """
    if _ASKING not in raw and _ESCAPE not in raw:
        return raw
    parts = members(raw)
    entries = members_if_any(parts.get(INPUT_REQUESTS))
    for key, entry in entries.items():
        entries[key] = _attributed_entry(entry, service)
    return encode_members({**parts, INPUT_REQUESTS: encode_members(entries)}) if entries else raw


def _attributed_entry(raw: bytes, service: str) -> bytes:
    parts = members_if_any(raw)
    params = members_if_any(parts.get("params"))
    message = string(params.get("message", b"null"))
    if string(parts.get("method", b"null")) != ELICIT or message is None:
        return raw
    params["message"] = text(f"[{service}] {message}")
    return encode_members({**parts, "params": encode_members(params)})


def _each(parts: dict[str, bytes], name: str, change: Callable[[bytes], bytes]) -> None:
    raw = parts.get(name)
    if raw is not None and is_array(raw):
        found = elements(raw)
        if len(found) > MOST_BLOCKS:
            raise JsonError(f"{name} has more than {MOST_BLOCKS} elements")
        parts[name] = encode_elements(map(change, found))


def _message(raw: bytes, rewrite: Rewrite) -> bytes:
    parts = members(raw)
    content = parts.get("content")
    if content is None or not is_object(content):
        return raw
    changed = _content(content, rewrite)
    return raw if changed is content else encode_members({**parts, "content": changed})


def _content(raw: bytes, rewrite: Rewrite) -> bytes:
    """One block of content."""
    if not is_object(raw) or (_URI not in raw and _ESCAPE not in raw):
        return raw
    parts = members(raw)
    match string(parts.get("type", b"null")):
        case "resource_link":
            return _uri(raw, rewrite)
        case "resource" if is_object(parts.get("resource", b"")):
            changed = _uri(parts["resource"], rewrite)
            return raw if changed is parts["resource"] else encode_members({**parts, "resource": changed})
        case _:
            return raw


def _uri(raw: bytes, rewrite: Rewrite) -> bytes:
    """An object with its member `uri` rewritten; the same text where nothing changes."""
    parts = members_if_any(raw)
    uri = string(parts.get("uri", b"null"))
    if uri is None or (changed := rewrite(uri)) == uri:
        return raw
    return encode_members({**parts, "uri": text(changed)})
