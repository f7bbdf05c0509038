"""Several messages that share one answer: each is a call of its own, and what it says goes to the carrier of all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import trio

from gatewayd.exchange.reply import Field
from gatewayd.protocol.jsonrpc import Message, Request, RpcError


class Carrier(Protocol):
    """Where the answers of several calls come together."""

    async def message(self, message: bytes) -> None:
        """Take a final answer."""
        ...

    async def events(self, events: bytes) -> None:
        """Take encoded events that come before or with a final answer, in their order."""
        ...


class MemberReply:
    """A `Reply` of which only the messages count: what HTTP would say is said once, for all."""

    def __init__(self, carrier: Carrier, message: Message | RpcError) -> None:
        """`message` is what is answered: where that is no request nothing is said, whatever becomes of it."""
        self._carrier = carrier
        self._silent = not isinstance(message, Request | RpcError)
        self.started = False

    async def send(self, status: int, fields: Iterable[Field], body: bytes) -> None:
        """See `Reply.send`. Notifications and answers, which are accepted with no body, leave no trace."""
        self.started = True
        if body and not self._silent:
            await self._carrier.message(body)

    async def start(self, status: int, fields: Iterable[Field]) -> None:
        """See `Reply.start`."""
        self.started = True
        await trio.lowlevel.checkpoint_if_cancelled()

    async def write(self, data: bytes) -> None:
        """See `Reply.write`."""
        await self._carrier.events(data)

    async def end(self) -> None:
        """See `Reply.end`."""
        await trio.lowlevel.checkpoint_if_cancelled()
