"""Legacy sessions over a process, which several of them may share: who gets what the process says unasked."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

import attrs
import trio

from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure, Id, Message, Notification, Request, Result, encode
from gatewayd.protocol.versions import MAY_ASK
from gatewayd.upstreams.attribution import cancelled, culprit
from gatewayd.upstreams.channel import Answer, SessionLost, UpstreamError, UpstreamUnreachable
from gatewayd.upstreams.entry import Lease
from gatewayd.upstreams.inbox import Call, Receiver
from gatewayd.upstreams.mailbox import Listening, Mailbox
from gatewayd.upstreams.service import Caller
from gatewayd.upstreams.stdio import StdioConnection

WAITING = 64
"""Messages that wait for a client without an open GET stream; then the newest are dropped."""
QUESTIONS = 100
"""Questions of one call that wait for an answer; then more are refused."""

LOG = "notifications/message"


class Hub:
    """Hands the messages of no particular call to the sessions that share one process.

    MCP gives such messages no address on stdio. A request of the server most likely belongs to a call that is
    running, so the newest one carries it; otherwise a session with an open stream does. Notifications are for all.

    Where a wrong guess could show one client's question to another, because a `Caller.mixed` session has calls pending
    or several principals have, only the one call that can have caused it carries it, and where there is no such call
    it is refused. A call that was abandoned still counts for its principal until the process answers it: meanwhile
    nobody else is asked. Log messages reach mixed sessions with the one call that runs, or not at all, and no stream of
    one principal while the process works for another.

    All this is decided as a message comes in: a moment later the call that caused it may be over.
    """

    def __init__(self, connection: StdioConnection, limit: int) -> None:
        connection.attribute_with(self._receiver)
        self._connection = connection
        self._limit = limit
        self._streams: dict[StdioLegacyPeer, Mailbox] = {}
        """By session, the newest last."""

    def join(self, peer: StdioLegacyPeer) -> Mailbox:
        """Open a session's mailbox."""
        self._streams[peer] = Mailbox(WAITING, self._limit)
        return self._streams[peer]

    def leave(self, peer: StdioLegacyPeer) -> None:
        """Close a session's mailbox."""
        mailbox = self._streams.pop(peer, None)
        if mailbox is not None:
            mailbox.close()

    async def run(self) -> None:
        """Deliver until the process ends."""
        while (message := await self._connection.unattributed.receive()) is not None:
            with suppress(UpstreamError):  # it does not read what we tell it, but may go on speaking
                await self._deliver(message)
        for mailbox in self._streams.values():
            mailbox.close()

    def answered(self, ident: Id | None) -> None:
        """A question needs no answer any more."""
        if ident is not None:
            for call in self._pending():
                call.questions.pop(ident, None)

    def _receiver(self, message: Request | Notification) -> Receiver | None:
        """See `inbox.Attribute`. None: the message is a question that is refused."""
        if isinstance(message, Notification):
            if message.method == "notifications/cancelled":
                self.answered(cancelled(message))
            return (self._logger() if message.method == LOG else None) or self._news(message)
        if not self._pending():
            return self._listener()
        call = self._asker(message)
        if call is None or message.method == "ping":
            return call
        return Question(call) if len(call.questions) < QUESTIONS else None

    def _asker(self, question: Request) -> Call | None:
        pending = self._pending()
        if not _must_be_sure(pending.values()):
            return self._unless_abandoned(next(reversed(pending), None))
        if question.method == "ping":
            return None
        calls = [call for call in pending if call.method in MAY_ASK]
        if _one_principal(pending.values()):
            waiting = ((call, _waits_since(call)) for call in calls)
            return self._unless_abandoned(culprit(waiting, trio.current_time()))
        return self._unless_abandoned(calls[0] if len(calls) == 1 else None)

    def _logger(self) -> Call | None:
        pending = self._pending()
        if not _must_be_sure(pending.values()):
            return None
        alone = _one_principal(pending.values())
        calls = [call for call in pending if not alone or _waits_since(call) is None]
        return self._unless_abandoned(calls[0] if len(calls) == 1 else None)

    def _unless_abandoned(self, call: Call | None) -> Call | None:
        """Nobody's, where an abandoned call of another principal can be the cause as well."""
        if call is None or call.owner is None or self._connection.abandoned - {call.owner.key}:
            return None
        return call

    def _pending(self) -> dict[Call, Caller]:
        """What the process works on for sessions. `initialize` is no such call: its client does not listen yet."""
        pending = self._connection.pending
        return {call: call.owner.caller for call in pending if isinstance(call.owner, StdioLegacyPeer)}

    async def _deliver(self, message: Message) -> None:
        """What no receiver took, or what came before there was one."""
        if isinstance(message, Notification):
            self._news(message).put(message, len(encode(message)))
        elif isinstance(message, Request):
            if message.method == "ping":
                await self._connection.send(Result(message.id, b"{}"))
            else:
                await self._connection.send(Failure(message.id, METHOD_NOT_FOUND, "no client is there to be asked"))

    def _news(self, message: Notification) -> News:
        """The streams that a notification of no particular call is for."""
        if message.method != LOG:
            return News(tuple(self._streams.values()))
        served = self._connection.abandoned | {caller.key for caller in self._pending().values()}
        streams = self._streams.items()
        return News(tuple(box for peer, box in streams if not peer.caller.mixed and served <= {peer.key}))

    def _listener(self) -> Mailbox | None:
        """The stream for a question that belongs to no call; None where it might be another principal's."""
        listening = [peer for peer in self._streams if peer.listening]
        if len({peer.key for peer in listening} | self._connection.abandoned) != 1 or not listening:
            return None
        return self._streams[max(reversed(listening), key=lambda peer: not peer.caller.mixed)]


