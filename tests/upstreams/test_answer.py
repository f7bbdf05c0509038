"""What an HTTP server may answer, what it may not, and that every connection is given back or closed."""

from __future__ import annotations

import gzip

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Failure, Notification, Result
from gatewayd.upstreams.channel import (
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTooLarge,
)
from tests.upstreams.origin import (
    ACCEPTED,
    CALL,
    LAST_CHUNK,
    SSE_HEAD,
    Visit,
    ask,
    event,
    failure,
    messages,
    open_upstream,
    refusal,
    reply,
    result,
)

LIMIT = 10_000
NOTE = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}'


async def test_a_json_answer_is_one_message_and_leaves_its_connection() -> None:
    async def script(visit: Visit) -> None:
        while True:
            await visit.answer(reply(result(7, b'{"a":1}')))

    async with open_upstream(script) as (upstream, origin):
        for _ in range(3):
            assert await messages(await upstream.origin.post(CALL, ())) == [Result(7, b'{"a":1}')]
            assert (upstream.pool.open, upstream.pool.idle) == (1, 1)
        assert origin.visits == 1


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_stream_is_as_many_messages_as_it_has_however_it_is_cut(size: int) -> None:
    wire = SSE_HEAD + b"".join(event(NOTE % number) for number in range(3)) + event(result(7)) + LAST_CHUNK

    async def script(visit: Visit) -> None:
        for _ in range(2):
            await visit.hear()
            for start in range(0, len(wire), size):
                await visit.say(wire[start : start + size])

    async with open_upstream(script) as (upstream, _):
        notes = [Notification("notifications/message", b'{"n":%d}' % number) for number in range(3)]
        assert await messages(await upstream.origin.post(CALL, ())) == [*notes, Result(7, b"{}")]
        assert await messages(await upstream.origin.post(CALL, ())) == [*notes, Result(7, b"{}")]


async def test_comments_ids_and_empty_events_are_nothing() -> None:
    text = b": hello\n\nid: 1\ndata:\n\nretry: 10\n\nevent: ping\n\n"

    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + b"%x\r\n%b\r\n" % (len(text), text) + event(result(7)) + LAST_CHUNK)

    async with open_upstream(script) as (upstream, _):
        assert await messages(await upstream.origin.post(CALL, ())) == [Result(7, b"{}")]


async def test_what_follows_the_answer_is_nobody_s() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(result(7)) + event(result(7, b'{"second":1}')) + event(b"junk"))
        await visit.gone()

    async with open_upstream(script) as (upstream, _):
        assert await messages(await upstream.origin.post(CALL, ())) == [Result(7, b"{}")]


async def test_an_error_may_come_with_its_http_status_and_no_id() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(failure(b"7", -32602), 400))
        await visit.answer(reply(failure(b"null", -32600), 400))
        await visit.answer(reply(b'{"jsonrpc":"2.0","error":{"code":-32600,"message":"no"}}', 500))

    async with open_upstream(script) as (upstream, origin):
        assert await ask(upstream) == Failure(7, -32602, "no", b"null")
        assert await ask(upstream) == Failure(None, -32600, "no", b"null")
        assert await ask(upstream) == Failure(None, -32600, "no", None)
        assert origin.visits == 1


