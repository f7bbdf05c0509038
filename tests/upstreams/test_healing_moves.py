"""Sessions that outlive their upstream: what has no answer, the standing stream, another service, and the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Failure, Id, Notification, Request, Result
from gatewayd.upstreams.channel import (
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
)
from gatewayd.upstreams.healing import MOST_ASKED
from gatewayd.upstreams.retelling import INITIALIZED
from tests.support.checkpoints import at_every_step, cut
from tests.upstreams.healing_scene import (
    CALL,
    DONE,
    Line,
    Peer,
    Upstream,
    agree,
    ask,
    final,
    losing,
    new_peer,
    say,
    scene,
)

# Messages without an answer


async def test_a_notification_that_a_lost_session_did_not_take_goes_to_the_new_one() -> None:
    s = scene()
    s.first.lost = True
    changed = Notification("notifications/roots/list_changed")
    await s.peer.send(changed)
    assert s.second.heard == [INITIALIZED, changed]


@pytest.mark.parametrize("known", [True, False])
async def test_a_new_session_is_told_once_that_it_is_initialized(known: bool) -> None:
    upstream = Upstream()
    peer = new_peer(upstream, Peer("lost", lost=True) if known else None)
    await peer.send(INITIALIZED)
    assert upstream.peers[0].heard == [INITIALIZED]
    await peer.send(Notification("notifications/roots/list_changed"))
    assert len(upstream.peers) == 1


@pytest.mark.parametrize(
    "message",
    [Result("q", b"{}"), Failure("q", -1, "no"), Failure(None, -1, "no"), Notification("notifications/cancelled")],
)
async def test_no_session_is_opened_for_what_only_the_lost_one_would_understand(
    message: Notification | Result | Failure,
) -> None:
    s = scene()
    await s.peer.send(message)
    assert s.first.heard == [message]
    s.first.lost = True
    await s.peer.send(message)
    assert s.upstream.asked == []
    await s.peer.move(s.upstream)
    await s.peer.send(message)
    assert s.upstream.asked == []


async def test_a_message_that_fails_otherwise_fails() -> None:
    s = scene()
    s.first.refuses["note"] = UpstreamDied("died")
    with pytest.raises(UpstreamDied):
        await s.peer.send(Notification("note"))
    assert s.upstream.asked == []


# The standing stream


async def test_the_stream_of_a_lost_session_is_opened_with_a_new_one() -> None:
    s = scene()
    stream = await s.peer.listen()
    assert stream is not None
    assert await stream.receive() == Notification("said by first")
    await stream.aclose()
    s.first.lost = True
    stream = await s.peer.listen()
    assert stream is not None
    assert await stream.receive() == Notification(f"said by {s.second.name}")
    await stream.aclose()
    await s.peer.aclose()
    s.upstream.assert_nothing_is_left()


async def test_a_service_that_has_no_stream_for_a_new_session_either_says_so_once() -> None:
    refusal: dict[str, UpstreamError] = {"listen": SessionLost("no such session")}
    s = scene(prepared=[Peer("second", refuses=refusal)])
    s.first.refuses = refusal
    with pytest.raises(SessionLost):
        await s.peer.listen()
    assert len(s.upstream.peers) == 2


# Another service


async def test_a_peer_that_moves_reads_running_answers_to_their_end_and_then_ends_the_old_session() -> None:
    s, new = scene(lambda peer, message: [Notification("note"), DONE]), Upstream()
    running = [await s.peer.request(CALL) for _ in range(2)]
    await s.peer.move(new)
    assert s.peer.upstream is new
    assert not s.first.closed
    assert await final(running[0]) == DONE
    assert not s.first.closed
    assert await final(running[1]) == DONE
    assert s.first.closed
    assert new.peers == []
    assert await ask(s.peer) == Result(100, b"{}")
    assert new.peers[0].heard == [INITIALIZED, CALL]
    await s.peer.aclose()
    s.upstream.assert_nothing_is_left()
    new.assert_nothing_is_left()


async def test_a_peer_that_moves_ends_a_session_that_nothing_runs_in() -> None:
    s = scene()
    await s.peer.move(Upstream())
    await s.peer.move(Upstream())
    assert s.first.closed


async def test_what_changed_the_session_is_said_to_the_other_service_too() -> None:
    s, new = scene(), Upstream()
    await say(s.peer, "resources/subscribe", "a:1")
    await s.peer.move(new)
    await ask(s.peer)
    assert new.peers[0].methods == [INITIALIZED.method, "resources/subscribe", CALL.method]


async def test_an_answer_that_is_lost_with_the_old_service_is_asked_of_the_new_one() -> None:
    s, new = scene(losing), Upstream()
    answer = await s.peer.request(CALL)
    await s.peer.move(new)
    assert await final(answer) == Result(100, b"{}")
    assert s.first.closed


@pytest.mark.parametrize("ident", [7, "q"])
async def test_an_answer_goes_to_the_session_that_asked(ident: Id) -> None:
    s, new = scene(lambda peer, message: [Request(ident, "elicitation/create"), DONE]), Upstream()
    new.prepared = [Peer("new", lambda peer, message: [Request(ident, "elicitation/create"), DONE])]
    old = await s.peer.request(CALL)
    await old.receive()
    await s.peer.move(new)
    later = await s.peer.request(CALL)
    await later.receive()
    replies = [Result(ident, b'{"n":%d}' % n) for n in range(3)]
    for reply in replies:
        await s.peer.send(reply)
    assert s.first.heard == [CALL, replies[1]]
    assert new.peers[0].heard == [INITIALIZED, CALL, replies[0], replies[2]]
    await old.aclose()
    await later.aclose()


async def test_questions_without_end_are_not_all_remembered() -> None:
    questions: list[Line] = [Request(n, "sampling/createMessage") for n in range(MOST_ASKED + 1)]
    s, new = scene(lambda peer, message: [*questions]), Upstream()
    answer = await s.peer.request(CALL)
    for _ in questions:
        await answer.receive()
    await s.peer.move(new)
    await s.peer.send(Result(0, b"{}"))
    await s.peer.send(Result(MOST_ASKED, b"{}"))
    assert s.first.heard == [CALL, Result(MOST_ASKED, b"{}")]
    await answer.aclose()


# The end


async def test_once_it_has_ended_nothing_is_opened_again() -> None:
    s = scene()
    await s.peer.aclose()
    for attempt in (s.peer.request(CALL), s.peer.listen(), s.peer.send(Notification("note"))):
        with pytest.raises(SessionLost):
            await attempt
    await s.peer.send(Result("q", b"{}"))
    assert s.upstream.asked == []


@pytest.mark.parametrize("deed", ["aclose", "move"])
async def test_a_session_that_is_opened_in_vain_is_ended(deed: str, autojump_clock: trio.testing.MockClock) -> None:
    s, new = scene(losing), Upstream()
    s.upstream.slow = 2.0
    ended: list[object] = []

    async def call() -> None:
        try:
            ended.append(await ask(s.peer))
        except UpstreamError as error:
            ended.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        nursery.start_soon(call)
        await trio.sleep(1)
        await (s.peer.aclose() if deed == "aclose" else s.peer.move(new))
    assert ended == ([SessionLost] * 2 if deed == "aclose" else [Result(100, b"{}")] * 2)
    s.upstream.assert_nothing_is_left()
    assert len(new.peers) == (0 if deed == "aclose" else 1)
    await s.peer.aclose()
    new.assert_nothing_is_left()


async def test_wherever_a_call_is_cancelled_no_session_stays_open(autojump_clock: trio.testing.MockClock) -> None:
    stages: list[Upstream] = []

    async def trial(steps: int) -> bool:
        s = scene(prepared=[Peer("second", lost_at_the_call)])
        s.upstream.slow = 1.0
        stages[:] = [s.upstream]
        await say(s.peer, "resources/subscribe", "a:1")
        s.first.script = losing

        async def work(begin: Callable[[], None]) -> None:
            begin()
            answer = await s.peer.request(CALL)
            try:
                await answer.receive()
            finally:
                await answer.aclose()

        try:
            ended = await cut(work, steps)
        except UpstreamBroke:
            ended = True
        sent = sum(peer.heard.count(CALL) for peer in s.upstream.peers)
        assert sent <= 2
        await s.peer.aclose()
        return ended

    async def at_rest() -> None:
        stages[0].assert_nothing_is_left()

    assert await at_every_step(trial, at_rest) > 10


def lost_at_the_call(peer: Peer, message: Request) -> list[Line]:
    return losing(peer, message) if message == CALL else agree(peer, message)
