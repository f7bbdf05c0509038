"""What comes on one channel: every message goes to the call that it belongs to, and nothing here ever waits.

All calls share one pipe, or one event stream, hence the head-of-line rule: a call whose client is so slow
that its mailbox overflows is failed, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import structlog
import trio

from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result, RpcError, decode
from gatewayd.protocol.lines import Overlong
from gatewayd.protocol.versions import LISTEN
from gatewayd.upstreams.attribution import Abandoned, cancelled, progress_token, subscription
from gatewayd.upstreams.channel import UpstreamError, UpstreamTooLarge
from gatewayd.upstreams.loglines import Rarely
from gatewayd.upstreams.mailbox import Mailbox
from gatewayd.upstreams.outbox import Letter

log = structlog.get_logger("gatewayd.upstreams")

MAILBOX = 64
"""Messages that one call may be behind its server before it is failed."""
UNATTRIBUTED = 256
"""Messages of no particular call that wait for whoever reads them."""


class Owner(Protocol):
    """Whoever sent a request."""

    @property
    def key(self) -> str:
        """Equal for equal principals, see `Caller.key`."""
        ...


class Receiver(Protocol):
    """Where a message without an address goes."""

    def put(self, message: Request | Notification, size: int) -> bool:
        """Take a message of `size` bytes. False: it cannot, and the message belongs to nobody. Never waits."""
        ...


@attrs.define(eq=False)
class Call:
    """One pending request."""

    id: Id
    method: str
    mailbox: Mailbox
    owner: Owner | None = None
    """For `Inbox.attribute`; None: the gateway itself."""
    letter: Letter | None = None
    """The request itself, where the process did not take all of it at once."""
    questions: dict[Id, float] = attrs.field(factory=dict[Id, float])
    """Questions of the server that it carried and that are not answered, and when; kept by who attributes them."""

    def put(self, message: Request | Notification, size: int) -> bool:
        """See `Receiver.put`."""
        return self.mailbox.put(message, size)


Abandon = Callable[[Call, str, UpstreamError], None]
"""Fail a call early: the reason is for the server, the error for the caller."""
Attribute = Callable[[Request | Notification], Receiver | None]
"""Where a message without an address goes, a call for instance; None: to no call in particular."""


class Inbox:
    """The pending calls of one channel, and the messages that belong to none. `pid` is that of the process behind it.

    `limit` bounds the bytes that wait for one receiver; `abandon` is asked to end a call that cannot go on.
    """

    def __init__(self, *, name: str, limit: int, abandon: Abandon, pid: int | None = None) -> None:
        self.calls: dict[Id, Call] = {}
        self.abandoned = Abandoned()
        self.unattributed = Mailbox(UNATTRIBUTED, limit)
        self.attribute: Attribute = lambda _: None
        self.late, self.dropped, self.garbage = Rarely(), Rarely(), Rarely()
        self._limit = limit
        self._abandon = abandon
        self._log = log.bind(service=name) if pid is None else log.bind(service=name, pid=pid)

    def open(self, request: Request, owner: Owner | None = None) -> Call:
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

    def suspect(self, call: Call) -> None:
        """The server knows a call that was forgotten, and may still speak for it until it answers.

        That is of no interest where a call has no owner, and for subscriptions: all that is theirs has an address.
        """
        if call.owner is not None and call.method != LISTEN:
            self.abandoned.add(call.id, call.owner.key)

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
            if message.id is not None:
                self.abandoned.answered(message.id)
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
        receiver = self.attribute(message)
        if receiver is not None and receiver.put(message, size):
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
