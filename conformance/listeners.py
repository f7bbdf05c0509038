"""Everybody who wants to hear that a list changed, in both eras."""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server import ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

PATIENCE = 1.0
"""Seconds to tell one session: it may have gone without a word."""


class Listeners:
    """Streams of `subscriptions/listen`, and legacy sessions, which are all told without asking.

    It is a middleware of the server, and knows the sessions by their requests.
    """

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._sessions: dict[str, ServerSession] = {}

    async def __call__(self, ctx: ServerRequestContext[Any], call_next: CallNext) -> HandlerResult:
        """Remember the session that a request came in."""
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            headers = getattr(ctx.request, "headers", {})
            self._sessions[headers.get("mcp-session-id", "")] = ctx.session
        return await call_next(ctx)

    async def tools_changed(self) -> None:
        """Tell everybody to read the tools again."""
        await self.bus.publish(ToolsListChanged())
        for session in list(self._sessions.values()):
            with anyio.move_on_after(PATIENCE):
                await session.send_tool_list_changed()

    async def prompts_changed(self) -> None:
        """Tell everybody to read the prompts again."""
        await self.bus.publish(PromptsListChanged())
        for session in list(self._sessions.values()):
            with anyio.move_on_after(PATIENCE):
                await session.send_prompt_list_changed()
