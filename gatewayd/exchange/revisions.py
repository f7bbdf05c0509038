"""Which revisions are offered through the gateway: all that it speaks itself."""

from __future__ import annotations

from gatewayd.protocol.jsonrpc import Failure, Request, Result
from gatewayd.protocol.jsontext import encode_elements, encode_members, members, string, text
from gatewayd.protocol.param_headers import callable_tools, may_annotate
from gatewayd.protocol.versions import LEGACY, SUPPORTED

_USUAL = b'{"resultType":"complete"'
"""How most results begin; the others are looked into."""


def offer_all(answer: Result | Failure) -> Result | Failure:
    """A discover result that lists the gateway's own revisions: what the service lacks, the bridge makes up for."""
    if isinstance(answer, Failure):
        return answer
    offered = encode_elements(map(text, SUPPORTED))
    return complete(Result(answer.id, encode_members({**members(answer.result), "supportedVersions": offered})))


def complete(answer: Result | Failure) -> Result | Failure:
    """A modern result that says which kind it is: what servers leave out means `complete` (MCP 2026-07-28)."""
    if isinstance(answer, Failure) or answer.result.startswith(_USUAL):
        return answer
    parts = members(answer.result)
    if "resultType" in parts:
        return answer
    return Result(answer.id, encode_members({"resultType": b'"complete"', **parts}))


def list_callable(answer: Result | Failure) -> Result | Failure:
    """A list of tools without those whose header annotations are void: towards servers the gateway is the client."""
    if isinstance(answer, Failure) or not may_annotate(answer.result):
        return complete(answer)
    parts = members(answer.result)
    if "tools" in parts:
        parts["tools"] = callable_tools(parts["tools"])
    return complete(Result(answer.id, encode_members(parts)))


def asked_version(request: Request) -> str | None:
    """The revision that an `initialize` asks for. Raises `JsonError` where its params cannot be read."""
    return string(members(request.params or b"{}").get("protocolVersion", b"null"))


def offer_known(request: Request) -> Request:
    """An `initialize` that asks for a revision which we speak: a client's unknown one becomes our newest.

    MCP 2025-11-25, version negotiation: the server answers with another version that it supports.
    """
    if asked_version(request) in LEGACY:
        return request
    params = members(request.params or b"{}")
    params["protocolVersion"] = text(LEGACY[0])
    return Request(request.id, request.method, encode_members(params))
