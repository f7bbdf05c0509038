"""A server of the SDK speaks both eras. Here it learns to refuse one of them, as servers do that never knew it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, get_args

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

Era = Literal["legacy", "modern", "both"]
ERAS: tuple[Era, ...] = get_args(Era)

Message = SessionMessage | Exception
VERSION = "io.modelcontextprotocol/protocolVersion"
UNSUPPORTED = -32022


def unsupported(requested: object) -> types.ErrorData:
    """What a modern server says of every other revision (MCP 2026-07-28, versioning)."""
    data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": str(requested)}
    return types.ErrorData(code=UNSUPPORTED, message="Unsupported protocol version", data=data)


class HttpEra:
    """The server behind the refusals of its era.

    A legacy one never heard of the modern headers: a request without a session that does not begin one is wrong to it,
    whatever else it says. A modern one has no sessions, and takes the revision from the header of each request.
    """

    def __init__(self, app: ASGIApp, era: Era) -> None:
        self.app = app
        self.era = era

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let the server answer."""
        refusal = await self._refuse(Request(scope, receive)) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)

    async def _refuse(self, request: Request) -> Response | None:
        version = request.headers.get("mcp-protocol-version")
        legacy = version is None or version in HANDSHAKE_PROTOCOL_VERSIONS
        if self.era == "legacy" and not legacy:
            error = types.ErrorData(code=types.INVALID_REQUEST, message="Bad Request: Missing session ID")
            return refused("server-error", error)
        if self.era == "modern" and legacy:
            if request.method != "POST":
                return Response(status_code=405, headers={"Allow": "POST"})
            body = await request.json()
            asked = body.get("params", {}).get("protocolVersion", version or "")
            return refused(body.get("id"), unsupported(asked))
        return None


def refused(identity: Any, error: types.ErrorData) -> Response:
    """400 with a JSON-RPC error."""
    content = error.model_dump(by_alias=True, exclude_none=True)
    return JSONResponse({"jsonrpc": "2.0", "id": identity, "error": content}, status_code=400)


@asynccontextmanager
async def spoken(era: Era, messages: Any, replies: Any) -> AsyncIterator[MemoryObjectReceiveStream[Message]]:
    """The messages of a pipe without those of the other era, which are refused on `replies`.

    Both are streams of the SDK's stdio transport.
    """
    passed: MemoryObjectSendStream[Message]
    passed, taken = anyio.create_memory_object_stream[Message](0)

    async def sort() -> None:
        async with passed:
            async for message in messages:
                if (refusal := foreign(era, message)) is None:
                    await passed.send(message)
                else:
                    await replies.send(SessionMessage(refusal))

    async with anyio.create_task_group() as group:
        group.start_soon(sort)
        yield taken
        group.cancel_scope.cancel()


def foreign(era: Era, message: Message) -> types.JSONRPCError | None:
    """The refusal of a request of the other era. A legacy server does not know such a method, or its parameters."""
    if not isinstance(message, SessionMessage) or not isinstance(request := message.message, types.JSONRPCRequest):
        return None
    params = request.params or {}
    modern = VERSION in (params.get("_meta") or {})
    if era == "legacy" and modern:
        error = types.ErrorData(code=types.INVALID_PARAMS, message="Invalid request parameters", data="")
    elif era == "modern" and not modern:
        error = unsupported(params.get("protocolVersion", ""))
    else:
        return None
    return types.JSONRPCError(jsonrpc="2.0", id=request.id, error=error)
