"""What a client may refer to in a session: its calls, and the questions of the server."""

from __future__ import annotations

import itertools

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result
from gatewayd.sessions.session import MAX_ASKED
from tests.sessions.fakes import Houses, Peer, Running, Upstream

CANCELLED = "notifications/cancelled"


def question(ident: Id) -> Request:
    return Request(ident, "elicitation/create", b'{"message":"?"}')


def withdrawal(ident: bytes) -> Notification:
    return Notification(CANCELLED, b'{"requestId":%b,"reason":"never mind"}' % ident)


@pytest.mark.parametrize("theirs", [7, "7", "ask-1", 0, -1])
async def test_a_question_reaches_the_client_under_an_id_of_ours_and_its_answer_goes_back(
    house: Houses, theirs: Id
) -> None:
    session = await house().open()
    ids = itertools.count(100)
    assert session.ask(question(theirs), ids) == Request(100, "elicitation/create", b'{"message":"?"}')
    assert session.answered(Result(100, b'{"action":"accept"}')) == Result(theirs, b'{"action":"accept"}')


async def test_an_error_of_the_client_goes_back_whole(house: Houses) -> None:
    session = await house().open()
    session.ask(question("q"), itertools.count(5))
    assert session.answered(Failure(5, -1, "no", b"[1]")) == Failure("q", -1, "no", b"[1]")


@pytest.mark.parametrize(
    "answer", [Result(1, b"{}"), Result("5", b"{}"), Result("q", b"{}"), Failure(None, -1, "?"), Failure(6, -1, "?")]
)
async def test_answers_to_what_was_not_asked_go_nowhere(house: Houses, answer: Result | Failure) -> None:
    session = await house().open()
    session.ask(question("q"), itertools.count(5))
    assert session.answered(answer) is None
    assert session.answered(Result(5, b"{}")) == Result("q", b"{}")


async def test_the_first_answer_counts(house: Houses) -> None:
    session = await house().open()
    session.ask(question("q"), itertools.count(5))
    assert session.answered(Result(5, b'{"n":1}')) is not None
    assert session.answered(Result(5, b'{"n":2}')) is None
    assert session.answered(Failure(5, -1, "late")) is None


async def test_one_session_cannot_answer_for_another(house: Houses) -> None:
    h = house()
    mine, yours = await h.open(), await h.open()
    yours.ask(question("q"), itertools.count(5))
    assert mine.answered(Result(5, b"{}")) is None
    assert yours.answered(Result(5, b"{}")) == Result("q", b"{}")


async def test_too_many_questions_are_not_asked_until_one_is_answered(house: Houses) -> None:
    session = await house().open()
    ids = itertools.count(1)
    assert all(session.ask(question(f"q{number}"), ids) for number in range(MAX_ASKED))
    assert session.ask(question("one more"), ids) is None
    assert session.answered(Result(1, b"{}")) is not None
    assert session.ask(question("one more"), ids) is not None


@pytest.mark.parametrize(("theirs", "raw"), [(7, b"7"), ("7", b'"7"'), ("ask-1", b'"ask-1"')])
async def test_a_withdrawn_question_is_withdrawn_under_the_id_that_the_client_knows(
    house: Houses, theirs: Id, raw: bytes
) -> None:
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
async def test_other_withdrawals_are_nobody_s(house: Houses, message: Notification) -> None:
    session = await house().open()
    session.ask(question(7), itertools.count(5))
    assert session.withdrawn(message) is None
    assert session.answered(Result(5, b"{}")) == Result(7, b"{}")


async def test_with_a_call_its_questions_are_over_and_make_room_for_others(house: Houses) -> None:
    session = await house().open()
    ids = itertools.count(1)
    for n in range(MAX_ASKED):
        assert session.ask(question(n), ids, call=77) is not None
    assert session.ask(question("more"), ids, call=78) is None
    assert session.forget(77) == list(range(MAX_ASKED))
    assert session.forget(77) == []
    assert session.answered(Result(1, b"{}")) is None
    assert session.ask(question("more"), ids, call=78) is not None


async def test_with_the_standing_stream_only_the_questions_that_came_on_it_are_over(house: Houses) -> None:
    session = await house().open()
    ids = itertools.count(1)
    assert session.ask(question("unasked"), ids) is not None
    assert session.ask(question("in a call"), ids, call=0) is not None
    assert session.forget(None) == ["unasked"]
    assert session.answered(Result(1, b"{}")) is None
    assert session.answered(Result(2, b"{}")) == Result("in a call", b"{}")


