"""What a client may refer to in a session: its calls, and the questions of the server."""

from __future__ import annotations

import itertools

import pytest

from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result
from gatewayd.sessions.session import MAX_ASKED
from tests.sessions.fakes import Peer, Running, house

CANCELLED = "notifications/cancelled"


def question(ident: Id) -> Request:
    return Request(ident, "elicitation/create", b'{"message":"?"}')


def withdrawal(ident: bytes) -> Notification:
    return Notification(CANCELLED, b'{"requestId":%b,"reason":"never mind"}' % ident)


@pytest.mark.parametrize("theirs", [7, "7", "ask-1", 0, -1])
async def test_a_question_reaches_the_client_under_an_id_of_ours_and_its_answer_goes_back(theirs: Id) -> None:
    session = await house().open()
    ids = itertools.count(100)
    assert session.ask(question(theirs), ids) == Request(100, "elicitation/create", b'{"message":"?"}')
    assert session.answered(Result(100, b'{"action":"accept"}')) == Result(theirs, b'{"action":"accept"}')


async def test_an_error_of_the_client_goes_back_whole() -> None:
    session = await house().open()
    session.ask(question("q"), itertools.count(5))
    assert session.answered(Failure(5, -1, "no", b"[1]")) == Failure("q", -1, "no", b"[1]")


@pytest.mark.parametrize(
    "answer", [Result(1, b"{}"), Result("5", b"{}"), Result("q", b"{}"), Failure(None, -1, "?"), Failure(6, -1, "?")]
)
async def test_answers_to_what_was_not_asked_go_nowhere(answer: Result | Failure) -> None:
    session = await house().open()
    session.ask(question("q"), itertools.count(5))
    assert session.answered(answer) is None
    assert session.answered(Result(5, b"{}")) == Result("q", b"{}")


async def test_the_first_answer_counts() -> None:
    session = await house().open()
    session.ask(question("q"), itertools.count(5))
    assert session.answered(Result(5, b'{"n":1}')) is not None
    assert session.answered(Result(5, b'{"n":2}')) is None
    assert session.answered(Failure(5, -1, "late")) is None


async def test_one_session_cannot_answer_for_another() -> None:
    h = house()
    mine, yours = await h.open(), await h.open()
    yours.ask(question("q"), itertools.count(5))
    assert mine.answered(Result(5, b"{}")) is None
    assert yours.answered(Result(5, b"{}")) == Result("q", b"{}")


async def test_too_many_questions_are_not_asked_until_one_is_answered() -> None:
    session = await house().open()
    ids = itertools.count(1)
    assert all(session.ask(question(f"q{number}"), ids) for number in range(MAX_ASKED))
    assert session.ask(question("one more"), ids) is None
    assert session.answered(Result(1, b"{}")) is not None
    assert session.ask(question("one more"), ids) is not None


@pytest.mark.parametrize(("theirs", "raw"), [(7, b"7"), ("7", b'"7"'), ("ask-1", b'"ask-1"')])
async def test_a_withdrawn_question_is_withdrawn_under_the_id_that_the_client_knows(theirs: Id, raw: bytes) -> None:
    session = await house().open()
    session.ask(question(theirs), itertools.count(5))
    withdrawn = session.withdrawn(withdrawal(raw))
    assert withdrawn == Notification(CANCELLED, b'{"requestId":5,"reason":"never mind"}')
    assert session.answered(Result(5, b"{}")) is None
    assert session.withdrawn(withdrawal(raw)) is None


@pytest.mark.parametrize(
    "message",
    [
        withdrawal(b"8"),
        withdrawal(b'"7"'),
        withdrawal(b"null"),
        withdrawal(b"[7]"),
        Notification(CANCELLED),
        Notification(CANCELLED, b"{}"),
        Notification(CANCELLED, b'{"requestId":7,"requestId":7}'),
    ],
)
async def test_other_withdrawals_are_nobody_s(message: Notification) -> None:
    session = await house().open()
    session.ask(question(7), itertools.count(5))
    assert session.withdrawn(message) is None
    assert session.answered(Result(5, b"{}")) == Result(7, b"{}")


async def test_a_session_is_idle_when_nothing_runs_in_it() -> None:
    session = await house().open()
    assert session.idle
    session.calls["a"] = Running()
    assert not session.idle
    del session.calls["a"]
    session.listener = Running()
    assert not session.idle


async def test_closing_tells_every_call_and_the_stream_before_the_upstream() -> None:
    peer, calls, listener = Peer(), [Running(), Running()], Running()
    session = await house().open(peer=peer)
    session.calls.update(enumerate(calls))
    session.listener = listener
    await session.close()
    await session.close()
    assert [running.told for running in (*calls, listener)] == [["session ended"]] * 3
    assert peer.closed == 1


async def test_with_a_call_its_questions_are_over_and_make_room_for_others() -> None:
    session = await house().open()
    ids = itertools.count(1)
    for n in range(MAX_ASKED):
        assert session.ask(question(n), ids, call=77) is not None
    assert session.ask(question("more"), ids, call=78) is None
    session.forget(77)
    assert session.answered(Result(1, b"{}")) is None
    assert session.ask(question("more"), ids, call=78) is not None
