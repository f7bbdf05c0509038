"""What comes on a session's own stream for its calls, and how much of it waits for them."""

from __future__ import annotations

from typing import Any

import trio

from gatewayd.bridge.modern_client.live_call import MOST_HEARD, MOST_HEARD_BYTES
from gatewayd.protocol.codes import METHOD_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure, Notification
from gatewayd.upstreams.channel import Answer
from tests.bridge.modern_client.legacy_upstream import ALL, Asked, House, dumped, elicit, final, open_house, receive

CALL: dict[str, Any] = {"name": "x"}


def progress(asked: Asked, number: int, size: int = 0) -> Notification:
    params = {"progressToken": asked.message.id, "progress": number, "message": "x" * size}
    return Notification("notifications/progress", dumped(params))


async def begun(house: House) -> tuple[Answer, Asked]:
    return await house.ask("tools/call", CALL, capabilities=ALL, token=True), await house.upstream.next()


async def parked(house: House) -> tuple[dict[str, Any], Asked]:
    """A call whose client was asked something; how it comes back, and the server's side of it."""
    answer, asked = await begun(house)
    asked.say(elicit())
    told = await final(answer)
    await answer.aclose()
    responses = {"ask-1": {"action": "decline"}}
    return {**CALL, "requestState": told["requestState"], "inputResponses": responses}, asked


async def rest(answer: Answer) -> list[str]:
    """The methods of all notifications up to the final message."""
    methods = list[str]()
    while isinstance(message := await receive(answer), Notification):
        methods.append(message.method)
    await answer.aclose()
    return methods


async def test_progress_is_for_the_call_that_it_names(autojump_clock: object) -> None:
    async with open_house() as house:
        one, first = await begun(house)
        two, second = await begun(house)
        stream = await house.upstream.stream()
        stream.say(*(progress(first, number) for number in range(MOST_HEARD)), progress(second, 7))
        await trio.sleep(1)
        first.finish()
        second.finish()
        assert await rest(two) == ["notifications/progress"]
        assert len(await rest(one)) == MOST_HEARD


async def test_progress_of_a_parked_call_is_not_kept(autojump_clock: object) -> None:
    async with open_house() as house:
        back, asked = await parked(house)
        stream = await house.upstream.stream()
        stream.say(*(progress(asked, number) for number in range(MOST_HEARD)))
        await trio.sleep(1)
        answer = await house.ask("tools/call", back, capabilities=ALL, token=True)
        asked.finish()
        assert await rest(answer) == []


async def test_what_waits_for_a_call_is_bounded_in_bytes(autojump_clock: object) -> None:
    async with open_house() as house:
        answer, asked = await begun(house)
        stream = await house.upstream.stream()
        for _ in range(2):
            stream.say(progress(asked, 0, MOST_HEARD_BYTES))
            stream.say(*(progress(asked, number, MOST_HEARD_BYTES // 4) for number in range(20)))
            await trio.sleep(1)
            for _ in range(3):
                assert (await receive(answer)) != progress(asked, 0, MOST_HEARD_BYTES)
            with trio.move_on_after(1) as waited:
                await answer.receive()
            assert waited.cancelled_caught
        asked.finish()
        assert await rest(answer) == []


async def test_a_large_question_is_asked_but_no_other_waits_for_a_parked_call(autojump_clock: object) -> None:
    async with open_house() as house:
        answer, _ = await begun(house)
        stream = await house.upstream.stream()
        stream.say(elicit("large", message="x" * MOST_HEARD_BYTES))
        told = await final(answer)
        await answer.aclose()
        assert len(told["inputRequests"]["ask-1"]["params"]["message"]) == MOST_HEARD_BYTES
        stream.say(elicit("more", message="x" * MOST_HEARD_BYTES))
        await house.upstream.until(lambda: house.upstream.peers[0].replies())
        (refusal,) = house.upstream.peers[0].replies()
        assert isinstance(refusal, Failure)
        assert (refusal.id, refusal.code) == ("more", METHOD_NOT_FOUND)
