"""A modern request over a modern upstream (MCP 2026-07-28): stateless, checked against its headers, relayed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import trio

from gatewayd.exchange.call import Call
from gatewayd.exchange.hop import modern_hop
from gatewayd.exchange.listening import Listening
from gatewayd.exchange.relay import Finish, relay
from gatewayd.exchange.revisions import complete, list_callable, offer_all
from gatewayd.observe.metrics import Outcome
from gatewayd.protocol.codes import HEADER_MISMATCH, INVALID_REQUEST
from gatewayd.protocol.envelope import check_modern
from gatewayd.protocol.jsonrpc import Message, Notification, Request, Result, RpcError, encode
from gatewayd.protocol.jsontext import text
from gatewayd.protocol.versions import DISCOVER, LISTEN, META_SUBSCRIPTION_ID
from gatewayd.upstreams.channel import Answer, UpstreamBroke
from gatewayd.upstreams.service import Caller, Upstream

_FINISH: Mapping[str, Finish] = {DISCOVER: offer_all, "tools/list": list_callable}


async def serve_modern(call: Call, message: Message, ids: itertools.count[int]) -> Outcome:
    """Serve one POST. Raises `RpcError`, `UpstreamError`; cancelled with the call's scope."""
    if isinstance(message, Notification):
        # Nothing is defined for clients here; acting on a client-chosen id would let one cancel another's work.
        await call.reply.accept()
        return "ok"
    if not isinstance(message, Request):
        raise RpcError(INVALID_REQUEST, "Invalid request: this protocol version has no responses of clients")
    head = call.head
    checked = check_modern(
        message,
        version=head.get(b"mcp-protocol-version"),
        method=head.get(b"mcp-method"),
        name=head.get(b"mcp-name"),
    )
    upstream = call.plan.upstream
    hop, request = modern_hop(message, next(ids), checked.params, checked.meta)
    call.listening = message.method == LISTEN
    call.set_deadline(math.inf if call.listening else trio.current_time() + upstream.service.timeouts.call)
    call.reply.keeps_alive = True
    caller = _caller(call)
    answer = await upstream.request(request, checked.version, checked.name, caller)
    if call.listening:

        async def again(upstream: Upstream) -> Answer:
            return await upstream.request(
                Request(next(ids), request.method, request.params), checked.version, None, caller
            )

        answer = listening = Listening(answer, again, request.params or b"{}")
        call.follow = listening.follow
    try:

        async def translate(message: Notification | Request) -> Notification | None:
            if isinstance(message, Request):
                raise UpstreamBroke("the service sent a request, which this protocol version does not allow")
            return hop.notification(message)

        return await relay(call, hop, answer, translate, _FINISH.get(message.method, complete))
    finally:
        await answer.aclose()


async def end_listening(call: Call) -> None:
    """End a listen stream as a server may: with its result (MCP 2026-07-28, subscriptions)."""
    assert call.rpc_id is not None
    ident = text(call.rpc_id) if isinstance(call.rpc_id, str) else b"%d" % call.rpc_id
    result = b'{"resultType":"complete","_meta":{%b:%b}}' % (text(META_SUBSCRIPTION_ID), ident)
    await call.reply.finish(encode(Result(call.rpc_id, result)))


def _caller(call: Call) -> Caller:
    """Who is behind the request. `Mcp-Param-*` fields go on untouched: the upstream knows what to compare them with."""
    head = call.head
    seen: set[bytes] = set()
    fields = call.trace_fields()
    for name, value in head.fields:
        if name.startswith(b"mcp-param-"):
            if name in seen:
                raise RpcError(HEADER_MISMATCH, f"Header mismatch: {name.decode()} is repeated", call.rpc_id)
            seen.add(name)
            fields.append((name, value))
    return Caller(call.principal.key, tuple(fields))
