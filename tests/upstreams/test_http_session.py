"""One legacy session with an HTTP server: its requests, its stream, its end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.upstreams.channel import SessionLost, UpstreamBroke, UpstreamDied, UpstreamError
from gatewayd.upstreams.http import HttpUpstream
from gatewayd.upstreams.http_session import HttpLegacyPeer
from gatewayd.upstreams.service import Caller
from gatewayd.upstreams.session_wire import FAREWELL, SessionWire
from tests.support.counting_http import Incoming
from tests.upstreams.origin import (
    ACCEPTED,
    CALL,
    LAST_CHUNK,
    SSE_HEAD,
    Visit,
    event,
    failure,
    messages,
    open_upstream,
    reply,
    result,
)

VERSION = "2025-06-18"
NOTE = b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}'


def peer(upstream: HttpUpstream, session: str | None = "s-1") -> HttpLegacyPeer:
    return HttpLegacyPeer(SessionWire(upstream.origin, session, VERSION))


def assert_in_session(request: Incoming) -> None:
    assert request.headers["mcp-session-id"] == "s-1"
    assert request.headers["mcp-protocol-version"] == VERSION


async def test_requests_are_answered_in_the_session() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(result(7)))

    async with open_upstream(script) as (upstream, origin):
        assert await messages(await peer(upstream).request(CALL)) == [Result(7, b"{}")]
        assert_in_session(origin.heard[0])


async def test_a_service_without_sessions_is_sent_none() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(result(7)))
        await visit.gone()

    async with open_upstream(script) as (upstream, origin):
        alone = peer(upstream, None)
        await messages(await alone.request(CALL))
        assert "mcp-session-id" not in origin.heard[0].headers
        await alone.aclose()
        assert len(origin.heard) == 1


async def test_what_has_no_answer_is_sent_and_acknowledged() -> None:
    async def script(visit: Visit) -> None:
        while True:
            await visit.answer(ACCEPTED)

    async with open_upstream(script) as (upstream, origin):
        session = peer(upstream)
        await session.send(Notification("notifications/initialized"))
        await session.send(Result("q", b'{"a":1}'))
        await session.send(Failure("q", -1, "no"))
        sent = [json.loads(request.body) for request in origin.heard]
        assert [message.get("method") for message in sent] == ["notifications/initialized", None, None]
        assert sent[1]["result"] == {"a": 1}
        assert origin.visits == 1
        for request in origin.heard:
            assert_in_session(request)


async def test_a_session_that_the_service_forgot_is_lost_wherever_that_shows() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(failure(b"null", -32001), 404))

    async with open_upstream(script) as (upstream, _):
        session = peer(upstream)
        with pytest.raises(SessionLost):
            await session.send(Notification("x"))
        with pytest.raises(SessionLost):
            await messages(await session.request(CALL))
        with pytest.raises(SessionLost):
            await session.listen()
        assert upstream.pool.open == 0


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (400, "Bad Request: No valid session ID provided", SessionLost),
        (400, "Bad Request: Server not initialized", SessionLost),
        (400, "Parse error", None),
        (400, "payment session timed out", None),
        (500, "session store is down", None),
    ],
)
async def test_some_services_say_400_of_a_session_that_they_forgot(
    status: int, said: str, expected: type[SessionLost] | None
) -> None:
    async def script(visit: Visit) -> None:
        body = json.dumps({"jsonrpc": "2.0", "error": {"code": -32000, "message": said}, "id": None})
        await visit.answer(reply(body.encode(), status))

    async with open_upstream(script) as (upstream, _):
        with contextlib.nullcontext() if expected is None else pytest.raises(expected):
            assert await messages(await peer(upstream).request(CALL)) == [Failure(None, -32000, said)]


async def test_a_404_with_the_id_of_the_request_is_its_answer() -> None:
    """Nothing may be sent again that the service has answered, whatever its framework makes of "not found"."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply(failure(b"7", -32002), 404))

    async with open_upstream(script) as (upstream, _):
        assert await messages(await peer(upstream).request(CALL)) == [Failure(7, -32002, "no", b"null")]