DECLARED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("wire", "error", "reason"),
    [
        pytest.param(DECLARED % (LIMIT + 1), UpstreamTooLarge, "too large", id="declared"),
        pytest.param(
            CHUNKED + b"10000\r\n" + b" " * 0x10000, UpstreamTooLarge, "the answer of the service", id="chunked"
        ),
        pytest.param(SSE_HEAD + event(b"x" * LIMIT), UpstreamTooLarge, "an event", id="event"),
        pytest.param(SSE_HEAD + b"fff0\r\n" + b"x" * 0xFFF0, UpstreamTooLarge, "an event", id="endless line"),
        pytest.param(reply(b"", 302, "text/html", "location: http://evil/"), UpstreamBroke, "status 302", id="302"),
        pytest.param(
            reply(result(7), 307, "application/json", "location: /"),
            UpstreamBroke,
            "status 307",
            id="redirect with json",
        ),
        pytest.param(reply(failure(b"7", -1), 401), UpstreamBroke, "refused the gateway's credentials", id="401"),
        pytest.param(reply(b"", 403, "text/html"), UpstreamBroke, "refused the gateway's credentials", id="403"),
        pytest.param(reply(b"<html>", 200, "text/html"), UpstreamBroke, "status 200", id="html"),
        pytest.param(reply(b"oops", 500, "text/plain"), UpstreamBroke, "status 500", id="500"),
        pytest.param(reply(b"", 202), UpstreamBroke, "not JSON-RPC", id="accepted"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", UpstreamBroke, "status 204", id="204"),
        pytest.param(
            reply(gzip.compress(result(7)), 200, "application/json", "content-encoding: gzip"),
            UpstreamBroke,
            "compressed",
            id="compressed",
        ),
        pytest.param(reply(b"{nope"), UpstreamBroke, "not JSON-RPC", id="bad json"),
        pytest.param(reply(b"[" * 5000), UpstreamBroke, "not JSON-RPC", id="deep json"),
        pytest.param(reply(b"[%b]" % result(7)), UpstreamBroke, "not JSON-RPC", id="batch"),
        pytest.param(reply(b'"\xff"'), UpstreamBroke, "not JSON-RPC", id="not utf-8"),
        pytest.param(reply(result(8)), UpstreamBroke, "was not asked", id="other id"),
        pytest.param(reply(result("7")), UpstreamBroke, "was not asked", id="id of another type"),
        pytest.param(reply(failure(b"null", -1)), UpstreamBroke, "was not asked", id="no id with 200"),
        pytest.param(reply(NOTE % 1), UpstreamBroke, "no answer", id="notification"),
        pytest.param(SSE_HEAD + event(b"{nope"), UpstreamBroke, "not JSON-RPC", id="bad event"),
        pytest.param(SSE_HEAD + event(result(8)), UpstreamBroke, "was not asked", id="other id in a stream"),
        pytest.param(
            SSE_HEAD + event(NOTE % 1) + LAST_CHUNK, UpstreamDied, "before the answer", id="stream ends early"
        ),
        pytest.param(SSE_HEAD + LAST_CHUNK, UpstreamDied, "before the answer", id="empty stream"),
        pytest.param(DECLARED % 100 + b"{", UpstreamDied, "died while answering", id="closed in a body"),
        pytest.param(CHUNKED + b"5\r\n{", UpstreamDied, "died while answering", id="closed in a chunk"),
        pytest.param(SSE_HEAD + event(NOTE % 1), UpstreamDied, "died while answering", id="closed in a stream"),
        pytest.param(b"", UpstreamDied, "closed the connection", id="closed at once"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-ty", UpstreamDied, "closed the connection", id="closed in a head"),
        pytest.param(b"\x00\x01 garbage\r\n\r\n", UpstreamBroke, "proper HTTP", id="garbage"),
        pytest.param(CHUNKED + b"zz\r\n", UpstreamBroke, "proper HTTP", id="bad chunk"),
        pytest.param(
            DECLARED % 2 + b"content-length: 3\r\n\r\n", UpstreamBroke, "not JSON-RPC", id="more than was declared"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
            UpstreamBroke,
            "proper HTTP",
            id="two lengths",
        ),
        pytest.param(
            reply(result(7), 200, "application/json", "content-type: text/html"),
            UpstreamBroke,
            "proper HTTP",
            id="two media types",
        ),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            UpstreamBroke,
            "proper HTTP",
            id="upgrade",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"x: %b\r\n" % (b"y" * 1000) * 70, UpstreamBroke, "proper HTTP", id="endless head"
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 20, UpstreamBroke, "proper HTTP", id="endless interim heads"),
    ],
)
async def test_a_bad_answer_is_an_error_of_its_call_alone(wire: bytes, error: type[UpstreamError], reason: str) -> None:
    async def script(visit: Visit) -> None:
        if visit.number == 0:
            await visit.answer(wire)
        else:
            await visit.answer(reply(result(7)))

    async with open_upstream(script, limit=LIMIT) as (upstream, origin):
        told = await refusal(upstream)
        assert type(told) is error
        assert reason in told.reason
        assert str(origin.port) not in told.reason
        assert await ask(upstream) == Result(7, b"{}")


