"""What an HTTP+SSE service says unasked, and who gets it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Notification
from tests.upstreams.old_client import (
    ASKED,
    LISTED,
    LOG,
    MIXED,
    NOTE,
    QUESTION,
    REFUSED,
    ask,
    call,
    session,
    silence,
)
from tests.upstreams.old_server import Json, OldServer


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