@pytest.mark.parametrize("body", [failure(b"8", -32001), failure(b'"7"', -32001), b"{}", b"nope"])
async def test_any_other_404_is_a_session_that_was_forgotten(body: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(body, 404))

    async with open_upstream(script) as (upstream, _):
        with pytest.raises(SessionLost):
            await messages(await peer(upstream).request(CALL))


@pytest.mark.parametrize("answering", [b"", SSE_HEAD + event(NOTE)])
async def test_a_request_that_is_given_up_is_cancelled_before_its_connection_is_closed(answering: bytes) -> None:
    order: list[str] = []

    async def script(visit: Visit) -> None:
        request = await visit.hear()
        if b"notifications/cancelled" in request.body:
            order.append("cancelled")
            await visit.say(ACCEPTED)
        else:
            await visit.say(answering)
        await visit.gone()
        order.append("closed")

    async with open_upstream(script) as (upstream, origin):
        answer = await peer(upstream).request(CALL)
        with trio.move_on_after(0.1):
            while True:
                await answer.receive()
        with trio.CancelScope() as scope:  # as when the client is gone
            scope.cancel()
            await answer.aclose()
        await origin.wait_open(1)
        assert order == ["cancelled", "closed"]
        notice = json.loads(origin.heard[1].body)
        assert notice["params"]["requestId"] == 7
        assert "id" not in notice
        assert_in_session(origin.heard[1])
        assert upstream.pool.open == upstream.pool.idle == 1


async def test_a_request_that_was_answered_is_not_cancelled() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(result(7)))
        await visit.gone()

    async with open_upstream(script) as (upstream, origin):
        await messages(await peer(upstream).request(CALL))
        assert len(origin.heard) == 1


async def test_the_stream_of_the_session_brings_what_belongs_to_no_request() -> None:
    asked = b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}'

    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(NOTE) + event(asked) + LAST_CHUNK)

    async with open_upstream(script) as (upstream, origin):
        answer = await peer(upstream).listen()
        assert answer is not None
        assert await messages(answer) == [Notification("notifications/message", b"{}"), Request("q", "roots/list")]
        assert (origin.heard[0].verb, origin.heard[0].body) == ("GET", b"")
        assert_in_session(origin.heard[0])


async def test_a_stream_that_is_given_up_is_closed_and_not_cancelled() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD)
        await visit.gone()

    async with open_upstream(script) as (upstream, origin):
        answer = await peer(upstream).listen()
        assert answer is not None
        await answer.aclose()
        assert upstream.pool.open == 0
        assert len(origin.heard) == 1


@pytest.mark.parametrize("status", [400, 405, 501])
@pytest.mark.parametrize(
    ("body", "media"), [(b"", "text/plain"), (failure(b"null", -32000), "application/json"), (b"{}", "text/html")]
)
async def test_a_service_may_have_no_stream(status: int, body: bytes, media: str) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(body, status, media))

    async with open_upstream(script) as (upstream, _):
        assert await peer(upstream).listen() is None
        assert upstream.pool.open == 0


async def test_without_a_session_404_means_that_there_is_no_stream() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(b"", 404, "text/plain"))

    async with open_upstream(script) as (upstream, _):
        assert await peer(upstream, None).listen() is None


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (reply(b"", 500, "text/plain"), UpstreamBroke),
        (reply(b"", 401, "text/plain"), UpstreamBroke),
        (b"", UpstreamDied),
    ],
)
async def test_a_stream_that_fails_to_open_leaves_nothing(wire: bytes, error: type[UpstreamError]) -> None:
    async with open_upstream(lambda visit: visit.answer(wire)) as (upstream, _):
        with pytest.raises(error):
            await peer(upstream).listen()
        assert upstream.pool.open == 0


