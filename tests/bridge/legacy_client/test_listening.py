"""The stream of a legacy session over a modern service: what is told, and what survives a loss."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.bridge.legacy_client.listening import (
    MOST_OLD,
    MOST_PENDING,
    MOST_PENDING_BYTES,
    OVERLAP,
    REFUSED_AGAIN,
)
from gatewayd.bridge.legacy_client.peer import ModernPeer
from gatewayd.bridge.legacy_client.subscriptions import MOST_URI_BYTES
from gatewayd.protocol.codes import INVALID_PARAMS, METHOD_NOT_FOUND, REFUSED
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.upstreams.channel import (
    Answer,
    Paused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamTimedOut,
    WrongEra,
)
from tests.bridge.legacy_client.scripted import Scripted, Told, request, told_of
from tests.bridge.legacy_client.test_peer import ask, peer_of, service
from tests.support.checkpoints import at_every_step, cut

LISTEN = "subscriptions/listen"
TOOLS = Notification("notifications/tools/list_changed")
RESOURCES = Notification("notifications/resources/list_changed")
UPDATED = "notifications/resources/updated"
EVERYTHING: dict[str, Any] = {"tools": {"listChanged": True}, "resources": {"listChanged": True, "subscribe": True}}
SUBSCRIBE: dict[str, Any] = {"resources": {"subscribe": True}}


def agree(told: Told) -> None:
    """Acknowledge everything, except for resources of which the name begins with `no`."""
    wanted = dict(told.params["notifications"])
    uris = [uri for uri in wanted.get("resourceSubscriptions", []) if not uri.startswith("no")]
    told.notify("notifications/subscriptions/acknowledged", notifications={**wanted, "resourceSubscriptions": uris})


def updated(uri: str) -> Notification:
    return Notification(UPDATED, b'{"uri":"%b"}' % uri.encode())


async def listening(**capabilities: Any) -> tuple[Scripted, ModernPeer, Answer]:
    scripted = service(**capabilities)
    scripted.scripts[LISTEN] = agree
    peer = await peer_of(scripted)
    answer = await peer.listen()
    assert answer is not None
    return scripted, peer, answer


async def heard(answer: Answer, seconds: float = 1.0) -> list[Any]:
    """All that comes within a while."""
    got: list[Any] = []
    with trio.move_on_after(seconds):
        while (message := await answer.receive()) is not None:
            got.append(message)
    return got


def uris(told: Told) -> list[str]:
    return list(told.params["notifications"].get("resourceSubscriptions", []))


async def test_a_service_that_promises_nothing_is_not_listened_to() -> None:
    scripted = service(tools={}, resources={})
    assert await (await peer_of(scripted)).listen() is None
    assert not scripted.of(LISTEN)


async def test_changes_reach_the_stream_of_the_session(autojump_clock: MockClock) -> None:
    scripted, _, answer = await listening(**EVERYTHING)
    assert await heard(answer) == []
    (told,) = scripted.of(LISTEN)
    assert told.params["notifications"] == {"toolsListChanged": True, "resourcesListChanged": True}
    assert told.meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    told.notify(TOOLS.method, _meta={"io.modelcontextprotocol/subscriptionId": told.request.id})
    told.say(Paused(1))
    told.notify("notifications/message", level="info")
    told.notify("notifications/prompts/list_changed")
    assert await heard(answer) == [TOOLS]
    await answer.aclose()
    assert await answer.receive() is None
    assert not scripted.open


async def test_a_change_of_the_tools_makes_what_is_known_of_them_old(autojump_clock: MockClock) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    scripted.scripts["tools/call"] = lambda told: told.result(content=[])
    await ask(peer, request("tools/call", name="t"))
    await heard(answer, 5)
    scripted.of(LISTEN)[0].say(TOOLS)
    await heard(answer)
    await ask(peer, request("tools/call", name="t"))
    assert len(scripted.of("tools/list")) == 2
    await answer.aclose()


async def test_a_service_without_lists_is_listened_to_when_there_is_something_to_hear(
    autojump_clock: MockClock,
) -> None:
    scripted, peer, answer = await listening(**SUBSCRIBE)
    assert await heard(answer) == []
    assert not scripted.of(LISTEN)
    assert told_of(await ask(peer, request("resources/subscribe", uri="a"))) == {}
    scripted.of(LISTEN)[0].notify(UPDATED, uri="a/b", _meta={"io.modelcontextprotocol/subscriptionId": "1"})
    assert await heard(answer) == [updated("a/b")]
    assert told_of(await ask(peer, request("resources/unsubscribe", uri="a"))) == {}
    assert await heard(answer) == []
    assert not scripted.open
    await answer.aclose()


async def test_a_subscription_is_replaced_while_the_stream_is_read(autojump_clock: MockClock) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    got: list[Any] = []

    async def read() -> None:
        got.extend(await heard(answer, 10))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        first = await scripted.wait(LISTEN)
        await trio.sleep(1)
        assert told_of(await ask(peer, request("resources/subscribe", uri="a"))) == {}
        second = await scripted.wait(LISTEN, 2)
        assert uris(second) == ["a"]
        assert second.params["notifications"]["toolsListChanged"] is True
        assert not first.closed
        first.say(TOOLS, RESOURCES)
        second.say(TOOLS)
        second.notify(UPDATED, uri="a")
        await trio.sleep(3 * OVERLAP)
        assert first.closed
        assert got == []
        second.notify(UPDATED, uri="a")
    assert got == [RESOURCES, TOOLS, updated("a"), updated("a")]
    await answer.aclose()
    assert not scripted.open


async def test_subscriptions_without_a_stream_are_checked_and_kept(autojump_clock: MockClock) -> None:
    scripted = service(**SUBSCRIBE)
    scripted.scripts[LISTEN] = agree
    peer = await peer_of(scripted)
    for uri in ("a", "b", "a"):
        assert told_of(await ask(peer, request("resources/subscribe", uri=uri))) == {}
    assert [uris(told) for told in scripted.of(LISTEN)] == [["a"], ["a", "b"]]
    assert not scripted.open
    await ask(peer, request("resources/unsubscribe", uri="a"))
    await ask(peer, request("resources/unsubscribe", uri="never"))
    assert len(scripted.of(LISTEN)) == 2
    answer = await peer.listen()
    assert answer is not None
    assert await heard(answer) == []
    assert uris(scripted.of(LISTEN)[2]) == ["b"]
    await answer.aclose()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_resource_that_the_service_does_not_agree_to_is_refused(
    stream: bool, autojump_clock: MockClock
) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    if stream:
        await heard(answer)
    await ask(peer, request("resources/subscribe", uri="a"))
    await heard(answer)
    shown = await ask(peer, request("resources/subscribe", uri="no/b"))
    assert isinstance(shown, Failure)
    assert (shown.code, shown.data) == (INVALID_PARAMS, b'{"uri":"no/b"}')
    assert len(scripted.open) == 1
    assert uris(scripted.open[0]) == ["a"]
    assert told_of(await ask(peer, request("resources/subscribe", uri=7))) == INVALID_PARAMS
    long = request("resources/subscribe", uri="x" * (MOST_URI_BYTES + 1))
    assert told_of(await ask(peer, long)) == REFUSED
    await answer.aclose()


async def test_many_subscriptions_at_once_take_few_requests(autojump_clock: MockClock) -> None:
    scripted, peer, answer = await listening(**SUBSCRIBE)
    scripted.sending = 1.0
    shown: dict[str, Any] = {}

    async def subscribe(uri: str) -> None:
        shown[uri] = told_of(await ask(peer, request("resources/subscribe", uri=uri)))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(subscribe, f"r{number}")
        nursery.start_soon(subscribe, "no")
    assert shown.pop("no") == INVALID_PARAMS
    assert list(shown.values()) == [{}] * 20
    assert len(scripted.of(LISTEN)) <= 3
    await answer.aclose()
    assert not scripted.open


async def test_subscriptions_do_not_pile_up_before_a_slow_reader(autojump_clock: MockClock) -> None:
    scripted, peer, answer = await listening(**SUBSCRIBE)
    for number in range(10):
        await ask(peer, request("resources/subscribe", uri=f"r{number}"))
        scripted.told[-1].notify(UPDATED, uri="r0")
        assert len(scripted.open) <= MOST_OLD + 1
    assert await heard(answer) == [updated("r0")]
    assert len(scripted.open) == 1
    await answer.aclose()
    assert not scripted.open


@pytest.mark.parametrize(("number", "size"), [(MOST_PENDING, 1), (4, MOST_PENDING_BYTES // 4), (1, MOST_PENDING_BYTES)])
async def test_where_too_much_waits_for_a_slow_reader_everything_counts_as_changed(
    number: int, size: int, autojump_clock: MockClock
) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    await ask(peer, request("resources/subscribe", uri="a"))
    old = scripted.told[-1]
    old.say(
        updated("a/old"), *(Notification(UPDATED, b'{"uri":"a/%d","x":"%b"}' % (n, b"x" * size)) for n in range(number))
    )
    await ask(peer, request("resources/subscribe", uri="b"))
    assert await heard(answer) == [TOOLS, RESOURCES, updated("a"), updated("b")]
    scripted.told[-1].say(updated("a/new"))
    assert await heard(answer) == [updated("a/new")]
    await answer.aclose()


LOSSES = [None, UpstreamDied("gone"), UpstreamBroke("odd"), Result(1, b"{}"), Failure(1, -1, "x"), Request(1, "ping")]


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_stream_that_is_lost_is_opened_again_and_everything_may_have_changed(
    loss: Any, autojump_clock: MockClock
) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    await ask(peer, request("resources/subscribe", uri="a"))
    assert await heard(answer) == []
    scripted.open[0].say(loss)
    assert await heard(answer) == [TOOLS, RESOURCES, updated("a")]
    (told,) = scripted.open
    assert uris(told) == ["a"]
    told.say(TOOLS)
    assert await heard(answer) == [TOOLS]
    await answer.aclose()


async def test_a_service_that_is_away_is_tried_with_patience(autojump_clock: MockClock) -> None:
    scripted, _, answer = await listening(**EVERYTHING)
    scripted.scripts[LISTEN] = lambda told: told.say(None)
    await heard(answer, 60)
    assert 5 < len(scripted.of(LISTEN)) < 20
    scripted.scripts[LISTEN] = lambda told: told.fail(METHOD_NOT_FOUND)
    await heard(answer, 10)
    before = len(scripted.of(LISTEN))
    await heard(answer, 10 * REFUSED_AGAIN)
    assert len(scripted.of(LISTEN)) - before == pytest.approx(10, abs=1)
    scripted.scripts[LISTEN] = agree
    assert await heard(answer, REFUSED_AGAIN) == [TOOLS, RESOURCES]
    await answer.aclose()
    assert not scripted.open


@pytest.mark.parametrize("said", [Result(1, b"{}"), Request(1, "ping"), Notification("x"), None])
async def test_a_subscription_that_is_not_acknowledged_is_none(said: Any, autojump_clock: MockClock) -> None:
    scripted = service(**SUBSCRIBE)
    scripted.scripts[LISTEN] = lambda told: told.say(said)
    peer = await peer_of(scripted)
    expected = {Notification: UpstreamTimedOut, type(None): UpstreamDied}.get(type(said), UpstreamBroke)
    with pytest.raises(expected):
        await ask(peer, request("resources/subscribe", uri="a"))
    assert not scripted.open


async def test_a_subscription_that_is_refused_or_unreadable_fails(autojump_clock: MockClock) -> None:
    scripted = service(**SUBSCRIBE)
    peer = await peer_of(scripted)
    scripted.scripts[LISTEN] = lambda told: told.fail(METHOD_NOT_FOUND)
    with pytest.raises(UpstreamBroke):
        await ask(peer, request("resources/subscribe", uri="a"))
    scripted.scripts[LISTEN] = lambda told: told.notify("notifications/subscriptions/acknowledged", notifications=7)
    with pytest.raises(UpstreamBroke):
        await ask(peer, request("resources/subscribe", uri="a"))
    assert not scripted.open


async def test_a_service_that_changed_its_era_has_lost_the_session(autojump_clock: MockClock) -> None:
    def wrong_era(_: Told) -> None:
        raise WrongEra("legacy now", ())

    scripted, peer, answer = await listening(**EVERYTHING)
    scripted.scripts[LISTEN] = wrong_era
    with pytest.raises(SessionLost):
        await answer.receive()
    with pytest.raises(SessionLost):
        await ask(peer, request("resources/subscribe", uri="a"))
    await answer.aclose()


async def test_to_unsubscribe_works_while_the_service_is_away(autojump_clock: MockClock) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    await heard(answer)
    await ask(peer, request("resources/subscribe", uri="a"))
    await heard(answer)
    scripted.scripts[LISTEN] = lambda told: told.say(None)
    assert told_of(await ask(peer, request("resources/unsubscribe", uri="a"))) == {}
    (told,) = scripted.open
    told.notify(UPDATED, uri="a")
    told.say(TOOLS)
    assert await heard(answer) == [TOOLS]
    await answer.aclose()


async def test_a_subscription_that_shrinks_is_replaced(autojump_clock: MockClock) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    await heard(answer)
    await ask(peer, request("resources/subscribe", uri="a"))
    await ask(peer, request("resources/unsubscribe", uri="a"))
    await heard(answer)
    (told,) = scripted.open
    assert uris(told) == []
    await answer.aclose()
    await ask(peer, request("resources/subscribe", uri="b"))
    await ask(peer, request("resources/unsubscribe", uri="b"))
    assert not scripted.open


async def test_another_stream_takes_the_place_of_the_first_and_tells_what_was_missed(
    autojump_clock: MockClock,
) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    await heard(answer)
    another = await peer.listen()
    assert another is not None
    assert await answer.receive() is None
    assert await heard(another) == [TOOLS, RESOURCES]
    assert len(scripted.open) == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heard, another, 100)
        await trio.sleep(1)
        began = trio.current_time()
        await peer.aclose()
    assert trio.current_time() - began < 1
    assert not scripted.open
    await (await peer_of(service())).aclose()


async def test_receiving_may_be_cancelled_at_every_step_and_loses_nothing(autojump_clock: MockClock) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    numbers = itertools.count()

    async def trial(steps: int) -> bool:
        uri = f"r{next(numbers)}"
        await ask(peer, request("resources/subscribe", uri=uri))
        told = scripted.told[-1]
        told.notify(UPDATED, uri=uri)
        told.say(None)
        got: list[Any] = []

        async def read(begins: Any) -> None:
            begins()
            with trio.move_on_after(10):
                while updated(uri) not in got:
                    got.append(await answer.receive())
                while TOOLS not in got[got.index(updated(uri)) :]:
                    got.append(await answer.receive())

        ended = await cut(read, steps)
        got += await heard(answer, 10)
        assert updated(uri) in got
        assert TOOLS in got
        return ended

    async def check() -> None:
        assert len(scripted.open) == 1

    assert await at_every_step(trial, check) > 5
    await answer.aclose()
    assert not scripted.open


async def test_subscribing_may_be_cancelled_at_every_step(autojump_clock: MockClock) -> None:
    scripted, peer, answer = await listening(**EVERYTHING)
    numbers = itertools.count()
    await heard(answer)

    async def trial(steps: int) -> bool:
        uri = f"r{next(numbers)}"

        async def subscribe(begins: Any) -> None:
            begins()
            await ask(peer, request("resources/subscribe", uri=uri))

        return await cut(subscribe, steps)

    async def check() -> None:
        await heard(answer)
        assert len(scripted.open) == 1

    assert await at_every_step(trial, check) > 2
    await answer.aclose()
    assert not scripted.open
