"""From an upstream's answer to the client's reply: read one message, write one, only then read the next."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from gatewayd.exchange.call import Call
from gatewayd.exchange.hop import Hop
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
)
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result, encode
from gatewayd.upstreams.channel import Answer, Paused, UpstreamDied

STATUS = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    METHOD_NOT_FOUND: 404,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}
"""HTTP status of an upstream's own error towards modern clients, where no stream has begun; otherwise 200."""

Translate = Callable[[Notification | Request], Awaitable[Notification | Request | None]]
"""What a message before the final one becomes on the client's side; None: nothing."""
Finish = Callable[[Result | Failure], Result | Failure]


async def relay(call: Call, hop: Hop, answer: Answer, translate: Translate, finish: Finish | None = None) -> Outcome:
    """Relay until the final answer is sent; what it was decides the outcome. Raises `UpstreamError`.

    Returns earlier, with `call.paused` set, where the upstream goes on later and the client is willing to wait.
    """
    while (message := await answer.receive()) is not None:
        if isinstance(message, Paused):
            if message.retry and await call.reply.pause(message.retry):
                call.paused = message.retry / 1000
                return "ok"
            continue
        if isinstance(message, Result | Failure):
            call.answered = True
            final = hop.final(message if finish is None else finish(message))
            status = STATUS.get(final.code, 200) if call.era == "modern" and isinstance(final, Failure) else 200
            call.set_deadline(math.inf)  # the service has kept its; now the patience with the client counts
            await call.reply.finish(encode(final), status)
            return "error" if isinstance(final, Failure) else "ok"
        translated = await translate(message)
        if translated is not None:
            await call.reply.event(encode(translated))
    raise UpstreamDied("the answer ended before the result; the outcome is unknown")