async def test_a_listener_that_is_cancelled_while_it_opens_leaves_nothing() -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()
        await visit.gone()

    async with open_upstream(script) as (upstream, _):
        with trio.move_on_after(0.1) as scope:
            await peer(upstream).listen()
        assert scope.cancelled_caught
        assert upstream.pool.open == 0


@pytest.mark.parametrize(
    "wire", [ACCEPTED, reply(b"", 405), reply(b"", 404), reply(b"", 500), b"", b"garbage\r\n\r\n", SSE_HEAD]
)
async def test_the_session_is_deleted_once_whatever_the_answer(wire: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(wire)

    async with open_upstream(script) as (upstream, origin):
        session = peer(upstream)
        await session.aclose()
        await session.aclose()
        assert [request.verb for request in origin.heard] == ["DELETE"]
        assert_in_session(origin.heard[0])


@pytest.mark.parametrize("cancelled", [False, True])
async def test_saying_goodbye_to_a_service_that_hangs_is_bounded(
    cancelled: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()
        await visit.gone()

    async with open_upstream(script) as (upstream, origin):
        began = trio.current_time()
        with trio.CancelScope() as scope:
            if cancelled:
                scope.cancel()
            await peer(upstream).aclose()
        assert trio.current_time() - began == pytest.approx(FAREWELL)
        assert upstream.pool.open == 0
        assert len(origin.heard) == 1


async def test_saying_goodbye_to_a_service_that_is_gone_does_not_fail() -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()

    async with open_upstream(script) as (upstream, origin):
        session = peer(upstream)
        await origin.stop_listening()
        await session.aclose()


async def test_the_id_of_the_session_is_shown_nowhere() -> None:
    async with open_upstream(Visit.gone) as (upstream, _):
        assert "s-1" not in repr(peer(upstream))


USES: dict[str, Callable[[HttpLegacyPeer], Awaitable[object]]] = {
    "request": lambda session: ask_in(session),
    "send": lambda session: session.send(Notification("x")),
    "listen": lambda session: session.listen(),
}


async def ask_in(session: HttpLegacyPeer) -> None:
    await messages(await session.request(CALL))


@pytest.mark.parametrize("first", USES)
async def test_a_session_that_was_forgotten_is_sent_nothing_more(first: str) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(failure(b"null", -32001), 404))

    async with open_upstream(script) as (upstream, origin):
        session = peer(upstream)
        assert session.session == "s-1"
        for use in (USES[first], *USES.values()):
            with pytest.raises(SessionLost):
                await use(session)
            assert session.session is None
        await session.aclose()
        assert len(origin.heard) == 1


async def test_calls_that_run_while_their_session_is_forgotten_are_not_cancelled() -> None:
    async def script(visit: Visit) -> None:
        request = await visit.hear()
        if b'"id":7' in request.body:
            await visit.say(SSE_HEAD + event(NOTE))
            await visit.gone()
        await visit.say(reply(b"", 404))

    async with open_upstream(script) as (upstream, origin):
        session = peer(upstream)
        running = await session.request(CALL)
        assert await running.receive() is not None
        with pytest.raises(SessionLost):
            await messages(await session.request(Request(8, "tools/list")))
        await running.aclose()
        assert len(origin.heard) == 2


async def test_a_session_of_an_earlier_process_is_used_as_it_is() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(result(7)))

    async with open_upstream(script) as (upstream, origin):
        session = upstream.resume_legacy("s-1", VERSION, Caller("staff:alice"))
        assert session is not None
        assert session.session == "s-1"
        assert origin.heard == []
        assert await messages(await session.request(CALL)) == [Result(7, b"{}")]
        assert_in_session(origin.heard[0])


async def test_a_service_without_sessions_has_none_to_resume() -> None:
    async with open_upstream(Visit.gone) as (upstream, _):
        assert peer(upstream, None).session is None
