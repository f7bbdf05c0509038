"""How a call of one message is run beside others: the exchange's part of it, handed down."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from gatewayd.exchange.call import Call
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.jsonrpc import Message, RpcError


class Runner(Protocol):
    """Runs `work` inside the scope of `call`, counts it, and answers for what it raises: raises nothing itself."""

    async def __call__(self, call: Call, message: Message | RpcError, work: Callable[[], Awaitable[Outcome]]) -> None:
        """See the class."""
        ...