async def test_only_a_single_event_is_too_large_not_a_long_stream() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD)
        for number in range(100):
            await visit.say(event(NOTE % number + b" " * 1000))
        await visit.say(event(result(7)) + LAST_CHUNK)

    async with open_upstream(script, limit=2000) as (upstream, _):
        assert len(await messages(await upstream.origin.post(CALL, ()))) == 101


async def test_a_reset_in_an_answer_is_a_death() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(NOTE % 1))
        await trio.sleep(0.05)
        visit.reset()

    async with open_upstream(script) as (upstream, _):
        told = await refusal(upstream)
        assert isinstance(told, UpstreamDied)
        assert "reset" in told.detail


async def test_a_session_that_is_unknown_is_lost_and_elsewhere_404_is_just_wrong() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(b"", 404, "text/plain"))

    async with open_upstream(script) as (upstream, _):
        assert isinstance(await refusal(upstream, in_session=True), SessionLost)
        assert isinstance(await refusal(upstream), UpstreamBroke)


async def test_waiting_can_be_cancelled_and_taken_up_again() -> None:
    go_on = trio.Event()

    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(NOTE % 1))
        await go_on.wait()
        await visit.say(event(result(7)) + LAST_CHUNK)

    async with open_upstream(script) as (upstream, _):
        answer = await upstream.origin.post(CALL, ())
        assert await answer.receive() is not None
        with trio.move_on_after(0.05) as scope:
            await answer.receive()
        assert scope.cancelled_caught
        go_on.set()
        assert await messages(answer) == [Result(7, b"{}")]
        assert await answer.receive() is None


async def test_abandoning_closes_the_connection_at_once_and_once() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(SSE_HEAD + event(NOTE % 1))
        await visit.gone()

    async with open_upstream(script) as (upstream, origin):
        answer = await upstream.origin.post(CALL, ())
        assert await answer.receive() is not None
        await answer.aclose()
        await answer.aclose()
        assert upstream.pool.open == 0
        await origin.wait_open(0)
        assert await answer.receive() is None


@pytest.mark.parametrize("wire", [ACCEPTED, reply(b"{}"), b"HTTP/1.1 204 No Content\r\n\r\n", SSE_HEAD + LAST_CHUNK])
async def test_an_acknowledgement_may_look_like_anything(wire: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(wire)
        await visit.answer(reply(result(7)))

    async with open_upstream(script) as (upstream, origin):
        answer = await upstream.origin.post(Notification("notifications/initialized"), ())
        await answer.read_acknowledgement()
        await answer.aclose()
        await ask(upstream)
        assert origin.visits == 1


@pytest.mark.parametrize(
    ("status", "error"), [(404, SessionLost), (400, UpstreamBroke), (500, UpstreamBroke), (302, UpstreamBroke)]
)
async def test_what_is_not_acknowledged_failed(status: int, error: type[UpstreamError]) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(b"", status))

    async with open_upstream(script) as (upstream, _):
        answer = await upstream.origin.post(Notification("x"), (), in_session=True)
        with pytest.raises(error):
            await answer.read_acknowledgement()
        await answer.aclose()
        assert upstream.pool.open == 0


async def test_a_slow_reader_slows_the_server_down() -> None:
    sent = 0

    async def script(visit: Visit) -> None:
        nonlocal sent
        await visit.answer(SSE_HEAD)
        while True:
            await visit.say(event(NOTE % sent + b" " * 5000))
            sent += 1

    async with open_upstream(script) as (upstream, _):
        answer = await upstream.origin.post(CALL, ())
        await answer.receive()
        await trio.sleep(0.3)
        stalled = sent
        await trio.sleep(0.2)
        assert sent == stalled
        await answer.aclose()
