"""The answer to one request of a legacy client, put together from as many modern requests as it takes."""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from gatewayd.bridge.immediate import Immediate
from gatewayd.bridge.legacy_client.rounds import Again, Ask, Broken, Done, Rounds
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, RpcError
from gatewayd.upstreams.channel import (
    Answer,
    Paused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    WrongEra,
)

GRACE = 1.0
"""Seconds that a next round may still take to be sent when its receiver is cancelled: cut in the middle, nobody could
say whether the service got it. Most of the time it takes none."""

Field = tuple[bytes, bytes]


class Sender(Protocol):
    """What the answer needs of its session."""

    ids: itertools.count[int]
    level: str | None
    """The log level of the session, as it is now."""

    async def fields(self, rounds: Rounds, *, relearn: bool) -> tuple[Field, ...]:
        """The header fields for the call. Raises `JsonError`; may list tools first."""
        ...

    async def submit(self, request: Request, rounds: Rounds, fields: tuple[Field, ...]) -> Answer:
        """Send one modern request. Raises `UpstreamError`, `RpcError`."""
        ...


class LegacyAnswer:
    """An `Answer`. `begin` sends the first round; `take` gets what the client says to the questions of a round."""

    def __init__(self, rounds: Rounds, sender: Sender, ended: Callable[[LegacyAnswer], None]) -> None:
        self._rounds = rounds
        self._sender = sender
        self._ended = ended
        self._out: deque[Message] = deque()
        self._answer: Answer | None = None
        """To the round that was sent last."""
        self._spent: Answer | None = None
        """To a round before it, not closed yet."""
        self._error: UpstreamError | None = None
        self._finished = False
        self._settled = trio.Event()
        self._settled.set()
        self._due = 0.0
        self._relearn = False

    async def begin(self) -> None:
        """Send the first round. Raises `UpstreamError`, `JsonError`; not to be called again then."""
        await self._submit(await self._sender.fields(self._rounds, relearn=False))
        self._raise_error()

    def take(self, message: Result | Failure) -> None:
        """An answer of the client, which may be to a question of another call."""
        self._rounds.answer(message)
        if self._rounds.settled:
            self._settled.set()

    async def receive(self) -> Message | None:
        """See `Answer.receive`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._out:
            self._raise_error()
            if self._finished:
                return None
            if self._answer is None:
                await self._advance()
            else:
                await self._read(self._answer)
        return self._out.popleft()

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        self._finished = True
        self._ended(self)
        answers = (self._answer, self._spent)
        self._answer = self._spent = None
        await close_all(*answers)

    async def _read(self, answer: Answer) -> None:
        try:
            message = await answer.receive()
            if message is None:
                raise UpstreamDied("the answer ended before the result; the outcome is unknown")
        except UpstreamDied:
            if not self._rounds.may_repeat():
                raise
            self._retire()
            return
        match message:
            case Paused():
                pass
            case Notification():
                shown = self._rounds.notification(message)
                if shown is not None:
                    self._out.append(shown)
            case Request():
                raise UpstreamBroke("the service sent a request, which its protocol version does not allow")
            case _:
                self._judge(message)

    def _judge(self, message: Result | Failure) -> None:
        verdict = self._rounds.judge(message, self._sender.ids, lambda: str(uuid.uuid4()))
        match verdict:
            case Done(message=final):
                self._out.append(final)
                self._finished = True
            case Ask(requests=requests):
                self._out.extend(requests)
                self._settled = trio.Event()
                if self._rounds.settled:
                    self._settled.set()
                self._retire()
            case Again(wait=wait, relearn=relearn):
                self._due = trio.current_time() + wait
                self._relearn = relearn
                self._retire()
            case Broken(reason=reason, detail=detail):
                raise UpstreamBroke(reason, detail)

    def _retire(self) -> None:
        self._spent, self._answer = self._answer, None

    async def _advance(self) -> None:
        """Do what has to be done before the next round, and send it. Each step may be cancelled and done again."""
        if self._spent is not None:
            await self._spent.aclose()
            self._spent = None
        await self._settled.wait()
        ended = self._rounds.conclude()
        if ended:
            self._out.extend(ended)
            self._finished = True
            return
        await trio.sleep_until(self._due)
        fields = await self._sender.fields(self._rounds, relearn=self._relearn)
        self._relearn = False
        await see_through(lambda: self._submit(fields), GRACE)
        self._raise_error()

    async def _submit(self, fields: tuple[Field, ...]) -> None:
        """Send a round. What goes wrong is kept: who waited for it may be gone."""
        first = not self._rounds.started
        request = self._rounds.next_request(self._sender.ids, self._sender.level)
        self._error = UpstreamDied("the next round of the call was cut off; the outcome is unknown")
        try:
            self._answer = await self._sender.submit(request, self._rounds, fields)
            self._error = None
        except RpcError as error:
            self._answer, self._error = Immediate(Failure(request.id, error.code, error.message, error.data)), None
        except WrongEra as error:
            reason = "the service has no sessionless era any more"
            self._error = SessionLost(reason, error.reason) if first else UpstreamDied(reason, error.reason)
        except UpstreamError as error:
            self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            self._finished = True
            error, self._error = self._error, None
            raise error


async def see_through(work: Callable[[], Awaitable[None]], grace: float) -> None:
    """Do `work`, which raises nothing, to its end even when cancelled, unless that takes more than `grace` seconds."""
    shield = trio.CancelScope(shield=True)

    async def limit() -> None:
        try:
            await trio.sleep_forever()
        finally:
            shield.deadline = trio.current_time() + grace

    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit)
        with shield:
            await work()
        nursery.cancel_scope.cancel()


async def close_all(*answers: Answer | None) -> None:
    """Close those that there are, the rest also where one raises or is cancelled."""
    rest = [answer for answer in answers if answer is not None]
    try:
        while rest:
            await rest.pop().aclose()
    finally:
        if rest:
            await close_all(*rest)
