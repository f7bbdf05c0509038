"""Streams of legacy sessions that break off or are closed on purpose, and are taken up again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Message, Notification, Result
from gatewayd.upstreams.channel import Answer, Paused, SessionLost, UpstreamBroke, UpstreamDied, UpstreamError
from gatewayd.upstreams.cursor import LONGEST_RETRY, SHORTEST_RETRY
from gatewayd.upstreams.http import HttpUpstream
from gatewayd.upstreams.http_session import HttpLegacyPeer
from gatewayd.upstreams.resuming import ATTEMPTS, GOODBYE
from gatewayd.upstreams.session_wire import SessionWire
from tests.support.checkpoints import at_every_step, cut
from tests.support.counting_http import Lost
from tests.upstreams.origin import (
    ACCEPTED,
    CALL,
    LAST_CHUNK,
    SSE_HEAD,
    Origin,
    Visit,
    event,
    everything,
    failure,
    messages,
    numbered,
    open_upstream,
    reply,
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


async def test_a_call_whose_stream_is_closed_on_purpose_goes_on_after_a_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = one_by_one(
        SSE_HEAD + numbered("e-1", retry=200) + numbered("e-2", note(1)) + LAST_CHUNK,
        SSE_HEAD + numbered("e-3", note(2)) + LAST_CHUNK,
        SSE_HEAD + numbered("e-4", FINAL) + LAST_CHUNK,
    )
    async with open_upstream(script) as (upstream, origin):
        began = trio.current_time()
        received = await everything(await peer(upstream).request(CALL))
        assert received == [noted(1), PAUSE, noted(2), PAUSE, DONE]
        assert trio.current_time() - began == pytest.approx(0.4)
        assert resumptions(origin) == ["e-2", "e-3"]
        assert cancellations(origin) == 0


@pytest.mark.parametrize(
    "broken", [b"", b"20\r\ndata: {half", b"5\r\nid: 9"], ids=["between events", "in an event", "in an id"]
)
async def test_a_lost_connection_is_made_up_for_without_a_word(
    broken: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    script = one_by_one(
        SSE_HEAD + numbered("e-1", note(1)) + broken,
        SSE_HEAD + numbered("e-2", FINAL) + LAST_CHUNK,
    )
    async with open_upstream(script) as (upstream, origin):
        began = trio.current_time()
        assert await everything(await peer(upstream).request(CALL)) == [noted(1), DONE]
        assert trio.current_time() - began == pytest.approx(1.0)
        assert resumptions(origin) == ["e-1"]


async def test_a_reset_connection_is_made_up_for(autojump_clock: trio.testing.MockClock) -> None:
    async def crash(visit: Visit) -> None:
        await visit.say(SSE_HEAD + numbered("e-1", note(1)))
        visit.reset()

    async with open_upstream(one_by_one(crash, SSE_HEAD + numbered("e-2", FINAL))) as (upstream, _):
        assert (await everything(await peer(upstream).request(CALL)))[-1] == DONE


async def test_what_is_repeated_is_delivered_once(autojump_clock: trio.testing.MockClock) -> None:
    first = numbered("a", note(1)) + numbered("b", note(2))
    script = one_by_one(SSE_HEAD + first, SSE_HEAD + first + numbered("c", note(3)) + numbered("d", FINAL))
    async with open_upstream(script) as (upstream, _):
        received = await everything(await peer(upstream).request(CALL))
        assert received == [noted(1), noted(2), noted(3), DONE]


@pytest.mark.parametrize("end", [b"", LAST_CHUNK])
@pytest.mark.parametrize(
    "said",
    [b"", event(note(1)), numbered("a", note(1)) + numbered(""), numbered("x" * 1_000_000, note(1))],
    ids=["nothing", "no id", "id taken back", "id of 1 MB"],
)
async def test_without_an_id_the_outcome_is_unknown(said: bytes, end: bytes) -> None:
    async with open_upstream(one_by_one(SSE_HEAD + said + end), limit=2_000_000) as (upstream, origin):
        with pytest.raises(UpstreamDied, match="unknown"):
            await everything(await peer(upstream).request(CALL))
        assert resumptions(origin) == []
        assert cancellations(origin) == 1


async def test_an_answer_without_a_stream_is_not_taken_up(autojump_clock: trio.testing.MockClock) -> None:
    half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    for wire in (b"", half):
        async with open_upstream(one_by_one(wire)) as (upstream, origin):
            with pytest.raises(UpstreamDied):
                await everything(await peer(upstream).request(CALL))
            assert resumptions(origin) == []


@pytest.mark.parametrize("retry", [0, 9_999_999_999])
async def test_the_pause_is_bounded_both_ways(retry: int, autojump_clock: trio.testing.MockClock) -> None:
    bounded = SHORTEST_RETRY if retry == 0 else LONGEST_RETRY
    script = one_by_one(SSE_HEAD + numbered("a", retry=retry) + LAST_CHUNK, SSE_HEAD + numbered("b", FINAL))
    async with open_upstream(script) as (upstream, _):
        began = trio.current_time()
        assert await everything(await peer(upstream).request(CALL), 100) == [Paused(bounded), DONE]
        assert trio.current_time() - began == pytest.approx(bounded / 1000)


@pytest.mark.parametrize(
    ("again", "tries"),
    [
        (SSE_HEAD + LAST_CHUNK, ATTEMPTS),
        (SSE_HEAD, ATTEMPTS),
        (SSE_HEAD + numbered("a", note(1)), ATTEMPTS),
        (b"", ATTEMPTS),
        (reply(b"", 503, "text/plain"), ATTEMPTS),
        (reply(failure(b"null", -32000), 503), ATTEMPTS),
        (reply(b"", 409, "text/plain"), ATTEMPTS),
        (reply(b"", 404, "text/plain"), 1),
        (reply(b"", 405, "text/plain"), 1),
        (reply(failure(b"null", -32000), 400), 1),
        (reply(FINAL), 1),
        (reply(b"", 401, "text/plain"), 1),
    ],
)
async def test_what_does_not_go_on_is_given_up_and_the_outcome_is_unknown(
    again: bytes, tries: int, autojump_clock: trio.testing.MockClock
) -> None:
    script = one_by_one(SSE_HEAD + numbered("a", note(1)), *(again for _ in range(ATTEMPTS)))
    async with open_upstream(script) as (upstream, origin):
        answer = await peer(upstream).request(CALL)
        with pytest.raises(UpstreamDied, match="unknown"):
            await everything(answer, 100)
        assert resumptions(origin) == ["a"] * tries
        assert cancellations(origin) == 1


async def test_bytes_that_are_no_http_end_it(autojump_clock: trio.testing.MockClock) -> None:
    script = one_by_one(SSE_HEAD + numbered("a", note(1)), b"garbage\r\n\r\n")
    async with open_upstream(script) as (upstream, _):
        with pytest.raises(UpstreamBroke):
            await everything(await peer(upstream).request(CALL))


async def test_anything_new_gives_the_service_more_tries(autojump_clock: trio.testing.MockClock) -> None:
    rounds = 3 * ATTEMPTS
    said = [SSE_HEAD + numbered(f"e-{number}", retry=0) + LAST_CHUNK for number in range(rounds)]
    async with open_upstream(one_by_one(*said, SSE_HEAD + event(FINAL))) as (upstream, origin):
        received = await everything(await peer(upstream).request(CALL))
        assert received == [Paused(SHORTEST_RETRY)] * rounds + [DONE]
        assert resumptions(origin) == [f"e-{number}" for number in range(rounds)]


async def test_a_service_that_is_down_for_a_while_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    script = one_by_one(SSE_HEAD + numbered("a", note(1)), b"", reply(b"", 503), SSE_HEAD + event(FINAL))
    async with open_upstream(script) as (upstream, _):
        assert await everything(await peer(upstream).request(CALL)) == [noted(1), DONE]


async def test_a_service_that_is_gone_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_upstream(one_by_one(SSE_HEAD + numbered("a", note(1)))) as (upstream, origin):
        answer = await peer(upstream).request(CALL)
        assert await answer.receive() == noted(1)
        await origin.stop_listening()
        with pytest.raises(UpstreamDied, match="unknown"):
            await everything(answer, 100)


async def test_a_flood_of_resumed_events_is_bounded_by_the_limit_of_one(autojump_clock: trio.testing.MockClock) -> None:
    script = one_by_one(SSE_HEAD + numbered("a", note(1)), SSE_HEAD + event(b"x" * 20_000))
    async with open_upstream(script) as (upstream, _):
        with pytest.raises(UpstreamError, match="too large"):
            await everything(await peer(upstream).request(CALL))


async def test_who_gives_up_while_the_stream_is_interrupted_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with open_upstream(one_by_one(SSE_HEAD + numbered("a", retry=5000) + LAST_CHUNK)) as (upstream, origin):
        answer = await peer(upstream).request(CALL)
        assert await answer.receive() == Paused(5000)
        with trio.move_on_after(1) as scope:
            await answer.receive()
        assert scope.cancelled_caught
        await answer.aclose()
        assert cancellations(origin) == 1
        assert await answer.receive() is None
        assert upstream.pool.open == upstream.pool.idle


async def test_waiting_can_be_taken_up_again_where_it_was(autojump_clock: trio.testing.MockClock) -> None:
    script = one_by_one(SSE_HEAD + numbered("a", retry=5000) + LAST_CHUNK, SSE_HEAD + event(FINAL))
    async with open_upstream(script) as (upstream, _):
        began = trio.current_time()
        answer = await peer(upstream).request(CALL)
        received: list[Message | Paused | None] = []
        while DONE not in received:
            with trio.move_on_after(0.7):
                received.append(await answer.receive())
        assert received == [Paused(5000), DONE]
        assert trio.current_time() - began == pytest.approx(5)
        await answer.aclose()


async def test_a_goodbye_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()
        await visit.gone()

    async with open_upstream(script) as (upstream, _):
        answer = await peer(upstream).request(CALL)
        began = trio.current_time()
        with trio.CancelScope() as scope:
            scope.cancel()
            await answer.aclose()
        assert trio.current_time() - began == pytest.approx(GOODBYE)
        await answer.aclose()
        assert upstream.pool.open == 0


async def test_cancelling_at_any_point_leaves_nothing_and_loses_nothing() -> None:
    script_of: list[Callable[[Visit], Awaitable[None]]] = []

    async def script(visit: Visit) -> None:
        await script_of[-1](visit)

    async with open_upstream(script) as (upstream, origin):

        async def trial(steps: int) -> bool:
            again = SSE_HEAD + numbered("b", FINAL) + LAST_CHUNK
            script_of.append(
                one_by_one(SSE_HEAD + numbered("a", note(1), retry=0) + LAST_CHUNK, *(again for _ in range(9)))
            )
            origin.heard.clear()
            answer = await peer(upstream).request(CALL)
            received: list[Message | Paused] = []

            async def work(begin: Callable[[], None]) -> None:
                begin()
                while (message := await answer.receive()) is not None:
                    received.append(message)

            ended = await cut(work, steps)
            while (message := await answer.receive()) is not None:
                received.append(message)
            await answer.aclose()
            assert received == [noted(1), Paused(SHORTEST_RETRY), DONE]
            return ended

        async def at_rest() -> None:
            await trio.lowlevel.checkpoint()
            assert upstream.pool.open == upstream.pool.idle

        assert await at_every_step(trial, at_rest) > 5


async def test_giving_up_at_any_point_leaves_nothing() -> None:
    script_of: list[Callable[[Visit], Awaitable[None]]] = []

    async def script(visit: Visit) -> None:
        await script_of[-1](visit)

    async with open_upstream(script) as (upstream, _):

        async def trial(steps: int) -> bool:
            again = SSE_HEAD + numbered("b", FINAL) + LAST_CHUNK
            script_of.append(one_by_one(SSE_HEAD + numbered("a", note(1), retry=0), again))

            async def work(begin: Callable[[], None]) -> None:
                begin()
                await everything(await peer(upstream).request(CALL))

            return await cut(work, steps)

        async def at_rest() -> None:
            await trio.lowlevel.checkpoint()
            assert upstream.pool.open == upstream.pool.idle

        assert await at_every_step(trial, at_rest) > 5


async def test_the_stream_of_the_session_is_polled_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    quiet = SSE_HEAD + LAST_CHUNK
    script = one_by_one(
        SSE_HEAD + numbered("a", note(1), retry=200) + LAST_CHUNK,
        *(quiet for _ in range(3 * ATTEMPTS)),
        SSE_HEAD + numbered("b", note(2)),
        SSE_HEAD + numbered("c") + LAST_CHUNK,
        hang,
    )
    async with open_upstream(script) as (upstream, origin):
        answer = await stream(upstream)
        received = [await answer.receive() for _ in range(3 + 3 * ATTEMPTS + 1)]
        assert received == [noted(1), *[PAUSE] * (1 + 3 * ATTEMPTS), noted(2), PAUSE]
        await answer.aclose()
        assert resumptions(origin) == [None, *["a"] * (1 + 3 * ATTEMPTS), "b"]
        assert cancellations(origin) == 0


async def test_a_stream_of_the_session_that_names_no_place_just_ends() -> None:
    async with open_upstream(one_by_one(SSE_HEAD + event(note(1)) + LAST_CHUNK)) as (upstream, origin):
        assert await everything(await stream(upstream)) == [noted(1)]
        assert resumptions(origin) == [None]


async def test_a_stream_of_the_session_that_is_lost_without_a_place_died() -> None:
    async with open_upstream(one_by_one(SSE_HEAD + event(note(1)))) as (upstream, _):
        with pytest.raises(UpstreamDied):
            await everything(await stream(upstream))


@pytest.mark.parametrize("status", [400, 404, 405, 410])
async def test_a_place_that_the_service_does_not_know_is_forgotten(
    status: int, autojump_clock: trio.testing.MockClock
) -> None:
    script = one_by_one(
        SSE_HEAD + numbered("a", note(1)) + LAST_CHUNK,
        reply(b"", status, "text/plain"),
        SSE_HEAD + numbered("a", note(2)) + LAST_CHUNK,
        reply(b"", 503, "text/plain"),
        reply(b"", status, "text/plain"),
        b"",
        SSE_HEAD + event(note(3)) + LAST_CHUNK,
    )
    async with open_upstream(script) as (upstream, origin):
        received = await everything(await stream(upstream))
        assert received == [noted(1), Paused(1000), noted(2), Paused(1000), noted(3)]
        assert resumptions(origin) == [None, "a", None, "a", "a", None, None]


async def test_a_stream_that_is_no_longer_offered_has_ended(autojump_clock: trio.testing.MockClock) -> None:
    refused = reply(b"", 405, "text/plain")
    script = one_by_one(SSE_HEAD + numbered("a", note(1)) + LAST_CHUNK, refused, refused)
    async with open_upstream(script) as (upstream, _):
        assert await everything(await stream(upstream)) == [noted(1), Paused(1000)]


@pytest.mark.parametrize(("status", "error"), [(404, SessionLost), (401, UpstreamBroke)])
async def test_a_stream_ends_with_its_session(
    status: int, error: type[UpstreamError], autojump_clock: trio.testing.MockClock
) -> None:
    refused = reply(b"", status, "text/plain")
    async with open_upstream(one_by_one(SSE_HEAD + numbered("a", note(1)), refused, refused)) as (upstream, origin):
        session = peer(upstream)
        answer = await session.listen()
        assert answer is not None
        with pytest.raises(error):
            await everything(answer)
        assert (session.session is None) == (status == 404)
        if status == 404:
            await session.aclose()
            assert [request.verb for request in origin.heard] == ["GET"] * 3


async def test_a_stream_that_cannot_be_opened_again_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    refused = (reply(b"", 503, "text/plain") for _ in range(ATTEMPTS))
    async with open_upstream(one_by_one(SSE_HEAD + numbered("a", note(1)), *refused)) as (upstream, origin):
        with pytest.raises(UpstreamDied):
            await everything(await stream(upstream))
        assert len(origin.heard) == 1 + ATTEMPTS


async def test_after_a_refusal_to_go_on_the_session_may_live(autojump_clock: trio.testing.MockClock) -> None:
    """Some services answer 404 for an event id that they do not know."""
    script = one_by_one(SSE_HEAD + numbered("a"), reply(b"", 404, "text/plain"), reply(FINAL))
    async with open_upstream(script) as (upstream, _):
        session = peer(upstream)
        with pytest.raises(UpstreamDied):
            await messages(await session.request(CALL))
        assert session.session == "s-1"
        assert await messages(await session.request(CALL)) == [DONE]


async def test_without_a_session_calls_are_resumed_all_the_same(autojump_clock: trio.testing.MockClock) -> None:
    script = one_by_one(SSE_HEAD + numbered("a", note(1)), SSE_HEAD + event(FINAL))
    async with open_upstream(script) as (upstream, origin):
        assert await messages(await peer(upstream, None).request(CALL)) == [noted(1), DONE]
        assert "mcp-session-id" not in origin.heard[1].headers


async def test_a_cancellation_names_the_request() -> None:
    async def script(visit: Visit) -> None:
        while True:
            request = await visit.hear()
            if b"cancelled" in request.body:
                await visit.say(ACCEPTED)
                raise Lost

    async with open_upstream(script) as (upstream, origin):
        await (await peer(upstream).request(CALL)).aclose()
        assert json.loads(origin.heard[-1].body)["params"]["requestId"] == 7
