"""Answers of legacy sessions that break off or are closed on purpose, and are taken up again."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.upstreams.channel import Paused, UpstreamBroke, UpstreamDied, UpstreamError
from gatewayd.upstreams.cursor import LONGEST_RETRY, SHORTEST_RETRY
from gatewayd.upstreams.resuming import ATTEMPTS
from tests.upstreams.interrupted import (
    DONE,
    FINAL,
    PAUSE,
    cancellations,
    note,
    noted,
    one_by_one,
    peer,
    resumptions,
)
from tests.upstreams.origin import (
    CALL,
    LAST_CHUNK,
    SSE_HEAD,
    Visit,
    event,
    everything,
    failure,
    messages,
    numbered,
    open_upstream,
    reply,
)


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
