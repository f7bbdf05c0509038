"""Sessions that share a process: who gets what it says unasked, and what happens when it ends."""

from __future__ import annotations

import pytest
import trio

from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.routes.table import Bounds
from gatewayd.upstreams import outbox
from gatewayd.upstreams.channel import SessionLost, UpstreamDied
from gatewayd.upstreams.service import Caller
from gatewayd.upstreams.stdio_session import WAITING
from tests.upstreams.stdio_scene import (
    ALICE,
    ASK,
    BOB,
    MIXED,
    NOTE,
    PING,
    QUESTION,
    REFUSED,
    notes,
    nothing_more,
    open_table,
    receive,
    stream,
)

DEAF = """
import sys, time
line = sys.stdin.readline()
time.sleep(0.5)
print('{"jsonrpc":"2.0","id":"q","method":"roots/list"}')
print('{"jsonrpc":"2.0","method":"notifications/message"}', flush=True)
time.sleep(600)
"""
"""Reads one line; then asks, and goes on speaking, but reads nothing more."""


async def test_news_is_for_every_session() -> None:
    async with open_table() as t:
        streams = [await stream(t.session()) for _ in range(3)]
        await t.say(NOTE % 1, NOTE % 2)
        for each in streams:
            assert await receive(each, 2) == notes(1, 2)


async def test_news_waits_for_a_session_that_does_not_listen_yet() -> None:
    async with open_table() as t:
        late = t.session()
        await t.say(NOTE % 1)
        early = await stream(t.session())
        await t.say(NOTE % 2)
        assert (await receive(early))[-1] in notes(1, 2)
        assert await receive(await stream(late)) == notes(1)


async def test_who_does_not_listen_misses_the_newest_and_takes_nothing_from_others() -> None:
    async with open_table() as t:
        listening = await stream(t.session())
        silent = t.session()
        await t.say(*(NOTE % number for number in range(WAITING)))
        assert await receive(listening, WAITING) == notes(*range(WAITING))
        await t.say(NOTE % 998, NOTE % 999)
        assert await receive(listening, 2) == notes(998, 999)
        held = await stream(silent)
        assert await receive(held, WAITING) == notes(*range(WAITING))
        await nothing_more(held)


async def test_a_question_goes_with_the_newest_running_call() -> None:
    async with open_table() as t:
        first, second = t.session(), t.session()
        standing = await stream(first)
        older = await t.call(first)
        newer = await t.call(second, ASK % "q")
        assert await receive(newer) == [QUESTION]
        await nothing_more(older)
        await nothing_more(standing)
        await newer.aclose()
        await t.say(ASK % "q")
        assert await receive(older) == [QUESTION]


async def test_without_a_call_a_question_goes_to_the_newest_session_that_listens() -> None:
    async with open_table() as t:
        first, second, third = [t.session() for _ in range(3)]
        one, two = await stream(first), await stream(second)
        await t.say(ASK % "q")
        assert await receive(two) == [QUESTION]
        await nothing_more(one)
        await two.aclose()
        await t.say(ASK % "q")
        assert await receive(one) == [QUESTION]
        await nothing_more(await stream(third))


async def test_a_question_that_nobody_can_hear_is_refused() -> None:
    async with open_table() as t:
        closed = await stream(t.session())
        await closed.aclose()  # it still hears, but cannot be asked
        await t.say(ASK % "q")
        assert await receive(closed) == notes(404)
        assert REFUSED in await t.heard()


@pytest.mark.parametrize("callers", [(MIXED, MIXED), (ALICE, MIXED), (ALICE, BOB)])
async def test_a_question_that_one_of_two_calls_caused_is_refused_where_a_guess_could_be_wrong(
    callers: tuple[Caller, Caller],
) -> None:
    async with open_table() as t:
        sessions = [t.session(caller) for caller in callers]
        streams = [await stream(session) for session in sessions]
        older, newer = await t.call(sessions[0]), await t.call(sessions[1], ASK % "q", PING % "p")
        ident = t.ids
        for answer in (older, newer, *streams):
            with trio.move_on_after(0.1):
                assert await receive(answer) == notes(404)  # what the process says when it was refused
        assert REFUSED in await t.heard()
        await t.finish(newer, ident)
        await t.say(ASK % "q")
        assert await receive(older) == [QUESTION]


async def test_a_question_goes_with_the_one_call_that_can_have_caused_it() -> None:
    async with open_table() as t:
        mixed, bobs = t.session(MIXED), t.session(BOB)
        asking = await t.call(mixed)
        await t.call(mixed, method="tools/list")
        await t.call(bobs, ASK % "q", method="completion/complete")
        assert await receive(asking) == [QUESTION]


