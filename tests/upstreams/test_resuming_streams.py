"""The streams of legacy sessions that break off or are closed on purpose, and are taken up again."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.upstreams.channel import Paused, SessionLost, UpstreamBroke, UpstreamDied, UpstreamError
from gatewayd.upstreams.resuming import ATTEMPTS
from tests.upstreams.interrupted import (
    PAUSE,
    cancellations,
    hang,
    note,
    noted,
    one_by_one,
    peer,
    resumptions,
    stream,
)
from tests.upstreams.origin import (
    LAST_CHUNK,
    SSE_HEAD,
    event,
    everything,
    numbered,
    open_upstream,
    reply,
)


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
