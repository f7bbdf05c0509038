"""Sessions that outlive their upstream: what is opened again and restored, what is sent again, and what never is."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.upstreams.channel import (
    Paused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from gatewayd.upstreams.retelling import INITIALIZED
from gatewayd.upstreams.told import MOST_SUBSCRIPTIONS
from tests.upstreams.healing_scene import (
    CALL,
    CALL_TIMEOUT,
    CALLER,
    DONE,
    INITIALIZE,
    Line,
    Peer,
    Scene,
    Upstream,
    agree,
    ask,
    final,
    losing,
    new_peer,
    say,
    scene,
)

# Requests


async def test_as_long_as_nothing_happens_a_peer_is_what_it_stands_for() -> None:
    said: list[Line] = [Notification("note"), Request(1, "ping"), Paused(5), DONE]
    s = scene(lambda peer, message: [*said])
    assert s.peer.session == "first"
    answer = await s.peer.request(CALL)
    assert [await answer.receive() for _ in said] == said
    await answer.aclose()
    await answer.aclose()
    assert await answer.receive() is None
    assert s.first.heard == [CALL]
    assert s.first.open_answers == set()
    await s.peer.aclose()
    await s.peer.aclose()
    assert s.upstream.peers == [s.first]
    s.upstream.assert_nothing_is_left()


@pytest.mark.parametrize("when", ["as it is sent", "in the answer"])
async def test_a_request_to_a_session_that_is_lost_is_answered_by_a_new_one(when: str) -> None:
    s = scene(losing if when == "in the answer" else agree)
    s.first.lost = when == "as it is sent"
    assert await ask(s.peer) == Result(100, b"{}")
    opening, caller = s.upstream.asked[0]
    assert (opening.method, opening.params, caller) == ("initialize", INITIALIZE, CALLER)
    assert s.second.heard == [INITIALIZED, CALL]
    assert s.peer.session == s.second.name
    assert s.first.closed
    assert not s.second.closed
    await s.peer.aclose()
    s.upstream.assert_nothing_is_left()


async def test_without_a_session_one_is_opened_at_the_first_use() -> None:
    upstream = Upstream()
    peer = new_peer(upstream, None)
    assert peer.session is None
    assert upstream.asked == []
    assert await ask(peer) == Result(100, b"{}")
    assert upstream.peers[0].heard == [INITIALIZED, CALL]
    await peer.aclose()
    upstream.assert_nothing_is_left()


@pytest.mark.parametrize("when", ["as it is sent", "in the answer"])
async def test_a_request_is_sent_again_at_most_once(when: str) -> None:
    second = Peer("second", losing)
    if when == "as it is sent":
        second.refuses[CALL.method] = SessionLost("no such session")
    s = scene(losing, [second])
    with pytest.raises(UpstreamBroke, match="forgets its sessions"):
        await ask(s.peer)
    assert s.upstream.peers == [s.first, second]
    await s.peer.aclose()
    s.upstream.assert_nothing_is_left()


@pytest.mark.parametrize(
    "failure", [UpstreamDied("died"), UpstreamTimedOut("late"), UpstreamUnreachable("away"), UpstreamBroke("odd")]
)
async def test_what_may_have_been_processed_is_never_sent_again(failure: UpstreamError) -> None:
    s = scene(lambda peer, message: [failure])
    answer = await s.peer.request(CALL)
    with pytest.raises(type(failure)):
        await answer.receive()
    await answer.aclose()
    s.first.refuses[CALL.method] = failure
    with pytest.raises(type(failure)):
        await s.peer.request(CALL)
    assert s.upstream.peers == [s.first]
    assert s.first.heard == [CALL]
    assert s.first.open_answers == set()
    await s.peer.aclose()
    s.upstream.assert_nothing_is_left()


async def test_nor_is_it_when_it_had_been_sent_again_before() -> None:
    s = scene(losing, [Peer("second", lambda peer, message: [UpstreamDied("died")])])
    with pytest.raises(UpstreamDied):
        await ask(s.peer)
    assert s.second.methods == [INITIALIZED.method, CALL.method]
    assert len(s.upstream.peers) == 2


async def test_who_stops_waiting_while_it_is_sent_again_and_comes_back_learns_that_its_outcome_is_unknown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    s = scene(losing, [Peer("second", slow=5.0)])
    answer = await s.peer.request(CALL)
    with trio.move_on_after(1):
        await answer.receive()
    for _ in range(2):
        with pytest.raises(UpstreamDied, match="unknown"):
            await answer.receive()
    assert s.second.methods.count(CALL.method) == 1
    await answer.aclose()
    await s.peer.aclose()
    s.upstream.assert_nothing_is_left()


async def test_who_stops_waiting_while_the_session_is_opened_again_can_come_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    s = scene(losing)
    s.upstream.slow = 5.0
    answer = await s.peer.request(CALL)
    with trio.move_on_after(1):
        await answer.receive()
    assert await final(answer) == Result(100, b"{}")
    assert sum(peer.methods.count(CALL.method) for peer in s.upstream.peers[1:]) == 1


async def test_who_stops_waiting_when_a_second_session_is_lost_cannot_have_it_sent_a_third_time() -> None:
    s = scene(losing, [Peer("second", losing)])
    answer = await s.peer.request(CALL)
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(UpstreamBroke):
                await answer.receive()

        nursery.start_soon(receive)
    with pytest.raises(UpstreamBroke):
        await answer.receive()
    await answer.aclose()
    assert len(s.upstream.peers) == 2


# Opening again


async def test_all_who_find_the_session_lost_get_the_same_new_one(autojump_clock: trio.testing.MockClock) -> None:
    s = scene(losing)
    s.upstream.slow = 1.0
    done: list[object] = []

    async def one(number: int) -> None:
        if number % 2:
            await s.peer.send(Notification("notifications/roots/list_changed"))
        done.append(await ask(s.peer, Request(number, "tools/call")))

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(one, number)
    assert len(done) == 6
    assert len(s.upstream.peers) == 2
    await s.peer.aclose()
    s.upstream.assert_nothing_is_left()


async def test_when_it_cannot_be_opened_again_the_next_who_comes_tries_again() -> None:
    s = scene(losing, [UpstreamUnreachable("away")])
    with pytest.raises(UpstreamUnreachable):
        await ask(s.peer)
    assert s.first.closed
    assert await ask(s.peer) == Result(100, b"{}")


async def test_opening_again_takes_no_longer_than_a_call_may(autojump_clock: trio.testing.MockClock) -> None:
    s = scene(losing)
    s.upstream.slow = 1000.0
    began = trio.current_time()
    with pytest.raises(UpstreamTimedOut, match="60 seconds"):
        await ask(s.peer)
    assert trio.current_time() - began == pytest.approx(CALL_TIMEOUT)
    s.upstream.slow = 0.0
    assert await ask(s.peer) == Result(100, b"{}")


async def test_log_level_and_subscriptions_are_restored() -> None:
    s = scene()
    level = b'{"level":"debug"}'
    for message in (
        Request(1, "logging/setLevel", b'{"level":"error"}'),
        Request(2, "logging/setLevel", level),
        Request(3, "resources/subscribe", b'{"uri":"a:1"}'),
        Request(4, "resources/subscribe", b'{"uri":"a:2"}'),
        Request(5, "resources/subscribe", b'{"uri":"a:3"}'),
        Request(6, "resources/unsubscribe", b'{"uri":"\\u0061:2"}'),
        Request(7, "resources/subscribe", b'{"uri":"a:1"}'),
        Request(8, "tools/list", None),
    ):
        assert await ask(s.peer, message) == Result(message.id, b"{}")
    s.first.lost = True
    await ask(s.peer)
    said = [(message.method, message.params) for message in s.second.heard if isinstance(message, Request)]
    assert s.second.heard[0] == INITIALIZED
    assert said == [
        ("logging/setLevel", level),
        ("resources/subscribe", b'{"uri":"a:3"}'),
        ("resources/subscribe", b'{"uri":"a:1"}'),
        (CALL.method, CALL.params),
    ]
    ours = [message.id for message in s.second.heard if isinstance(message, Request)][:-1]
    assert len(set(ours)) == 3  # of the gateway's own counter


async def test_what_the_upstream_did_not_agree_to_is_not_restored() -> None:
    s = scene(lambda peer, message: [Failure(message.id, -32602, "no")])
    await say(s.peer, "logging/setLevel")
    await say(s.peer, "resources/subscribe", "a:1")
    s.first.lost = True
    await ask(s.peer)
    assert s.second.methods == [INITIALIZED.method, CALL.method]


async def test_what_a_new_session_does_not_agree_to_any_more_is_let_go() -> None:
    def refuse(peer: Peer, message: Request) -> list[Line]:
        note = Notification("notifications/message")
        return [note, Failure(message.id, -32602, "no")] if message != CALL else agree(peer, message)

    s = scene(prepared=[Peer("second", refuse)])
    await say(s.peer, "resources/subscribe", "a:1")
    s.first.lost = True
    assert await ask(s.peer) == Result(100, b"{}")


@pytest.mark.parametrize("params", [None, b"{}", b'{"uri":7}', b'{"uri":"a","uri":"b"}'])
async def test_subscriptions_without_a_uri_do_no_harm(params: bytes | None) -> None:
    s = scene()
    for method in ("resources/subscribe", "resources/unsubscribe"):
        assert await ask(s.peer, Request(7, method, params)) == Result(7, b"{}")
    s.first.lost = True
    assert await ask(s.peer) == Result(100, b"{}")


async def test_only_so_many_subscriptions_are_remembered() -> None:
    s = scene()
    for number in range(MOST_SUBSCRIPTIONS + 1):
        await say(s.peer, "resources/subscribe", f"a:{number}")
    s.first.lost = True
    await ask(s.peer)
    assert s.second.methods.count("resources/subscribe") == MOST_SUBSCRIPTIONS


@pytest.mark.parametrize(
    "failure", [SessionLost("no such session"), UpstreamDied("died"), UpstreamTimedOut("late"), None]
)
async def test_a_session_that_fails_while_it_is_restored_is_ended(failure: UpstreamError | None) -> None:
    def fail(peer: Peer, message: Request) -> list[Line]:
        return [] if failure is None else [failure]

    s = scene(prepared=[Peer("second", fail)])
    await say(s.peer, "resources/subscribe", "a:1")
    s.first.lost = True
    async with trio.open_nursery() as nursery:
        if failure is None:
            nursery.start_soon(end_silence, s)
        with pytest.raises(UpstreamDied if failure is None else type(failure)):
            await ask(s.peer)
    assert s.second.closed
    assert await ask(s.peer) == Result(100, b"{}")
    await s.peer.aclose()
    s.upstream.assert_nothing_is_left()


async def end_silence(s: Scene) -> None:
    """Have the new session's first answer end without a result."""
    await trio.testing.wait_all_tasks_blocked()
    for answer in s.second.open_answers:
        answer.silence.set()


async def test_an_upstream_that_asks_while_it_is_restored_is_refused() -> None:
    def curious(peer: Peer, message: Request) -> list[Line]:
        return [Request("q", "roots/list"), Result(message.id, b"{}")]

    s = scene(prepared=[Peer("second", curious)])
    await say(s.peer, "resources/subscribe", "a:1")
    s.first.lost = True
    assert await ask(s.peer) == Result(100, b"{}")
    [refusal] = [message for message in s.second.heard if isinstance(message, Failure)]
    assert refusal.id == "q"
