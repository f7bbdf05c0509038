"""What an HTTP+SSE service says unasked: which call it may belong to, and who gets it otherwise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, encode
from gatewayd.protocol.versions import MAY_ASK
from gatewayd.upstreams.channel import UpstreamError
from gatewayd.upstreams.inbox import Call, Inbox
from gatewayd.upstreams.mailbox import Listening, Mailbox

WAITING = 64
"""Messages that wait for a client without an open GET stream; then the newest are dropped."""
REPLY = 5.0
"""Seconds to refuse a question of the service, which nobody can answer."""
LOG = "notifications/message"

Send = Callable[[Result | Failure], Awaitable[None]]


class Unasked:
    """The messages without an address of one session, whose stream has no others than its own.

    `mixed` is `Caller.mixed`: then nothing is taken for a call's that may be another one's. `send` answers questions
    that nobody else can answer; it raises `UpstreamError`.
    """

    def __init__(self, inbox: Inbox, limit: int, *, mixed: bool, send: Send) -> None:
        self.listening = False
        """Whether somebody reads what belongs to no call."""
        self._inbox = inbox
        self._mailbox = Mailbox(WAITING, limit)
        self._mixed = mixed
        self._send = send
        inbox.attribute = self._cause

    def listen(self) -> Listening:
        """Read what belongs to no call; what came while nobody listened comes first."""
        self.listening = True
        return Listening(self, self._mailbox)

    async def run(self) -> None:
        """Hand out what belongs to no call until the inbox is closed; questions are refused while nobody listens."""
        while (message := await self._inbox.unattributed.receive()) is not None:
            if not self._keep(message) and isinstance(message, Request):
                with trio.move_on_after(REPLY), suppress(UpstreamError):
                    await self._send(_refusal(message))

    def close(self) -> None:
        """Nothing more comes."""
        self._mailbox.close()

    def _cause(self, message: Request | Notification) -> Call | None:
        """See `inbox.Attribute`. A question most likely belongs to a call that is running, the newest one."""
        calls = [call for call in self._inbox.calls.values() if call.method != "initialize"]
        if isinstance(message, Request):
            if not self._mixed:
                return calls[-1] if calls else None
            calls = [call for call in calls if call.method in MAY_ASK]
        elif not (self._mixed and message.method == LOG):
            return None
        return calls[0] if len(calls) == 1 else None

    def _keep(self, message: Message) -> bool:
        if isinstance(message, Request):
            if not self.listening or (self._mixed and self._inbox.calls):
                return False
        elif self._mixed and isinstance(message, Notification) and message.method == LOG:
            return False
        return self._mailbox.put(message, len(encode(message)))


def _refusal(question: Request) -> Result | Failure:
    if question.method == "ping":
        return Result(question.id, b"{}")
    return Failure(question.id, METHOD_NOT_FOUND, "no client is there to be asked")
