"""What a server on the official SDK remembers of its legacy sessions, and how it tells everybody of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import anyio
import attrs
import mcp_types as types
from mcp.server import ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

PATIENCE = 1.0
"""Seconds to tell one session: it may have gone without a word."""

LEVELS: tuple[types.LoggingLevel, ...] = get_args(types.LoggingLevel)
"""From the least severe to the most."""

LISTS: dict[str, tuple[ServerEvent, types.ServerNotification]] = {
    "tools": (ToolsListChanged(), types.ToolListChangedNotification()),
    "prompts": (PromptsListChanged(), types.PromptListChangedNotification()),
    "resources": (ResourcesListChanged(), types.ResourceListChangedNotification()),
}
"""What announces that a list changed: to modern clients, and to legacy ones."""

Context = ServerRequestContext[Any]


@attrs.define
class Known:
    """A legacy session."""

    session: ServerSession
    level: types.LoggingLevel = "debug"
    uris: set[str] = attrs.field(factory=set[str])


class Sessions:
    """The legacy sessions of a server, which are known by their requests: this is a middleware of the server."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._known: dict[str, Known] = {}

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Remember the session that a request came in. The one that begins it does not have its name yet."""
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS and ctx.method != "initialize":
            self._known.setdefault(name_of(ctx), Known(ctx.session)).session = ctx.session
        return await call_next(ctx)

    def of(self, ctx: Context) -> Known:
        """The session of a legacy request."""
        return self._known[name_of(ctx)]

    def wants(self, ctx: Context, level: types.LoggingLevel) -> bool:
        """Whether a log message of that level is for this client; the SDK itself knows what modern ones asked for."""
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return True
        return LEVELS.index(level) >= LEVELS.index(self.of(ctx).level)

    async def changed(self, what: str) -> None:
        """Tell everybody that a list changed."""
        event, notification = LISTS[what]
        await self.bus.publish(event)
        await self._tell(notification, lambda known: True)

    async def updated(self, uri: str) -> None:
        """Tell those who want to know that a resource changed."""
        await self.bus.publish(ResourceUpdated(uri))
        params = types.ResourceUpdatedNotificationParams(uri=uri)
        await self._tell(types.ResourceUpdatedNotification(params=params), lambda known: uri in known.uris)

    async def _tell(self, notification: types.ServerNotification, concerned: Callable[[Known], bool]) -> None:
        for known in list(self._known.values()):
            if concerned(known):
                with anyio.move_on_after(PATIENCE):
                    await known.session.send_notification(notification)


def name_of(ctx: Context) -> str:
    """The session id of a request; a pipe has one session, without a name."""
    name: str = getattr(ctx.request, "headers", {}).get("mcp-session-id", "")
    return name
