"""Sessions over HTTP+SSE: everything comes on one stream, and ends with it (MCP 2024-11-05)."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Message, Notification, Request, Result
from gatewayd.routes.table import Service
from gatewayd.upstreams.channel import (
    Answer,
    LegacyPeer,
    Refused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTooLarge,
    WrongEra,
)
from gatewayd.upstreams.http import HttpUpstream, open_http_upstream
from gatewayd.upstreams.inbox import MAILBOX
from gatewayd.upstreams.resuming import GOODBYE
from gatewayd.upstreams.service import Caller
from tests.support.checkpoints import at_every_step, cut
from tests.upstreams.old_server import Json, OldServer, named, open_old
from tests.upstreams.origin import (
    LAST_CHUNK,
    SSE_HEAD,
    Origin,
    Visit,
    failure,
    messages,
    open_origin,
    open_upstream,
    reply,
    result,
    target,
)

ALICE = Caller("staff:alice", ((b"x-request-id", b"abc"),))
MIXED = Caller("staff:alice", mixed=True)
IDS = itertools.count(1)
NOTE: Json = {"method": "notifications/tools/list_changed", "params": {}}
LOG: Json = {"method": "notifications/message", "params": {"data": 1}}
QUESTION: Json = {"id": "q", "method": "roots/list", "params": {}}
LISTED = Notification("notifications/tools/list_changed", b"{}")
ASKED = Request("q", "roots/list", b"{}")
REFUSED = {"code": METHOD_NOT_FOUND, "message": "no client is there to be asked"}


def initialize() -> Request:
    return Request(next(IDS), "initialize", b'{"protocolVersion":"2025-11-25","capabilities":{}}')


@asynccontextmanager
async def session(
    server: OldServer, caller: Caller = ALICE, *, connect: float = 5.0, limit: int = 10_000
) -> AsyncIterator[tuple[LegacyPeer, HttpUpstream, Origin]]:
    """A session with the server; nothing is left of it in the end."""
    async with open_old(server, connect=connect, limit=limit) as (upstream, origin):
        peer = (await upstream.open_legacy(initialize(), caller)).peer
        yield peer, upstream, origin
        await peer.aclose()
        assert upstream.pool.open == upstream.pool.idle


async def call(peer: LegacyPeer, method: str = "tools/call") -> tuple[int, Answer]:
    ident = next(IDS)
    return ident, await peer.request(Request(ident, method))


async def ask(peer: LegacyPeer) -> Message:
    ident, answer = await call(peer)
    message = (await messages(answer))[-1]  # questions may come with it
    assert isinstance(message, Result)
    assert message.id == ident
    return message


async def silence(_: Json) -> None:
    await trio.lowlevel.checkpoint()


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


async def test_calls_at_once_are_each_answered_with_their_own() -> None:
    asked: list[Json] = []

    async def backwards(message: Json) -> None:
        asked.append(message)
        if len(asked) == 20:
            for each in reversed(asked):
                await server.answer(each, n=each["id"])

    server = OldServer(react=backwards)
    async with session(server) as (peer, _, _), trio.open_nursery() as nursery:

        async def one() -> None:
            ident, answer = await call(peer)
            assert await messages(answer) == [Result(ident, b'{"n": %d}' % ident)]

        for _ in range(20):
            nursery.start_soon(one)


async def test_the_answer_may_come_before_the_acknowledgement() -> None:
    async def react(message: Json) -> None:
        if message.get("method") == "tools/call":
            await server.say({"id": "q", "method": "roots/list", "params": {}})
            await server.wait_heard(None)
            await server.answer(message)

    server = OldServer(react=react, first=True)
    async with session(server) as (peer, _, _):
        ident, answer = await call(peer)
        with trio.fail_after(10):
            assert await answer.receive() == ASKED
            await peer.send(Result("q", b"{}"))
            assert await messages(answer) == [Result(ident, b"{}")]


async def test_an_acknowledgement_that_never_comes_costs_little(autojump_clock: trio.testing.MockClock) -> None:
    server = OldServer()
    async with session(server) as (peer, upstream, _):
        server.acknowledgement = b""
        for _ in range(5):
            assert isinstance(await ask(peer), Result)
        await trio.sleep(3 * GOODBYE)
        assert upstream.pool.open - upstream.pool.idle == 1  # the stream


@pytest.mark.parametrize(
    ("acknowledgement", "error", "alive"),
    [
        (reply(b"", 404, "text/plain"), SessionLost, False),
        (reply(b"", 400, "text/plain"), UpstreamBroke, True),
        (reply(b"", 500, "text/plain"), UpstreamBroke, True),
        (b"garbage\r\n\r\n", UpstreamBroke, True),
    ],
)
async def test_a_message_that_is_not_taken_fails(
    acknowledgement: bytes, error: type[UpstreamError], alive: bool
) -> None:
    server = OldServer()
    async with session(server) as (peer, _, _):
        server.acknowledgement, server.react = acknowledgement, silence
        for _ in range(2):
            with pytest.raises(error):
                await messages((await call(peer))[1])
        with pytest.raises(error):
            await peer.send(Notification("x"))
        if not alive:
            with trio.fail_after(5):
                while server.streams:
                    await trio.sleep(0.001)
        assert bool(server.streams) == alive


@pytest.mark.parametrize("how", ["end", "reset", "garbage", "too large"])
async def test_the_session_is_lost_with_its_stream(how: str) -> None:
    server = OldServer(react=silence)
    async with session(server) as (peer, _, _):
        listening = await peer.listen()
        assert listening is not None
        pending = [await call(peer) for _ in range(3)]
        await server.wait_heard("tools/call", 3)
        match how:
            case "end":
                await server.streams[-1].say(LAST_CHUNK)
            case "reset":
                server.streams[-1].reset()
            case "garbage":
                await server.streams[-1].say(b"zz\r\n")
            case _:
                await server.streams[-1].say(named("message", b"x" * 20_000))
        for _, answer in pending:
            with pytest.raises(UpstreamDied, match="unknown"):
                await messages(answer)
        assert await messages(listening) == []
        heard = len(server.heard)
        for use in (lambda: call(peer), lambda: peer.send(Notification("x")), peer.listen):
            with pytest.raises(SessionLost):
                await use()
        assert len(server.heard) == heard


async def test_a_call_that_is_given_up_is_taken_back() -> None:
    server = OldServer(react=silence)
    async with session(server) as (peer, _, _):
        ident, answer = await call(peer)
        await server.wait_heard("tools/call")
        with trio.CancelScope() as scope:
            scope.cancel()
            await answer.aclose()
        await answer.aclose()
        notice = await server.wait_heard("notifications/cancelled")
        assert notice["params"]["requestId"] == ident
        await server.answer({"id": ident})  # late: it is nobody's
        assert await messages(answer) == []
        server.react = None
        await ask(peer)


async def test_an_answered_call_and_an_opening_are_not_taken_back(autojump_clock: trio.testing.MockClock) -> None:
    server = OldServer()
    async with session(server) as (peer, upstream, _):
        await ask(peer)
        server.mute = True
        with trio.move_on_after(1) as scope:
            await upstream.open_legacy(initialize(), ALICE)
        assert scope.cancelled_caught
        assert "notifications/cancelled" not in [message.get("method") for message in server.heard]
        assert len(server.streams) == 1


async def test_a_call_whose_client_is_too_slow_fails_and_the_others_go_on() -> None:
    server = OldServer(react=silence)
    async with session(server) as (peer, _, _):
        slow, answer = await call(peer)
        for number in range(MAILBOX + 1):
            progress = {"progressToken": slow, "progress": number}
            await server.say({"method": "notifications/progress", "params": progress})
        assert (await server.wait_heard("notifications/cancelled"))["params"]["requestId"] == slow
        with pytest.raises(UpstreamTooLarge):
            await messages(answer)
        server.react = None
        await ask(peer)


async def test_garbage_on_the_stream_is_skipped_and_other_events_too() -> None:
    server = OldServer()
    async with session(server) as (peer, _, _):
        stream = server.streams[-1]
        await stream.say(named("message", b"{nope"), named("message", b"[]"), named("ping", b"1"))
        await stream.say(named("endpoint", b"http://evil/"))
        await ask(peer)


async def test_what_belongs_to_no_call_is_for_the_stream_of_the_session() -> None:
    server = OldServer()
    async with session(server) as (peer, _, _):
        await server.say(NOTE)
        await ask(peer)
        listening = await peer.listen()
        assert listening is not None
        await server.say(QUESTION)
        with trio.fail_after(10):
            assert [await listening.receive(), await listening.receive()] == [LISTED, ASKED]
        await listening.aclose()
        await server.say(QUESTION)
        assert (await server.wait_heard(None))["error"] == REFUSED


@pytest.mark.parametrize(("question", "answer"), [("roots/list", {"error": REFUSED}), ("ping", {"result": {}})])
async def test_a_question_that_nobody_hears_is_answered(question: str, answer: Json) -> None:
    server = OldServer()
    async with session(server):
        await server.say({**QUESTION, "method": question})
        heard = await server.wait_heard(None)
        assert heard == {"jsonrpc": "2.0", "id": "q", **answer}


async def test_a_flood_of_questions_is_bounded() -> None:
    server = OldServer()
    async with session(server) as (peer, _, _):
        listening = await peer.listen()
        assert listening is not None
        for _ in range(1000):
            await server.say(QUESTION)
        await ask(peer)
        await listening.aclose()


async def test_a_question_is_for_the_newest_call() -> None:
    server = OldServer(react=silence)
    async with session(server) as (peer, _, _):
        _, older = await call(peer)
        _, newer = await call(peer)
        await server.say(QUESTION)
        with trio.fail_after(10):
            assert await newer.receive() == ASKED
        await older.aclose()
        await newer.aclose()


async def test_where_calls_are_mixed_only_the_one_that_can_have_asked_is_asked() -> None:
    server = OldServer(react=silence)
    async with session(server, MIXED) as (peer, _, _):
        listening = await peer.listen()
        assert listening is not None
        _, tool = await call(peer)
        _, listed = await call(peer, "tools/list")
        await server.say(QUESTION)
        with trio.fail_after(10):
            assert await tool.receive() == ASKED
        _, second = await call(peer)
        await server.say(QUESTION)
        assert (await server.wait_heard(None))["error"] == REFUSED
        await server.say(LOG)
        await server.say(NOTE)
        with trio.fail_after(10):
            assert await listening.receive() == LISTED
        await second.aclose()
        await listed.aclose()
        await server.say(LOG)
        with trio.fail_after(10):
            assert await tool.receive() == Notification("notifications/message", b'{"data": 1}')
        await tool.aclose()
        await server.say(QUESTION)
        with trio.fail_after(10):
            assert await listening.receive() == ASKED
        await listening.aclose()


async def test_the_service_ends_with_its_sessions() -> None:
    server = OldServer()
    async with open_origin(server.script) as origin:
        async with open_http_upstream(Service("web", target(origin.port))) as upstream:
            await upstream.open_legacy(initialize(), ALICE)
            assert len(server.streams) == 1
        assert upstream.pool.open == 0
        await origin.wait_open(0)


async def test_a_request_that_was_not_sent_is_forgotten() -> None:
    async with session(OldServer()) as (peer, _, _):
        message = Request(next(IDS), "tools/list")
        with trio.CancelScope() as scope:
            scope.cancel()
            await peer.request(message)
        assert len(await messages(await peer.request(message))) == 1


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


async def test_a_call_can_be_cancelled_anywhere() -> None:
    server = OldServer()
    async with session(server) as (peer, upstream, _):

        async def trial(steps: int) -> bool:
            async def work(begin: Callable[[], None]) -> None:
                begin()
                await ask(peer)

            return await cut(work, steps)

        async def at_rest() -> None:
            with trio.fail_after(5):
                while upstream.pool.open - upstream.pool.idle > 1:
                    await trio.sleep(0.001)

        assert await at_every_step(trial, at_rest) > 5
        assert isinstance(await ask(peer), Result)
