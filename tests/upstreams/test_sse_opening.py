"""How a session over HTTP+SSE is found and opened (MCP 2024-11-05, backwards compatibility)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Notification, Result
from gatewayd.upstreams.channel import (
    Refused,
    UpstreamBroke,
    UpstreamError,
    WrongEra,
)
from gatewayd.upstreams.http import HttpUpstream
from tests.support.checkpoints import at_every_step, cut
from tests.upstreams.old_client import (
    ALICE,
    ask,
    initialize,
    session,
)
from tests.upstreams.old_server import OldServer, named, open_old
from tests.upstreams.origin import (
    LAST_CHUNK,
    SSE_HEAD,
    Visit,
    failure,
    open_upstream,
    reply,
    result,
)


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_a_service_that_takes_no_post_is_tried_the_old_way(status: int) -> None:
    server = OldServer(refusal=reply(b"", status, "text/plain"))
    async with open_old(server) as (upstream, origin):
        opened = await upstream.open_legacy(initialize(), ALICE)
        assert (opened.version, json.loads(opened.result)["protocolVersion"]) == ("2024-11-05", "2024-11-05")
        assert [request.verb for request in origin.heard] == ["POST", "GET", "POST"]
        assert origin.heard[1].headers["x-request-id"] == "abc"
        assert "text/event-stream" in origin.heard[1].headers["accept"]
        await opened.peer.send(Notification("notifications/initialized"))
        assert isinstance(await ask(opened.peer), Result)
        assert opened.peer.session is None
        assert upstream.resume_legacy("s-1", "2024-11-05", ALICE) is None
        await opened.peer.aclose()
        await opened.peer.aclose()
        assert upstream.pool.open == upstream.pool.idle
        assert server.streams == []


async def test_a_body_that_is_an_error_is_no_hindrance() -> None:
    async with open_old(OldServer(refusal=reply(failure(b"null", -32000), 400))) as (upstream, _):
        await (await upstream.open_legacy(initialize(), ALICE)).peer.aclose()


@pytest.mark.parametrize("status", [406, 410, 415])
async def test_other_refusals_do_not_lead_there(status: int) -> None:
    async with open_old(OldServer(refusal=reply(b"", status, "text/plain"))) as (upstream, origin):
        with pytest.raises(UpstreamBroke):
            await upstream.open_legacy(initialize(), ALICE)
        assert "GET" not in [request.verb for request in origin.heard]


async def test_the_transport_is_remembered_until_it_is_contradicted() -> None:
    server = OldServer()
    async with open_old(server) as (upstream, _):
        for _ in range(3):
            await (await upstream.open_legacy(initialize(), ALICE)).peer.aclose()
        assert server.posts == 1
        server.opening = reply(b"", 405, "text/plain")
        with pytest.raises(UpstreamBroke):
            await upstream.open_legacy(initialize(), ALICE)
        assert server.posts > 1
        assert upstream.resume_legacy("s-1", "2025-11-25", ALICE) is not None


async def test_an_outage_does_not_contradict_it() -> None:
    server = OldServer()
    async with open_old(server) as (upstream, _):
        await (await upstream.open_legacy(initialize(), ALICE)).peer.aclose()
        for outage in (reply(b"", 503, "text/plain"), reply(b"{}", 503), b"", b"garbage\r\n\r\n"):
            server.opening = outage
            with pytest.raises(UpstreamError):
                await _soon(upstream, server)
        server.opening = OldServer().opening
        await (await upstream.open_legacy(initialize(), ALICE)).peer.aclose()
        assert server.posts == 1


async def _soon(upstream: HttpUpstream, server: OldServer) -> None:
    """Try to open a session with a server whose stream ends at once."""
    async with trio.open_nursery() as nursery:

        async def end() -> None:
            while not server.streams:
                await trio.sleep(0.001)
            server.streams[-1].reset()

        if server.opening == b"":
            nursery.start_soon(end)
        try:
            await upstream.open_legacy(initialize(), ALICE)
        except UpstreamError as error:
            caught = error
        nursery.cancel_scope.cancel()
    raise caught


@pytest.mark.parametrize(
    "opening",
    [
        SSE_HEAD + named("message", result(1)),
        SSE_HEAD + LAST_CHUNK,
        reply(b"{}"),
        reply(b"", 404, "text/plain"),
        reply(b"<html>", 200, "text/html"),
        SSE_HEAD.replace(b"200", b"202"),
        SSE_HEAD + named("", b"/messages"),
    ],
    ids=["message first", "no event", "json", "404", "page", "202", "nameless"],
)
async def test_what_names_no_endpoint_is_not_http_with_sse(opening: bytes) -> None:
    async with open_old(OldServer(opening=opening)) as (upstream, _):
        with pytest.raises(UpstreamBroke, match="405"):
            await upstream.open_legacy(initialize(), ALICE)
        assert upstream.pool.open == upstream.pool.idle


async def test_an_endpoint_on_another_origin_is_refused() -> None:
    opening = SSE_HEAD + named("endpoint", b"http://127.0.0.1:1/messages")
    async with open_old(OldServer(opening=opening)) as (upstream, origin):
        with pytest.raises(UpstreamBroke, match="another origin"):
            await upstream.open_legacy(initialize(), ALICE)
        assert [request.verb for request in origin.heard] == ["POST", "GET"]


async def test_an_endpoint_that_is_never_named_is_waited_for_in_bounded_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_old(OldServer(opening=SSE_HEAD), connect=3.0) as (upstream, _):
        began = trio.current_time()
        with pytest.raises(UpstreamBroke, match="405"):
            await upstream.open_legacy(initialize(), ALICE)
        assert trio.current_time() - began == pytest.approx(3.0)


async def test_a_flood_before_the_endpoint_is_no_reason_to_wait_longer() -> None:
    async def script(visit: Visit) -> None:
        while (await visit.hear()).verb == "POST":
            await visit.say(reply(b"", 405, "text/plain"))
        await visit.say(SSE_HEAD)
        while True:
            await visit.say(b"10\r\nid: 123456789\n\n\n\r\n" * 100)

    async with open_upstream(script, connect=0.3) as (upstream, _):
        with trio.fail_after(5), pytest.raises(UpstreamBroke, match="405"):
            await upstream.open_legacy(initialize(), ALICE)


async def test_what_precedes_the_endpoint_without_data_is_nothing() -> None:
    text = b": hello\n\nretry: 10\nid: 1\n\n"
    opening = SSE_HEAD + b"%x\r\n%b\r\n" % (len(text), text) + named("endpoint", b"/messages?session=1")
    async with session(OldServer(opening=opening)) as (peer, _, _):
        assert isinstance(await ask(peer), Result)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (OldServer(error={"code": -32602, "message": "no"}), Refused),
        (OldServer(error={"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}), WrongEra),
        (OldServer(version="1999-01-01"), UpstreamBroke),
    ],
)
async def test_a_session_that_is_refused_leaves_no_stream(server: OldServer, expected: type[UpstreamError]) -> None:
    async with open_old(server) as (upstream, _):
        with pytest.raises(expected):
            await upstream.open_legacy(initialize(), ALICE)
        assert upstream.pool.open == upstream.pool.idle


async def test_an_opening_can_be_cancelled_anywhere() -> None:
    server = OldServer()
    async with open_old(server) as (upstream, _):

        async def trial(steps: int) -> bool:
            async def work(begin: Callable[[], None]) -> None:
                begin()
                await (await upstream.open_legacy(initialize(), ALICE)).peer.aclose()

            return await cut(work, steps)

        async def at_rest() -> None:
            with trio.fail_after(5):
                while server.streams or upstream.pool.open != upstream.pool.idle:
                    await trio.sleep(0.001)

        assert await at_every_step(trial, at_rest) > 10