async def test_a_question_that_no_call_can_have_caused_is_refused() -> None:
    async with open_table() as t:
        standing = await stream(t.session())
        listing = await t.call(t.session(MIXED), ASK % "q", PING % "p", method="tools/list")
        assert await receive(listing) == notes(404)  # what the process says when it was refused
        await nothing_more(standing)
        assert REFUSED in await t.heard()


async def test_without_a_call_a_question_is_for_a_client_before_it_is_for_a_mixed_session() -> None:
    async with open_table() as t:
        mixed = await stream(t.session(MIXED))
        await t.say(ASK % "q")
        assert await receive(mixed) == [QUESTION]
        client = await stream(t.session())
        await stream(t.session(MIXED))
        await t.say(ASK % "q")
        assert await receive(client) == [QUESTION]
        await stream(t.session(BOB))
        await t.say(ASK % "q")
        assert await receive(client) == notes(404)


async def test_a_call_that_waits_for_an_answer_does_not_keep_others_from_asking() -> None:
    async with open_table() as t:
        peer = t.session(MIXED)
        waiting = await t.call(peer, ASK % "q", ASK % "also")
        assert [each.id for each in await receive(waiting, 2) if isinstance(each, Request)] == ["q", "also"]
        other = await t.call(peer, NOTE % 1, ASK % "r")
        assert await receive(other, 2) == [*notes(1), Request("r", "elicitation/create", b"{}")]
        await peer.send(Result("r", b"{}"))
        withdrawal = '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"%s"}}'
        await t.say(withdrawal % "q", withdrawal % "also", NOTE % 2, ASK % "s")  # now both run
        await nothing_more(other)
        assert {**REFUSED, "id": "s"} in await t.heard()


async def test_questions_of_several_principals_are_never_guessed() -> None:
    async with open_table() as t:
        waiting = await t.call(t.session(MIXED), ASK % "w")
        assert len(await receive(waiting)) == 1
        bobs = await t.call(t.session(BOB), ASK % "q")
        await nothing_more(bobs)
        assert REFUSED in await t.heard()


async def test_a_log_message_is_a_mixed_sessions_only_with_its_only_call() -> None:
    async with open_table() as t:
        mixed, client = t.session(MIXED), t.session()
        news, standing = await stream(mixed), await stream(client)
        call = await t.call(mixed, NOTE % 1)
        assert await receive(call) == notes(1)
        await t.call(client, NOTE % 2)
        assert await receive(standing) == notes(2)
        await nothing_more(news)
        await nothing_more(call)


async def test_an_answer_and_news_of_the_client_reach_the_process_but_initialized_does_not() -> None:
    async with open_table() as t:
        peer = t.session()
        await peer.send(Notification("notifications/initialized"))
        await peer.send(Notification("notifications/roots/list_changed"))
        await peer.send(Failure("q", -1, "no"))
        assert await t.heard() == [
            {"method": "notifications/roots/list_changed"},
            {"id": "q", "error": {"code": -1, "message": "no"}},
            {"id": t.ids, "method": "report"},
        ]


async def test_a_session_that_ends_leaves_the_process_to_the_others() -> None:
    async with open_table() as t:
        leaving, staying = t.session(), t.session()
        ended, standing = await stream(leaving), await stream(staying)
        await leaving.aclose()
        await leaving.aclose()
        with trio.fail_after(5):
            assert await ended.receive() is None
        assert t.released == [leaving]
        await t.say(NOTE % 1, ASK % "q")
        assert await receive(standing, 2) == [*notes(1), QUESTION]


async def test_when_the_process_ends_the_sessions_are_lost() -> None:
    async with open_table() as t:
        peer = t.session()
        standing = await stream(peer)
        running = await t.call(peer)
        await t.say(NOTE % 1, end=True)
        assert await receive(standing) == notes(1)
        with trio.fail_after(10):
            assert await standing.receive() is None
            with pytest.raises(UpstreamDied):
                await running.receive()
            await t.connection.wait_closed()
        for lost in (t.call(peer), peer.send(Notification("x")), peer.listen()):
            with pytest.raises(SessionLost):
                await lost
        await peer.send(Notification("notifications/initialized"))
        await peer.aclose()
        assert t.released == [peer]


async def test_a_process_that_does_not_read_is_still_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WRITE_DEADLINE", 0.2)
    async with open_table(DEAF, Bounds(request=1000)) as t:
        standing = await stream(t.session())
        await standing.aclose()  # it hears, but cannot be asked
        await t.connection.send(Notification("x"))
        await t.connection.send(Notification("y", b'{"x":"%b"}' % (b"y" * 200_000)))
        assert not t.connection._outbox.fits(1000)
        assert await receive(standing) == [Notification("notifications/message")]
