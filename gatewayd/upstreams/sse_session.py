"""One legacy session over HTTP+SSE (MCP 2024-11-05): everything the service says comes on one stream.

The session is the stream: there is no id to resume it by, and what is pending when it ends is lost.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from gatewayd.protocol.eventstream import Event
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result
from gatewayd.protocol.jsontext import text
from gatewayd.upstreams.answer import HttpAnswer
from gatewayd.upstreams.channel import (
    Answer,
    Refused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    WrongEra,
)
from gatewayd.upstreams.eras import chosen_version, modern_versions_in, no_verdict
from gatewayd.upstreams.inbox import Call, Inbox
from gatewayd.upstreams.origin import Fields, HttpOrigin
from gatewayd.upstreams.resuming import GOODBYE
from gatewayd.upstreams.service import Caller, Opened
from gatewayd.upstreams.session_wire import FAREWELL
from gatewayd.upstreams.sse_endpoint import endpoint_path
from gatewayd.upstreams.sse_unasked import Unasked


class NoEndpoint(UpstreamBroke):
    """The service does not speak HTTP+SSE: it opened no stream, or said something else first."""


class SseLegacyPeer:
    """A `LegacyPeer`. `run` is its task, which reads the stream; everybody else only sends.

    `mixed` is `Caller.mixed`: then nothing is taken for a call's that may be another one's.
    """

    def __init__(self, origin: HttpOrigin, *, mixed: bool) -> None:
        service = origin.service
        self._origin = origin
        self._messages: HttpOrigin | None = None
        """Where messages are sent, once the service has told."""
        self._inbox = Inbox(name=service.name, limit=service.max.response, abandon=self._abandon)
        self._unasked = Unasked(self._inbox, service.max.response, mixed=mixed, send=self.send)
        self._looking = trio.CancelScope()
        """Reads up to the event that names the endpoint."""
        self._life = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        """None before the session has begun and after it has ended."""
        self._ended = trio.Event()

    @property
    def session(self) -> str | None:
        """See `LegacyPeer.session`: it ends with its stream."""
        return None

    async def request(self, message: Request) -> Answer:
        """See `LegacyPeer.request`. The answer may come before the acknowledgement, so both are awaited later."""
        messages = self._endpoint()
        call = self._inbox.open(message)
        try:
            posted = await messages.post(message, (), in_session=True)
        except BaseException:
            self._inbox.forget(call)
            raise
        answer = SseAnswer(self, call)
        if self._nursery is None:
            await posted.aclose()
        else:
            self._nursery.start_soon(self._await_acknowledgement, answer, posted)
        return answer

    async def send(self, message: Notification | Result | Failure) -> None:
        """See `LegacyPeer.send`."""
        posted = await self._endpoint().post(message, (), in_session=True)
        try:
            await posted.read_acknowledgement()
        except SessionLost:
            self._close("the service does not know the session any more")
            raise
        finally:
            await posted.aclose()

    async def listen(self) -> Answer | None:
        """See `LegacyPeer.listen`: what belongs to no call; what came while nobody listened comes first."""
        await trio.lowlevel.checkpoint()
        self._endpoint()
        return self._unasked.listen()

    async def aclose(self) -> None:
        """See `LegacyPeer.aclose`: the stream is closed."""
        self._close("it was closed")
        with trio.move_on_after(FAREWELL, shield=True):
            await self._ended.wait()

    async def run(self, fields: Fields, *, task_status: trio.TaskStatus[None]) -> None:
        """Open the stream and read it to its end. Started when the service has said where messages go.

        Raises `UpstreamError` before that, `NoEndpoint` where the service speaks another transport.
        """
        answer: HttpAnswer | None = None
        try:
            with self._life:
                answer = await self._origin.bodiless("GET", fields, in_session=False, see=self._see)
                await self._find_endpoint(answer)
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._unasked.run)
                    task_status.started()
                    await self._read(answer)
                    nursery.cancel_scope.cancel()
        finally:
            self._end("it was closed")
            try:
                if answer is not None:
                    await answer.aclose()
            finally:
                self._ended.set()

    async def give_up(self, call: Call) -> None:
        """Forget a call, and tell the service, unless it is over. `initialize` must not be cancelled."""
        if self._inbox.forget(call):
            call.mailbox.discard()
            call.mailbox.close()
            await self._tell(call, "the client is gone")

    def _endpoint(self) -> HttpOrigin:
        if self._messages is None or self._nursery is None:
            raise SessionLost("the stream of the session has ended")
        return self._messages

    async def _find_endpoint(self, answer: HttpAnswer) -> None:
        try:
            head = await answer.read_head()
        except UpstreamBroke as error:
            if answer.head is None or no_verdict(answer.head.status):
                raise
            raise NoEndpoint(error.reason, error.detail) from error
        if not answer.streaming:
            broke = UpstreamBroke if no_verdict(head.status) else NoEndpoint
            raise broke(f"the service answered with HTTP status {head.status}", "no event stream")
        with self._looking:
            await answer.receive()
        if self._messages is None:
            raise NoEndpoint("the service ended its stream before it named an endpoint")

    def _see(self, event: Event) -> bool:
        """Take every event: see `answer.See`. The first one names the endpoint."""
        if event.data and self._messages is None:
            if event.event != "endpoint":
                raise NoEndpoint("the service named no endpoint", event.event[:100])
            self._messages = self._origin.at(endpoint_path(self._origin.target, event.data))
            self._looking.cancel()
        elif event.data and event.event == "message":
            self._inbox.take(event.data)
        return True

    async def _read(self, answer: HttpAnswer) -> None:
        why = "it was closed"
        try:
            await answer.receive()
            why = "the service ended the stream"
        except UpstreamError as error:
            why = error.detail or error.reason
        finally:
            self._end(why)

    def _close(self, why: str) -> None:
        """Take no more requests from now on, and have the stream closed."""
        self._end(why)
        self._life.cancel()

    def _end(self, why: str) -> None:
        self._nursery = None
        self._inbox.close(UpstreamDied("the stream of the session ended; the outcome is unknown", why))
        self._unasked.close()

    async def _await_acknowledgement(self, answer: SseAnswer, posted: HttpAnswer) -> None:
        try:
            with answer.posting:
                await posted.read_acknowledgement()
        except UpstreamError as error:
            if self._inbox.forget(answer.call):
                answer.call.mailbox.close(error)
            if isinstance(error, SessionLost):
                self._close(error.reason)
        finally:
            await posted.aclose()

    def _abandon(self, call: Call, reason: str, error: UpstreamError) -> None:
        """See `inbox.Abandon`."""
        if self._inbox.forget(call):
            call.mailbox.discard()
            call.mailbox.close(error)
            if self._nursery is not None:
                self._nursery.start_soon(self._tell, call, reason)

    async def _tell(self, call: Call, reason: str) -> None:
        """Take a call back, as far as the service listens. `initialize` must not be cancelled (MCP 2025-11-25)."""
        if call.method != "initialize" and not self._life.cancel_called:
            params = b'{"requestId":%d,"reason":%b}' % (int(call.id), text(reason))
            with trio.move_on_after(GOODBYE, shield=True), suppress(UpstreamError):
                await self.send(Notification("notifications/cancelled", params))


class SseAnswer:
    """The messages of one request. An `Answer`."""

    def __init__(self, peer: SseLegacyPeer, call: Call) -> None:
        self.call = call
        self.posting = trio.CancelScope()
        """Waits for the acknowledgement of the request, which some services give only when they have answered."""
        self._peer = peer

    async def receive(self) -> Message | None:
        """See `Answer.receive`."""
        return await self.call.mailbox.receive()

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        self.posting.deadline = min(self.posting.deadline, trio.current_time() + 2 * GOODBYE)
        await self._peer.give_up(self.call)


async def open_sse(origin: HttpOrigin, nursery: trio.Nursery, message: Request, caller: Caller) -> Opened:
    """Open the stream and send `initialize`; the stream is read in the nursery until the peer is closed.

    Raises `NoEndpoint` where the service does not speak HTTP+SSE, `WrongEra`, `Refused` and `UpstreamError`.
    """
    peer = SseLegacyPeer(origin, mixed=caller.mixed)
    try:
        with trio.fail_after(origin.service.timeouts.connect):
            await nursery.start(peer.run, caller.fields)
    except trio.TooSlowError:
        raise NoEndpoint("the service did not name an endpoint in time") from None
    try:
        result = await _ask(peer, message)
        return Opened(peer, chosen_version(result), result.result)
    except BaseException:
        await peer.aclose()
        raise


async def _ask(peer: SseLegacyPeer, message: Request) -> Result:
    answer = await peer.request(message)
    try:
        while (answered := await answer.receive()) is not None:
            if isinstance(answered, Result):
                return answered
            if isinstance(answered, Failure):
                supported = modern_versions_in(answered)
                if supported:
                    raise WrongEra("the service speaks only revisions without sessions", supported)
                raise Refused(answered)
    finally:
        await answer.aclose()
    raise UpstreamBroke("the service did not answer")
