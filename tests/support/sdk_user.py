"""A client on the official SDK, with somebody behind it who answers questions and remembers what happened."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import attrs
import mcp_types as types
import trio
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import Subscription
from mcp.shared.subscriptions import event_to_notification

Era = Literal["modern", "legacy"]

REVISIONS: dict[Era, str] = {"modern": "2026-07-28", "legacy": "2025-11-25"}
MODES: dict[Era, Literal["auto", "legacy"]] = {"modern": "auto", "legacy": "legacy"}
FOLDERS = ("file:///srv/ada/letters", "file:///srv/ada/maps")

PATIENCE = 10.0
"""Seconds for what is awaited to happen."""

Answers = Callable[[str], types.ElicitResult | types.ErrorData]
"""The answer to a question of a server."""


def accept(**content: str | float | bool | list[str] | None) -> types.ElicitResult:
    """Yes, with a form filled in."""
    return types.ElicitResult(action="accept", content=content)


@attrs.define
class User:
    """The person. `heard` and `logs` are what the client was told without asking."""

    era: Era
    url: str
    answers: Answers = attrs.field(default=lambda message: accept(colour="teal"))
    asked: list[str] = attrs.field(factory=list[str])
    pages: list[str] = attrs.field(factory=list[str])
    """The URLs that the user was sent to."""
    logs: list[types.LoggingLevel] = attrs.field(factory=list[types.LoggingLevel])
    heard: list[tuple[str, str | None]] = attrs.field(factory=list[tuple[str, str | None]])
    """The method of each notification, and the URI if there is one."""

    @asynccontextmanager
    async def client(self, level: types.LoggingLevel | None = None) -> AsyncGenerator[Client]:
        """The client, which can answer everything that a server may ask; `level`: of the logs that it wants."""
        async with Client(
            self.url,
            mode=MODES[self.era],
            log_level=level if self.era == "modern" else None,
            elicitation_callback=self._elicited,
            sampling_callback=_sampled,
            list_roots_callback=_listed,
            logging_callback=self._logged,
            message_handler=self._told,
        ) as client:
            assert client.protocol_version == REVISIONS[self.era]
            if level is not None and self.era == "legacy":
                await client.set_logging_level(level)  # pyright: ignore[reportDeprecated]
            yield client

    @asynccontextmanager
    async def listening(self, client: Client, uri: str) -> AsyncGenerator[None]:
        """Hear of changes of all lists, and of the resource, in the way of the era."""
        async with AsyncExitStack() as stack:
            if self.era == "legacy":
                await client.subscribe_resource(uri)  # pyright: ignore[reportDeprecated]
            else:
                wanted = client.listen(
                    tools_list_changed=True,
                    prompts_list_changed=True,
                    resources_list_changed=True,
                    resource_subscriptions=[uri],
                )
                subscription = await stack.enter_async_context(wanted)
                nursery = await stack.enter_async_context(trio.open_nursery())
                nursery.start_soon(self._follow, subscription)
                stack.callback(nursery.cancel_scope.cancel)
            yield
            if self.era == "legacy":
                await client.unsubscribe_resource(uri)  # pyright: ignore[reportDeprecated]

    async def hears(self, method: str, uri: str | None = None) -> None:
        """Wait until the client was told that."""
        await until(lambda: (method, uri) in self.heard, f"{method} {uri or ''}")

    async def _elicited(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> Any:
        self.asked.append(params.message)
        if isinstance(params, types.ElicitRequestURLParams):
            assert (params.elicitation_id is None) == (self.era == "modern")
            self.pages.append(params.url)
            return types.ElicitResult(action="accept")
        return self.answers(params.message)

    async def _logged(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append(params.level)

    async def _told(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ServerNotification) and self.era == "legacy":
            self._heard(message)

    async def _follow(self, subscription: Subscription) -> None:
        async for event in subscription:
            self._heard(event_to_notification(event, {}))

    def _heard(self, notification: types.ServerNotification) -> None:
        self.heard.append((notification.method, getattr(notification.params, "uri", None)))


async def _sampled(
    context: ClientRequestContext, params: types.CreateMessageRequestParams
) -> types.CreateMessageResult:
    """Say again what the server said, louder."""
    [message] = params.messages
    assert isinstance(message.content, types.TextContent)
    content = types.TextContent(type="text", text=message.content.text.upper())
    return types.CreateMessageResult(role="assistant", content=content, model="parrot")


async def _listed(context: ClientRequestContext) -> types.ListRootsResult:
    """Some folders."""
    return types.ListRootsResult.model_validate({"roots": [{"uri": uri} for uri in FOLDERS]})


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something to happen.

    Raises:
        AssertionError: it did not.
    """
    with trio.move_on_after(PATIENCE):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(f"this did not happen: {what}")
