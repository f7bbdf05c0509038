"""Sessions over HTTP+SSE: everything comes on one stream, and ends with it (MCP 2024-11-05)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Notification, Request, Result
from gatewayd.routes.table import Service
from gatewayd.upstreams.channel import (
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTooLarge,
)
from gatewayd.upstreams.http import open_http_upstream
from gatewayd.upstreams.inbox import MAILBOX
from gatewayd.upstreams.resuming import GOODBYE
from tests.support.checkpoints import at_every_step, cut
from tests.upstreams.old_client import (
    ALICE,
    ASKED,
    IDS,
    ask,
    call,
    initialize,
    session,
    silence,
)
from tests.upstreams.old_server import Json, OldServer, named
from tests.upstreams.origin import (
    LAST_CHUNK,
    messages,
    open_origin,
    reply,
    target,
)


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


async def test_a_message_that_finds_no_session_ends_it_for_all() -> None:
    server = OldServer(react=silence)
    async with session(server) as (peer, _, _):
        _, pending = await call(peer)
        await server.wait_heard("tools/call")
        server.acknowledgement = reply(b"", 404, "text/plain")
        with pytest.raises(SessionLost):
            await peer.send(Notification("x"))
        with pytest.raises(UpstreamDied, match="unknown"):
            await messages(pending)
        with pytest.raises(SessionLost):
            await peer.send(Notification("x"))


async def test_the_stream_may_end_while_a_request_is_being_sent() -> None:
    server = OldServer(react=silence)
    async with session(server) as (peer, _, origin), trio.open_nursery() as nursery:
        server.acknowledgement = b""
        _, first = await call(peer)  # keeps the only connection busy
        server.deaf = trio.Event()
        failed: list[UpstreamError] = []

        async def send_slowly() -> None:
            answer = await peer.request(Request(next(IDS), "tools/call", b'{"x":"%b"}' % (b"y" * 16_000_000)))
            with pytest.raises(UpstreamDied) as caught:
                await messages(answer)
            failed.append(caught.value)

        nursery.start_soon(send_slowly)
        await origin.wait_open(3)
        await server.streams[-1].say(LAST_CHUNK)
        with pytest.raises(UpstreamDied):
            await messages(first)
        server.deaf.set()
        with trio.fail_after(10):
            while not failed:
                await trio.sleep(0.01)


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
