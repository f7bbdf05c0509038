"""Sessions that outlive their upstream: what is opened again and restored, what is sent again, and what never is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs
import pytest
import trio
import trio.testing

from gatewayd.observe.metrics import Processes
from gatewayd.protocol.jsonrpc import Failure, Id, Message, Notification, Request, Result
from gatewayd.routes.table import HttpTarget, Service, Timeouts
from gatewayd.upstreams.channel import (
    Answer,
    LegacyPeer,
    Paused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from gatewayd.upstreams.healing import INITIALIZED, MOST_ASKED, MOST_SUBSCRIPTIONS, HealingPeer
from gatewayd.upstreams.service import Caller, Opened, Usage
from tests.support.checkpoints import at_every_step, cut

CALL_TIMEOUT = 60.0
SERVICE = Service("web", HttpTarget("http://web/mcp", "http", "web", 80, "/mcp"), Timeouts(call=CALL_TIMEOUT))
INITIALIZE = b'{"protocolVersion":"2025-11-25"}'
CALL = Request(100, "tools/call", b'{"name":"a"}')
DONE = Result(100, b'{"n":1}')
CALLER = Caller("alice")

Line = Message | Paused | UpstreamError
Script = Callable[["Peer", Request], list[Line]]


def agree(peer: Peer, message: Request) -> list[Line]:
    return [Result(message.id, b"{}")]


@attrs.define(eq=False)
class Answered:
    """What an upstream says to one request: messages, and how it fails. Then it is silent."""

    peer: Peer
    lines: list[Line]
    closed: int = 0
    silence: trio.Event = attrs.field(factory=trio.Event)

    async def receive(self) -> Message | Paused | None:
        await trio.lowlevel.checkpoint()
        if not self.lines:
            await self.silence.wait()
            return None
        line = self.lines.pop(0)
        if isinstance(line, UpstreamError):
            raise line
        return line

    async def aclose(self) -> None:
        self.closed += 1
        self.peer.open_answers.discard(self)
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Peer:
    """One session of an upstream, which may forget it.

    `refuses`: what the next requests, messages and streams fail with, by method.
    """

    name: str
    script: Script = agree
    lost: bool = False
    refuses: dict[str, UpstreamError] = attrs.field(factory=dict[str, UpstreamError])
    heard: list[Message] = attrs.field(factory=list[Message])
    open_answers: set[Answered] = attrs.field(factory=set[Answered])
    closed: bool = False
    slow: float = 0.0

    @property
    def session(self) -> str | None:
        return self.name

    @property
    def methods(self) -> list[str]:
        return [message.method for message in self.heard if isinstance(message, Request | Notification)]

    async def request(self, message: Request) -> Answer:
        await self._hear(message.method)
        self.heard.append(message)
        await trio.sleep(self.slow)
        answer = Answered(self, self.script(self, message))
        self.open_answers.add(answer)
        return answer

    async def send(self, message: Notification | Result | Failure) -> None:
        await self._hear(message.method if isinstance(message, Notification) else "answer")
        self.heard.append(message)

    async def listen(self) -> Answer | None:
        await self._hear("listen")
        answer = Answered(self, [Notification(f"said by {self.name}")])
        self.open_answers.add(answer)
        return answer

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()

    async def _hear(self, method: str) -> None:
        await trio.lowlevel.checkpoint()
        if method in self.refuses:
            raise self.refuses[method]
        if self.lost or self.closed:
            raise SessionLost("no such session")


@attrs.define(eq=False)
class Upstream:
    """A service that opens sessions: as `prepared`, or plain ones."""

    prepared: list[Peer | UpstreamError] = attrs.field(factory=list[Peer | UpstreamError])
    slow: float = 0.0
    usage: Usage = attrs.field(factory=Usage)
    service: Service = SERVICE
    peers: list[Peer] = attrs.field(factory=list[Peer])
    asked: list[tuple[Request, Caller]] = attrs.field(factory=list[tuple[Request, Caller]])

    async def open_legacy(self, message: Request, caller: Caller) -> Opened:
        self.asked.append((message, caller))
        await trio.sleep(self.slow)
        peer = self.prepared.pop(0) if self.prepared else Peer(f"again-{len(self.peers)}")
        if isinstance(peer, UpstreamError):
            raise peer
        self.peers.append(peer)
        return Opened(peer, "2025-11-25", b"{}")

    async def request(self, message: Request, version: str, name: str | None, caller: Caller) -> Answer:
        raise NotImplementedError

    async def revisions(self, caller: Caller) -> tuple[str, ...]:
        raise NotImplementedError

    def resume_legacy(self, session: str, version: str, caller: Caller) -> LegacyPeer | None:
        raise NotImplementedError

    def processes(self) -> Processes:
        return Processes()

    def statistics(self) -> dict[str, object]:
        return {}

    def assert_nothing_is_left(self) -> None:
        """Every session was ended, and every answer given back."""
        assert [peer.name for peer in self.peers if not peer.closed] == []
        assert [peer.name for peer in self.peers if peer.open_answers] == []


@attrs.define(eq=False)
class Scene:
    """A healing peer, and the session that it begins with, which was opened for its client."""

    upstream: Upstream
    first: Peer
    peer: HealingPeer

    @property
    def second(self) -> Peer:
        """The session that was opened in its place."""
        assert self.upstream.peers[0] is self.first
        return self.upstream.peers[1]


def scene(script: Script = agree, prepared: list[Peer | UpstreamError] | None = None) -> Scene:
    first = Peer("first", script)
    upstream = Upstream([] if prepared is None else prepared, peers=[first])
    return Scene(upstream, first, new_peer(upstream, first))


def new_peer(upstream: Upstream, first: Peer | None) -> HealingPeer:
    return HealingPeer(upstream, Request(0, "initialize", INITIALIZE), CALLER, itertools.count(1), first)


def losing(peer: Peer, message: Request) -> list[Line]:
    """A session that is lost when the request comes, which shows in the answer."""
    peer.lost = True
    return [SessionLost("no such session")]


async def final(answer: Answer) -> Message | Paused | None:
    """The last message of an answer, which is closed."""
    try:
        while (message := await answer.receive()) is not None:
            if isinstance(message, Result | Failure):
                return message
        return None
    finally:
        await answer.aclose()


async def ask(peer: HealingPeer, message: Request = CALL) -> Message | Paused | None:
    return await final(await peer.request(message))


async def say(peer: HealingPeer, method: str, uri: str | None = None) -> Message | Paused | None:
    return await ask(peer, Request(7, method, None if uri is None else b'{"uri":"%b"}' % uri.encode()))


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