async def test_it_is_known_which_calls_wait_for_the_client(house: Houses) -> None:
    session = await house().open()
    ids = itertools.count(1)
    for call in (None, 8, 9, 9):
        assert session.ask(question("q"), ids, call) is not None
    assert [session.asks_during(call) for call in (7, 8, 9)] == [False, True, True]
    for ident in (2, 3):
        assert session.answered(Result(ident, b"{}")) is not None
    assert [session.asks_during(call) for call in (8, 9)] == [False, True]
    session.forget(9)
    assert not session.asks_during(9)


async def test_a_session_is_idle_when_nothing_runs_in_it_and_nobody_listens(house: Houses) -> None:
    session = await house().open()
    assert session.idle
    session.calls["a"] = Running()
    assert not session.idle
    del session.calls["a"]
    session.standing = session.store.open(None, standing=True)
    assert session.idle  # its client may return, but may as well never
    follower = session.standing.follow()
    assert not session.idle
    session.standing.leave(follower)
    assert session.idle


async def test_closing_tells_every_call_before_the_upstream(house: Houses) -> None:
    h, peer = house(), Peer()
    session = await h.open(peer=peer)
    calls = [Running(), Running()]
    session.calls.update(enumerate(calls))
    session.store.open(1).add(b"x")
    await session.close()
    await session.close()
    assert [running.told for running in calls] == [["session ended"]] * 2
    assert peer.closed == 1
    assert session.store.taken == 0
    assert h.node.children == ()


async def test_closing_cancels_the_work_of_a_session_and_waits_until_it_has_tidied_up(
    house: Houses, autojump_clock: trio.testing.MockClock
) -> None:
    h, peer, order = house(), Peer(), list[str]()
    session = await h.open(peer=peer)

    async def work(scope: trio.CancelScope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(5, shield=True):
                await trio.sleep(1)
            order.append(f"tidied, {peer.closing} farewells")
            session.store.open(1).add(b"late")

    session.start("call", "/mcp", work)
    session.start("stream", "/mcp", work)
    await trio.testing.wait_all_tasks_blocked()
    assert h.node.count() == {"sessions": 1, "session": 1, "call": 1, "stream": 1}
    await session.close()
    assert order == ["tidied, 0 farewells"] * 2
    assert peer.closed == 1
    assert session.store.taken == 0
    assert h.node.count() == {"sessions": 1}


async def test_work_can_end_itself_and_its_session_goes_on(house: Houses) -> None:
    h = house()
    session, other = await h.open(), trio.Event()

    async def stop(scope: trio.CancelScope) -> None:
        scope.cancel()
        await trio.sleep_forever()

    async def wait(scope: trio.CancelScope) -> None:
        await other.wait()

    session.start("call", "", stop)
    session.start("call", "", wait)
    await trio.testing.wait_all_tasks_blocked()
    assert h.node.count()["call"] == 1
    other.set()
    await trio.testing.wait_all_tasks_blocked()
    assert h.node.count()["call"] == 0
    await session.close()


async def test_work_that_fails_is_noted_and_harms_nobody_else(
    house: Houses, capsys: pytest.CaptureFixture[str]
) -> None:
    h = house()
    session, other = await h.open(), await h.open()

    async def fail(scope: trio.CancelScope) -> None:
        raise RuntimeError("a defect")

    session.start("call", "/mcp", fail)
    await trio.testing.wait_all_tasks_blocked()
    assert "session task crashed" in capsys.readouterr().out
    assert not session.closed
    assert not other.closed
    assert h.node.count()["call"] == 0
    await session.close()


async def test_work_that_is_started_when_the_session_is_over_only_tidies_up(house: Houses) -> None:
    session, done = await house().open(), list[str]()
    await session.close()

    async def work(scope: trio.CancelScope) -> None:
        try:
            await trio.lowlevel.checkpoint()
            done.append("work")
        finally:
            done.append("tidied up")

    session.start("call", "", work)
    await trio.testing.wait_all_tasks_blocked()
    assert done == ["tidied up"]


async def test_a_stopped_session_leaves_its_upstream_session_alone(house: Houses) -> None:
    session = await house().open(peer=(peer := Peer()))
    await session.stop()
    await session.close()
    assert session.closed
    assert peer.closing == 0


async def test_a_session_that_moves_counts_for_the_other_service(house: Houses) -> None:
    h, new, peer = house(), Upstream(), Peer()
    session = await h.open(peer=peer)
    await session.move(new)
    assert session.upstream is new
    assert (h.upstream.usage.count, new.usage.count) == (0, 1)
    assert peer.closed == 1


async def test_when_closing_is_cut_short_the_upstream_session_is_told_to_end_all_the_same(house: Houses) -> None:
    session, release = await house().open(peer=(peer := Peer())), trio.Event()

    async def work(scope: trio.CancelScope) -> None:
        with trio.CancelScope(shield=True):
            await release.wait()

    session.start("call", "", work)
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(0):
        await session.close()
    assert peer.closing == 1
    release.set()
