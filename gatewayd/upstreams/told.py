"""What a client has told its server beyond `initialize`: what a new session has to be told again."""

from __future__ import annotations

import itertools

import msgspec

from gatewayd.protocol.jsonrpc import Request
from gatewayd.protocol.jsontext import JsonError, encode_members, members, string, text
from gatewayd.protocol.versions import LOG_LEVELS

SET_LEVEL = "logging/setLevel"
SUBSCRIBE = "resources/subscribe"
UNSUBSCRIBE = "resources/unsubscribe"
MOST_SUBSCRIPTIONS = 1000
MOST_URI_BYTES = 256 * 1024
"""Subscriptions of one session that are remembered, and bytes of all their URIs together."""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """The log level, if one was set, and the URIs of the resources that are subscribed to, the newest last."""

    level: str | None = None
    uris: tuple[str, ...] = ()

    def after(self, request: Request) -> Told:
        """What is known after the server agreed to a request; the same where it says nothing to remember."""
        if request.method == SET_LEVEL:
            level = _member(request, "level")
            return Told(level, self.uris) if level in LOG_LEVELS else self
        uri = _member(request, "uri") if request.method in (SUBSCRIBE, UNSUBSCRIBE) else ""
        if not uri:
            return self
        others = tuple(known for known in self.uris if known != uri)
        if request.method == SUBSCRIBE and _fits(others, uri):
            return Told(self.level, (*others, uri))
        return Told(self.level, others)

    def again(self, ids: itertools.count[int]) -> list[Request]:
        """The requests that tell a new session, each with an id of its own."""
        said = [] if self.level is None else [(SET_LEVEL, "level", self.level)]
        said += [(SUBSCRIBE, "uri", uri) for uri in self.uris]
        return [Request(next(ids), method, encode_members({name: text(value)})) for method, name, value in said]


def _fits(others: tuple[str, ...], uri: str) -> bool:
    size = sum(len(known.encode()) for known in (*others, uri))
    return len(others) < MOST_SUBSCRIPTIONS and size <= MOST_URI_BYTES


def _member(request: Request, name: str) -> str:
    """A member of the params; empty where it is no string."""
    try:
        return string(members(request.params or b"{}").get(name, b"")) or ""
    except JsonError:
        return ""
