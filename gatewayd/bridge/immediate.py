"""An answer that the gateway knows without asking."""

from __future__ import annotations

import trio

from gatewayd.protocol.jsonrpc import Failure, Message, Result


class Immediate:
    """An `Answer` of one message."""

    __slots__ = ("_message",)

    def __init__(self, message: Result | Failure) -> None:
        self._message: Result | Failure | None = message

    async def receive(self) -> Message | None:
        """See `Answer.receive`."""
        await trio.lowlevel.checkpoint()
        message, self._message = self._message, None
        return message

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        await trio.lowlevel.checkpoint()
