"""Sessions with a server whose streams are interrupted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gatewayd.protocol.jsonrpc import Message, Notification, Result
from gatewayd.upstreams.channel import Answer, Paused
from gatewayd.upstreams.http import HttpUpstream
from gatewayd.upstreams.http_session import HttpLegacyPeer
from gatewayd.upstreams.session_wire import SessionWire
from tests.upstreams.origin import (
    ACCEPTED,
    Origin,
    Visit,
    result,
)

VERSION = "2025-11-25"
DONE = Result(7, b"{}")
FINAL = result(7)
PAUSE = Paused(200)


def note(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}' % number


def noted(number: int) -> Message:
    return Notification("notifications/message", b'{"n":%d}' % number)


def peer(upstream: HttpUpstream, session: str | None = "s-1") -> HttpLegacyPeer:
    return HttpLegacyPeer(SessionWire(upstream.origin, session, VERSION))


async def stream(upstream: HttpUpstream) -> Answer:
    answer = await peer(upstream).listen()
    assert answer is not None
    return answer


Say = Callable[[Visit], Awaitable[object]]


def one_by_one(*scripts: bytes | Say) -> Callable[[Visit], Awaitable[None]]:
    """What each connection says to its first request; then it is closed. `notifications/cancelled` is accepted."""
    left = list(scripts)

    async def script(visit: Visit) -> None:
        while b"notifications/cancelled" in (await visit.hear()).body:
            await visit.say(ACCEPTED)
        said = left.pop(0)
        if isinstance(said, bytes):
            await visit.say(said)
        else:
            await said(visit)

    return script


async def hang(visit: Visit) -> None:
    await visit.gone()


def resumptions(origin: Origin) -> list[str | None]:
    """From where the client came back."""
    for request in origin.heard:
        assert request.headers["mcp-session-id"] == "s-1"
        assert request.headers["mcp-protocol-version"] == VERSION
    return [request.headers.get("last-event-id") for request in origin.heard if request.verb == "GET"]


def cancellations(origin: Origin) -> int:
    return sum(b"notifications/cancelled" in request.body for request in origin.heard)
