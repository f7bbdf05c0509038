"""Batches, which only MCP 2025-03-26 has: exploded into calls, each under its own rules, and reassembled."""

from __future__ import annotations

from functools import partial

import trio

from gatewayd.exchange.call import Call
from gatewayd.exchange.legacy import Legacy
from gatewayd.exchange.members import MemberReply
from gatewayd.exchange.reply import RpcReply
from gatewayd.exchange.running import Runner
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import INVALID_REQUEST
from gatewayd.protocol.eventstream import encode_event
from gatewayd.protocol.jsonrpc import Message, Request, RpcError, decode_batch
from gatewayd.protocol.jsontext import encode_elements
from gatewayd.protocol.limits import BATCH_MESSAGES
from gatewayd.sessions.session import Session

REVISION = "2025-03-26"


class BatchAnswer:
    """The answers of a batch: an array, or events where anything had to be said earlier. A `Carrier`."""

    def __init__(self, reply: RpcReply) -> None:
        self._reply = reply
        self._finals: list[bytes] = []

    async def message(self, message: bytes) -> None:
        """See `Carrier.message`."""
        self._finals.append(message)
        if self._reply.streaming:
            await self._flush()

    async def events(self, events: bytes) -> None:
        """See `Carrier.events`."""
        await self._reply.write(events)

    async def finish(self) -> None:
        """Send what has not been sent yet; 202 where there is nothing, not even an array without elements."""
        if self._reply.streaming:
            await self._flush()
            await self._reply.end()
        elif self._finals:
            await self._reply.finish(encode_elements(self._finals))
        else:
            await self._reply.accept()

    async def _flush(self) -> None:
        finals, self._finals = self._finals, []
        await self._reply.write(b"".join(encode_event(final) for final in finals))


async def serve_batch(call: Call, body: bytes, legacy: Legacy, run: Runner) -> Outcome:
    """Serve a POST with an array. Raises `RpcError` where the session has no batches, or the array is none."""
    if call.version not in (None, REVISION) or call.head.get(b"mcp-session-id") is None:
        raise RpcError(INVALID_REQUEST, "Invalid request: batches are not accepted here")
    session = await legacy.session(call)
    if session.memo.version != REVISION:
        raise RpcError(INVALID_REQUEST, f"Invalid request: only sessions of {REVISION} have batches")
    messages = decode_batch(body, min(call.plan.max_calls, BATCH_MESSAGES))
    if any(isinstance(message, Request) and message.method == "initialize" for message in messages):
        raise RpcError(INVALID_REQUEST, "Invalid request: initialize cannot be part of a batch")
    call.reply.keeps_alive = True
    answer = BatchAnswer(call.reply)
    try:
        async with trio.open_nursery() as nursery:
            for message in messages:
                member = call.member(MemberReply(answer, message), trio.current_time())
                nursery.start_soon(run, member, message, partial(_take, legacy, member, session, message))
    finally:
        session.used = trio.current_time()
    await answer.finish()
    return "ok"


async def _take(legacy: Legacy, member: Call, session: Session, message: Message | RpcError) -> Outcome:
    if isinstance(message, RpcError):
        raise message
    return await legacy.take(member, session, message)
