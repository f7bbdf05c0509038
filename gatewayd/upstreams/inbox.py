"""What comes on one channel: every message goes to the call that it belongs to, and nothing here ever waits.

All calls share one pipe, or one event stream, hence the head-of-line rule: a call whose client is so slow
that its mailbox overflows is failed, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import structlog
import trio

from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result, RpcError, decode
from gatewayd.protocol.lines import Overlong
from gatewayd.protocol.versions import LISTEN
from gatewayd.upstreams.attribution import cancelled, progress_token, subscription
from gatewayd.upstreams.channel import UpstreamError, UpstreamTooLarge
from gatewayd.upstreams.loglines import Rarely
from gatewayd.upstreams.mailbox import Mailbox
from gatewayd.upstreams.outbox import Letter

log = structlog.get_logger("gatewayd.upstreams")

MAILBOX = 64
"""Messages that one call may be behind its server before it is failed."""
UNATTRIBUTED = 256
"""Messages of no particular call that wait for whoever reads them."""


@attrs.define(eq=False)
class Call:
    """One pending request."""

    id: Id
    method: str
    mailbox: Mailbox
    owner: object = None
    """Whoever sent it, for `Inbox.attribute`."""
    letter: Letter | None = None
    """The request itself, where the process did not take all of it at once."""


Abandon = Callable[[Call, str, UpstreamError], None]
"""Fail a call early: the reason is for the server, the error for the caller."""
Attribute = Callable[[Request | Notification], Call | None]
"""The call that a message without an address belongs to; None: to none in particular."""


class Inbox:
    """The pending calls of one channel, and the messages that belong to none. `pid` is that of the process behind it.

    `limit` bounds the bytes that wait for one receiver; `abandon` is asked to end a call that cannot go on.
    """

    def __init__(self, *, name: str, limit: int, abandon: Abandon, pid: int | None = None) -> None:
        self.calls: dict[Id, Call] = {}
        self.unattributed = Mailbox(UNATTRIBUTED, limit)
        self.attribute: Attribute = lambda _: None
        self.late, self.dropped, self.garbage = Rarely(), Rarely(), Rarely()
        self._limit = limit
        self._abandon = abandon
        self._log = log.bind(service=name) if pid is None else log.bind(service=name, pid=pid)

    def open(self, request: Request, owner: object = None) -> Call:
        """Expect the messages of a request. Raises `ValueError` when its id is in use."""
        if request.id in self.calls:
            raise ValueError(f"request id {request.id} is pending already")
        call = Call(request.id, request.method, Mailbox(MAILBOX, self._limit), owner)
        self.calls[request.id] = call
        return call

    def forget(self, call: Call) -> bool:
        """Expect nothing more for a call. False when it was over already."""
        if self.calls.get(call.id) is not call:
            return False
        del self.calls[call.id]
        return True

    def close(self, error: UpstreamError) -> int:
        """Nothing more comes: fail what is pending. Returns how many calls that were."""
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.mailbox.close(error)
        self.unattributed.close()
        return len(calls)

    def take(self, line: bytes | Overlong) -> None:
        """Deliver the text of one message, or count why it cannot be delivered."""
        if isinstance(line, Overlong):
            self._overlong(line)
            return
        try:
            message = decode(line)
        except RpcError as error:
            self._report(self.garbage, "line is not json-rpc", size=len(line), reason=error.message)
            return
        match message:
            case Result() | Failure():
                self._finish(message, len(line))
            case Notification():
                self._notify(message, len(line))
            case Request():
                self._stray(message, len(line))

    def _finish(self, message: Result | Failure, size: int) -> None:
        call = None if message.id is None else self.calls.pop(message.id, None)
        if call is None:
            self._report(self.late, "answer to no pending request", size=size)
        else:
            call.mailbox.put_last(message, size)

    def _notify(self, message: Notification, size: int) -> None:
        if message.method == "notifications/cancelled":
            self._cancel(message, size)
        elif message.method == "notifications/progress":
            self._deliver(progress_token(message), message, size)
        elif (ident := subscription(message)) is not None:
            self._deliver(ident, message, size)
        else:
            self._stray(message, size)

    def _deliver(self, ident: int | None, message: Notification, size: int) -> None:
        call = None if ident is None else self.calls.get(ident)
        if call is None:
            self._report(self.late, "notification for no pending request", size=size)
        elif not call.mailbox.put(message, size):
            reason = "the messages of the service came faster than the client took them"
            self._abandon(call, "too many messages", UpstreamTooLarge(reason))

    def _cancel(self, message: Notification, size: int) -> None:
        """A modern server ends a subscription; a legacy one takes back a request of its own."""
        ident = cancelled(message)
        call = None if ident is None else self.calls.get(ident)
        if call is not None and call.method == LISTEN:
            self.forget(call)
            call.mailbox.close()
        else:
            self._stray(message, size)

    def _stray(self, message: Request | Notification, size: int) -> None:
        call = self.attribute(message)
        if call is not None and call.mailbox.put(message, size):
            return
        if not self.unattributed.put(message, size):
            self._report(self.dropped, "message dropped, nobody reads them", size=size)

    def _overlong(self, line: Overlong) -> None:
        self._report(self.garbage, "line too long", size=line.size, limit=self._limit)
        if len(self.calls) == 1:
            (call,) = self.calls.values()
            error = UpstreamTooLarge("an answer of the service is too large")
            self._abandon(call, "the answer is too large", error)

    def _report(self, what: Rarely, event: str, **facts: object) -> None:
        if times := what.count(trio.current_time()):
            self._log.warning(event, times=times, **facts)
