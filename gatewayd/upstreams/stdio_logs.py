"""Whose log message it is that a modern server sends over a pipe, where MCP gives it no address."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import attrs

from gatewayd.protocol.jsonrpc import Notification, Request
from gatewayd.protocol.versions import LISTEN, META_LOG_LEVEL
from gatewayd.upstreams.inbox import Call
from gatewayd.upstreams.service import Caller
from gatewayd.upstreams.stdio import StdioConnection

LOG = "notifications/message"


@attrs.frozen
class Asker:
    """The principal of a call, and whether the call asked for logs. What makes calls without one wants no logs."""

    key: str
    logs: bool


def asker(message: Request, caller: Caller) -> Asker:
    """Whoever makes this call. The name of the key anywhere in the parameters will do: that harms nobody else."""
    return Asker(caller.key, META_LOG_LEVEL.encode() in (message.params or b""))


def attribute_logs(connection: StdioConnection) -> None:
    """Let log messages of a modern process go with the call that they belong to; others are lost."""

    def cause(message: Request | Notification) -> Call | None:
        return logging(connection.pending, connection.abandoned) if message.method == LOG else None

    connection.attribute_with(cause)


def logging(pending: Iterable[Call], abandoned: AbstractSet[str] = frozenset()) -> Call | None:
    """The only one of these calls that can have logged; None where nobody can say.

    A server logs for those alone that asked (MCP 2026-07-28, logging), and never on a subscription. Where several
    principals wait, or one has `abandoned` a call that may still run, we do not take its word for it: the message might
    tell one about another.
    """
    waiting = [(call, call.owner) for call in pending if isinstance(call.owner, Asker) and call.method != LISTEN]
    asked = [call for call, owner in waiting if owner.logs]
    if len({owner.key for _, owner in waiting} | abandoned) > 1:
        return None
    return asked[0] if len(asked) == 1 else None
