"""Calls that were given up while a shared process may still speak for them, and calls that are asked too much."""

from __future__ import annotations

from gatewayd.protocol.jsonrpc import Result
from gatewayd.upstreams.inbox import MAILBOX
from gatewayd.upstreams.stdio_session import QUESTIONS
from tests.upstreams.stdio_scene import (
    ASK,
    BOB,
    MIXED,
    NOTE,
    QUESTION,
    RESULT,
    notes,
    nothing_more,
    open_table,
    receive,
    stream,
)


async def test_what_an_abandoned_call_may_have_caused_is_shown_to_nobody_else_until_it_is_answered() -> None:
    async with open_table() as t:
        alice, bob = t.session(), t.session(BOB)
        standing = await stream(alice)
        bobs = await t.call(bob)
        late = RESULT % t.ids
        await bobs.aclose()
        await t.say(NOTE % 1, ASK % "idle")
        await t.refused("idle")
        own = await t.call(alice)
        await t.say(NOTE % 1, ASK % "busy")
        await t.refused("busy")
        await nothing_more(standing)
        await nothing_more(own)
        await t.say(ASK % "last", late, NOTE % 2, ASK % "q")
        assert await receive(own) == [QUESTION]
        assert await receive(standing) == notes(2)
        await t.refused("last")


async def test_a_question_is_refused_where_its_call_is_over_before_the_refusal_is_written() -> None:
    async with open_table() as t:
        alice, bob = t.session(), t.session(BOB)
        standing, hers = await stream(alice), await t.call(alice)
        her_id = t.ids
        bobs = await t.call(bob)
        await t.say(ASK % "q", NOTE % 1, RESULT % t.ids, RESULT % her_id)
        for answer in (hers, bobs):
            assert isinstance((await receive(answer))[0], Result)
        await t.refused("q")
        assert await receive(standing) == notes(404)  # what the process says when it was refused, now idle


async def test_a_log_message_of_an_abandoned_call_is_not_a_mixed_sessions() -> None:
    async with open_table() as t:
        await (await t.call(t.session(BOB))).aclose()
        call = await t.call(t.session(MIXED), NOTE % 1, ASK % "q")
        await nothing_more(call)
        await t.refused("q")


async def test_an_abandoned_call_of_its_own_takes_no_questions_from_a_principal() -> None:
    async with open_table() as t:
        peer, other = t.session(), t.session()
        await (await t.call(other)).aclose()
        assert await receive(await t.call(peer, ASK % "q")) == [QUESTION]


async def test_a_call_waits_for_so_many_answers_and_for_none_of_a_question_that_it_did_not_get() -> None:
    async with open_table() as t:
        peer = t.session()
        call = await t.call(peer)
        (pending,) = t.connection.pending
        await t.say(*(ASK % f"lost{number}" for number in range(2 * MAILBOX)))
        await t.refused(f"lost{2 * MAILBOX - 1}")
        assert len(pending.questions) == MAILBOX
        await receive(call, MAILBOX)
        await t.say(*(ASK % number for number in range(MAILBOX)))
        await t.refused(str(MAILBOX - 1))
        assert len(pending.questions) == QUESTIONS
        await receive(call, QUESTIONS - MAILBOX)
        await nothing_more(call)
        await peer.send(Result("lost0", b"{}"))
        await t.say(ASK % "q")
        assert await receive(call) == [QUESTION]
