"""Legacy sessions over a process, which several of them may share: who gets what the process says unasked."""

from __future__ import annotations

from contextlib import suppress

import trio

from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, encode
from gatewayd.upstreams.channel import Answer, SessionLost, UpstreamError
from gatewayd.upstreams.entry import Lease
from gatewayd.upstreams.mailbox import Mailbox
from gatewayd.upstreams.stdio import StdioConnection

WAITING = 64
"""Messages that wait for a client without an open GET stream; then the newest are dropped."""


class Hub:
    """Hands the messages of no particular call to the sessions that share one process.

    MCP gives such messages no address on stdio. A request of the server most likely belongs to a call that is
    running, so the newest one carries it; otherwise a session with an open stream does. Notifications are for all.
    """

    def __init__(self, connection: StdioConnection, limit: int) -> None:
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

    async def _deliver(self, message: Message) -> None:
        size = len(encode(message))
        if isinstance(message, Request):
            listening = [mailbox for peer, mailbox in self._streams.items() if peer.listening]
            if self._connection.offer(message, size) or (listening and listening[-1].put(message, size)):
                return
            await self._connection.send(Failure(message.id, METHOD_NOT_FOUND, "no client is there to be asked"))
        else:
            for mailbox in self._streams.values():
                mailbox.put(message, size)


class StdioLegacyPeer:
    """One session's part in a process. A `LegacyPeer`."""

    def __init__(self, lease: Lease[bytes], hub: Hub) -> None:
        self._lease = lease
        self._hub = hub
        self._mailbox = hub.join(self)
        self.listening = False

    async def request(self, message: Request) -> Answer:
        """See `LegacyPeer.request`."""
        self._require_process()
        return await self._lease.connection.request(message)

    async def send(self, message: Notification | Result | Failure) -> None:
        """See `LegacyPeer.send`. The process has been told once that it is initialized."""
        if not (isinstance(message, Notification) and message.method == "notifications/initialized"):
            self._require_process()
            await self._lease.connection.send(message)

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
        """The process was the session: once it has ended the client has to begin a new one, and must be told."""
        if self._lease.connection.closed:
            raise SessionLost("the process of the session has ended")


class Listening:
    """What a session's GET stream shows. An `Answer` without a final message."""

    def __init__(self, peer: StdioLegacyPeer, mailbox: Mailbox) -> None:
        self._peer = peer
        self._mailbox = mailbox

    async def receive(self) -> Message | None:
        """See `Answer.receive`; what came while nobody listened comes first."""
        return await self._mailbox.receive()

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        self._peer.listening = False