@attrs.frozen
class Question:
    """The way of a question into the call that carries it, which notes that the call waits. A `Receiver`."""

    call: Call

    def put(self, message: Request | Notification, size: int) -> bool:
        """See `Receiver.put`."""
        taken = self.call.put(message, size)
        if taken and isinstance(message, Request):
            self.call.questions[message.id] = trio.current_time()
        return taken


@attrs.frozen
class News:
    """The streams that a notification is for; who is too far behind misses it. A `Receiver`."""

    streams: tuple[Mailbox, ...]

    def put(self, message: Request | Notification, size: int) -> bool:
        """See `Receiver.put`."""
        for mailbox in self.streams:
            mailbox.put(message, size)
        return True


def _waits_since(call: Call) -> float | None:
    return max(call.questions.values(), default=None)


def _must_be_sure(callers: Collection[Caller]) -> bool:
    return any(caller.mixed for caller in callers) or not _one_principal(callers)


def _one_principal(callers: Iterable[Caller]) -> bool:
    return len({caller.key for caller in callers}) <= 1


class StdioLegacyPeer:
    """One session's part in a process. A `LegacyPeer`."""

    def __init__(self, lease: Lease[bytes], hub: Hub, caller: Caller) -> None:
        self.caller = caller
        self._lease = lease
        self._hub = hub
        self._mailbox = hub.join(self)
        self.listening = False

    @property
    def key(self) -> str:
        """See `inbox.Owner`."""
        return self.caller.key

    @property
    def session(self) -> str | None:
        """See `LegacyPeer.session`: the process was the session."""
        return None

    async def request(self, message: Request) -> Answer:
        """See `LegacyPeer.request`."""
        self._require_process()
        try:
            return await self._lease.connection.request(message, self)
        except UpstreamUnreachable as error:  # it ended before anything was sent
            raise SessionLost(error.reason, error.detail) from error

    async def send(self, message: Notification | Result | Failure) -> None:
        """See `LegacyPeer.send`. The process has been told once that it is initialized."""
        if not (isinstance(message, Notification) and message.method == "notifications/initialized"):
            self._require_process()
            if not isinstance(message, Notification):
                self._hub.answered(message.id)
            try:
                await self._lease.connection.send(message)
            except UpstreamUnreachable as error:
                raise SessionLost(error.reason, error.detail) from error

    async def listen(self) -> Answer | None:
        """See `LegacyPeer.listen`."""
        await trio.lowlevel.checkpoint()
        self._require_process()
        self.listening = True
        return Listening(self, self._mailbox)

    async def aclose(self) -> None:
        """See `LegacyPeer.aclose`: the process stays for others, or until it has been idle long enough."""
        self._hub.leave(self)
        self._lease.release()

    def _require_process(self) -> None:
        """The process was the session: once it has ended, what it knew of its client is lost."""
        if self._lease.connection.closed:
            raise SessionLost("the process of the session has ended")
