"""Telling a session that was opened again what the one before it knew."""

from __future__ import annotations

import itertools

from gatewayd.protocol.codes import INTERNAL_ERROR
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.upstreams.channel import LegacyPeer, UpstreamDied
from gatewayd.upstreams.told import Told

INITIALIZED = Notification("notifications/initialized")


async def tell_again(peer: LegacyPeer, told: Told, ids: itertools.count[int]) -> list[str]:
    """End the handshake and say all of it; the methods that were refused. Raises `UpstreamError`."""
    await peer.send(INITIALIZED)
    said = told.again(ids)
    return [request.method for request in said if isinstance(await _ask(peer, request), Failure)]


async def _ask(peer: LegacyPeer, message: Request) -> Result | Failure:
    answer = await peer.request(message)
    try:
        while (answered := await answer.receive()) is not None:
            if isinstance(answered, Result | Failure):
                return answered
            if isinstance(answered, Request):
                await peer.send(Failure(answered.id, INTERNAL_ERROR, "no client can be asked now"))
    finally:
        await answer.aclose()
    raise UpstreamDied("the service ended before it answered")
