"""The entries of an `input_required` result as requests to a client of a legacy revision, and its answers back. Pure.

MCP 2026-07-28, multi round-trip requests. What the client did not declare is not asked; what its revision cannot show
is answered in its place, the way a person would who closes the dialogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from gatewayd.bridge.asking import ASKING, ELICIT, SAMPLE, URL, declares, mode
from gatewayd.bridge.legacy_client.downgrade import downgraded_content
from gatewayd.bridge.legacy_client.envelopes import FORMS_ONLY, NEWEST, Client
from gatewayd.protocol.jsonrpc import Failure, Result
from gatewayd.protocol.jsontext import (
    JsonError,
    elements,
    encode_elements,
    encode_members,
    is_array,
    is_object,
    members,
    string,
    text,
)

MOST_ENTRIES: Final = 100
"""Entries of one result. A person is asked by each of them."""

CANCELLED: Final = b'{"action":"cancel"}'
"""What an elicitation ends with that nobody saw."""


class Unanswerable(Exception):
    """The client cannot be asked, or has not answered; the call that needs it fails. `reason` is for the client."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.frozen
class Entry:
    """One question. `answer` is there from the beginning where the client is not asked."""

    key: str
    method: str
    params: bytes | None = None
    answer: bytes | None = None


def read_entries(raw: bytes, client: Client, mint: Callable[[], str]) -> tuple[Entry, ...]:
    """The entries of `inputRequests`. `mint` makes ids of elicitations, each a new one.

    Raises `Unanswerable`, and `JsonError` where they cannot be read.
    """
    entries = members(raw)
    if len(entries) > MOST_ENTRIES:
        raise Unanswerable(f"the service asks more than {MOST_ENTRIES} questions at once")
    return tuple(_entry(key, entry, client, mint) for key, entry in entries.items())


def answered(entry: Entry, message: Result | Failure) -> bytes:
    """What the client said to a question, as the service is told. Raises `Unanswerable`: there are no words for it."""
    if isinstance(message, Result):
        return message.result
    if entry.method == ELICIT:
        return CANCELLED
    raise Unanswerable(f"the client answered {entry.method} with an error: {message.message[:200]}")


def _entry(key: str, raw: bytes, client: Client, mint: Callable[[], str]) -> Entry:
    entry = members(raw)
    method, params = string(entry.get("method", b"null")) or "", entry.get("params")
    if method not in ASKING:
        raise Unanswerable("the service asks for something that clients of this protocol version do not know")
    if params is not None and not is_object(params):
        raise JsonError('"params" must be an object')
    if not declares(client.capabilities, method, params):
        if method == ELICIT and ASKING[ELICIT] in members(client.capabilities):
            return Entry(key, method, answer=CANCELLED)
        raise Unanswerable(f"the service asks for {method}, which the client did not declare")
    if method == ELICIT:
        shown = _elicitation(members(params or b"{}"), client.version, mint)
        return Entry(key, method, shown, CANCELLED if shown is None else None)
    if method == SAMPLE:
        return Entry(key, method, _sampling(members(params or b"{}"), client.version))
    return Entry(key, method, params)


def _elicitation(params: dict[str, bytes], version: str, mint: Callable[[], str]) -> bytes | None:
    """The params as `version` words them; None where it cannot show them."""
    if version == FORMS_ONLY:
        params.pop("mode", None)
        schema = members(params.get("requestedSchema", b"{}"))
        properties = {name: members(raw) for name, raw in members(schema.get("properties", b"{}")).items()}
        if any(_type(parts) == "array" for parts in properties.values()):
            return None
        schema["properties"] = encode_members({name: _property(parts) for name, parts in properties.items()})
        params["requestedSchema"] = encode_members(schema)
    elif mode(encode_members(params)) == URL:
        params["elicitationId"] = text(mint())
    return encode_members(params)


def _property(parts: dict[str, bytes]) -> bytes:
    """A choice with titles has two lists in 2025-06-18, and one of pairs later."""
    options = parts.get("oneOf")
    if options is not None and _type(parts) == "string":
        del parts["oneOf"]
        pairs = [members(option) for option in elements(options)]
        parts["enum"] = encode_elements(pair.get("const", b'""') for pair in pairs)
        parts["enumNames"] = encode_elements(pair.get("title", pair.get("const", b'""')) for pair in pairs)
    return encode_members(parts)


def _type(parts: dict[str, bytes]) -> str | None:
    return string(parts.get("type", b"null"))


def _sampling(params: dict[str, bytes], version: str) -> bytes:
    messages = elements(params.get("messages", b"[]"))
    if version != NEWEST:
        singles = (single for message in messages for single in _singles(members(message), version))
        params["messages"] = encode_elements(singles)
    return encode_members(params)


def _singles(message: dict[str, bytes], version: str) -> Iterator[bytes]:
    """A message with several blocks of content as several messages: before 2025-11-25 each has one."""
    raw = message.get("content", b"null")
    for block in elements(raw) if is_array(raw) else [raw]:
        yield encode_members({**message, "content": downgraded_content(block, version)})
