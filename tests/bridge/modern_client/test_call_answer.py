"""Questions of a legacy server in the middle of a modern client's call, and the client's return with the answers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio

from gatewayd.auth.keychain import Keychain, fresh_key
from gatewayd.bridge.modern_client import parking, states
from gatewayd.bridge.modern_client.call_answer import MOST_QUESTIONS
from gatewayd.bridge.modern_client.clients import open_modern_clients
from gatewayd.bridge.modern_client.parking import MOST_OF_ONE, PATIENCE, Tickets
from gatewayd.protocol.codes import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result, RpcError
from gatewayd.protocol.versions import META_SERVER_INFO
from gatewayd.upstreams.channel import Answer, UpstreamDied
from tests.bridge.modern_client.legacy_upstream import (
    ALICE,
    ALL,
    BOB,
    FORM,
    INFO,
    Asked,
    House,
    dumped,
    elicit,
    final,
    loaded,
    open_house,
    receive,
)

CALL: dict[str, Any] = {"name": "x", "arguments": {"a": 1}}
ACCEPT: dict[str, Any] = {"action": "accept", "content": {"answer": "yes"}}
SAMPLE = Request("s", "sampling/createMessage", b'{"messages":[],"maxTokens":1}')
ROOTS = Request("r", "roots/list")
COMPLETE = {"content": [], "resultType": "complete", "_meta": {META_SERVER_INFO: INFO}}


async def interrupted(house: House, *questions: Request, **how: Any) -> tuple[dict[str, Any], Asked]:
    """A call that the server interrupts with questions: what the client is told, and the server's side of it."""
    answer = await house.ask("tools/call", CALL, **{"capabilities": ALL, **how})
    asked = await house.upstream.next()
    asked.say(*questions)
    told = await final(answer)
    assert await answer.receive() is None
    await answer.aclose()  # the client has read the result, and leaves
    assert told["resultType"] == "input_required"
    return told, asked


def retry(told: dict[str, Any], **responses: Any) -> dict[str, Any]:
    return {**CALL, "requestState": told["requestState"], "inputResponses": responses}


async def refused(house: House, params: dict[str, Any], method: str = "tools/call", **how: Any) -> None:
    with pytest.raises(RpcError) as error:
        await house.ask(method, params, **{"capabilities": ALL, **how})
    assert (error.value.code, error.value.status) == (INVALID_PARAMS, 400)


async def test_a_question_ends_the_request_and_the_answer_goes_on_with_the_call(autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit("q", mode="url", url="https://x", elicitationId="e"))
        assert told["inputRequests"] == {
            "ask-1": {
                "method": "elicitation/create",
                "params": {
                    "message": "Well?",
                    "requestedSchema": {"type": "object"},
                    "mode": "url",
                    "url": "https://x",
                },
            }
        }
        assert told["_meta"] == {META_SERVER_INFO: INFO}
        assert not asked.closed
        assert house.clients.statistics() == {"pooled": 1, "parked": 1}
        answer = await house.ask("tools/call", retry(told, **{"ask-1": ACCEPT, "other": 3}), capabilities=ALL)
        assert [(reply.id, loaded(reply.result)) for reply in answers(house)] == [("q", ACCEPT)]
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()
        assert not asked.abandoned
        assert house.clients.statistics() == {"pooled": 1, "parked": 0}


def answers(house: House) -> list[Result]:
    return [reply for reply in house.upstream.peers[0].replies() if isinstance(reply, Result)]


@pytest.mark.parametrize(("method", "params"), [("prompts/get", {"name": "p"}), ("resources/read", {"uri": "u:x"})])
async def test_prompts_and_resources_may_ask_too(method: str, params: dict[str, Any], autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask(method, params, capabilities=ALL)
        asked = await house.upstream.next(method)
        asked.say(ROOTS)
        told = await final(answer)
        await answer.aclose()
        assert told["inputRequests"] == {"ask-1": {"method": "roots/list"}}
        given = {"requestState": told["requestState"], "inputResponses": {"ask-1": {"roots": []}}}
        answer = await house.ask(method, {**params, **given}, capabilities=ALL)
        asked.finish({})
        assert (await final(answer))["resultType"] == "complete"
        await answer.aclose()


async def test_questions_that_come_together_are_asked_together(autojump_clock: object) -> None:
    async with open_house() as house:
        told, _ = await interrupted(house, elicit(), SAMPLE, Request("p", "ping"), ROOTS)
        methods = [entry["method"] for entry in told["inputRequests"].values()]
        assert methods == ["elicitation/create", "sampling/createMessage", "roots/list"]
        assert answers(house) == [Result("p", b"{}")]


async def test_what_comes_with_questions_is_told_before_them(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("tools/call", CALL, capabilities=ALL, token=True)
        asked = await house.upstream.next()
        token = asked.message.id
        asked.say(elicit(), Notification("notifications/progress", dumped({"progressToken": token, "progress": 1})))
        first = await receive(answer)
        assert isinstance(first, Notification)
        assert (await final(answer))["resultType"] == "input_required"
        await answer.aclose()


async def test_an_answer_that_comes_with_the_question_makes_it_moot(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("tools/call", CALL, capabilities=ALL)
        asked = await house.upstream.next()
        asked.say(elicit())
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()
        assert house.clients.statistics()["parked"] == 0


async def test_a_question_that_is_withdrawn_is_not_asked(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("tools/call", CALL, capabilities=ALL)
        asked = await house.upstream.next()
        withdrawal = Notification("notifications/cancelled", b'{"requestId":"q"}')
        asked.say(elicit("q"), elicit(1), Notification("notifications/cancelled", b'{"requestId":"1"}'), withdrawal)
        told = await final(answer)
        assert list(told["inputRequests"]) == ["ask-2"]
        await answer.aclose()
        answer = await house.ask("tools/call", retry(told, **{"ask-2": ACCEPT}), capabilities=ALL)
        asked.say(elicit("q"), withdrawal)
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()


async def test_a_second_round_goes_under_the_id_and_token_of_the_retry(autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit(), token=True)
        token = asked.message.id
        answer = await house.ask("tools/call", retry(told, **{"ask-1": ACCEPT}), capabilities=ALL, token=True)
        asked.say(Notification("notifications/progress", dumped({"progressToken": token, "progress": 2})))
        asked.say(elicit("again"))
        progress, again = await receive(answer), await receive(answer)
        await answer.aclose()
        assert isinstance(progress, Notification)
        assert isinstance(again, Result)
        assert loaded(progress.params) == {"progressToken": again.id, "progress": 2}
        assert again.id != token
        told = loaded(again.result)
        assert list(told["inputRequests"]) == ["ask-2"]
        silent = await house.ask("tools/call", retry(told, **{"ask-2": ACCEPT}), capabilities=ALL)
        asked.say(Notification("notifications/progress", dumped({"progressToken": token, "progress": 3})))
        asked.finish()
        assert await final(silent) == COMPLETE
        await silent.aclose()


async def test_what_was_not_answered_is_asked_again(autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit("a"), elicit("b"))
        again = await house.final("tools/call", retry(told, **{"ask-2": ACCEPT}), capabilities=ALL)
        assert list(again["inputRequests"]) == ["ask-1"]
        assert again["requestState"] != told["requestState"]
        assert [reply.id for reply in answers(house)] == ["b"]
        await refused(house, retry(told, **{"ask-1": ACCEPT}))
        once_more = await house.final("tools/call", {**CALL, "requestState": again["requestState"]}, capabilities=ALL)
        assert list(once_more["inputRequests"]) == ["ask-1"]
        answer = await house.ask("tools/call", retry(once_more, **{"ask-1": ACCEPT}), capabilities=ALL)
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()
        assert [reply.id for reply in answers(house)] == ["b", "a"]


@pytest.mark.parametrize("wrong", [3, [], None, {"ask-1": 3}, {"ask-1": {"action": "maybe"}}])
async def test_a_malformed_answer_uses_nothing_up(wrong: Any, autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit())
        await refused(house, {**retry(told), "inputResponses": wrong})
        answer = await house.ask("tools/call", retry(told, **{"ask-1": ACCEPT}), capabilities=ALL)
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()


async def test_a_state_works_once(autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit())
        answer = await house.ask("tools/call", retry(told, **{"ask-1": ACCEPT}), capabilities=ALL)
        await refused(house, retry(told, **{"ask-1": ACCEPT}))
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()
        await refused(house, retry(told, **{"ask-1": ACCEPT}))
        assert len(answers(house)) == 1


async def test_of_two_retries_at_once_one_wins(autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit())
        won = list[Answer]()
        lost = list[RpcError]()

        async def try_it() -> None:
            try:
                won.append(await house.ask("tools/call", retry(told, **{"ask-1": ACCEPT}), capabilities=ALL))
            except RpcError as error:
                lost.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_it)
            nursery.start_soon(try_it)
        assert (len(won), len(lost), len(answers(house))) == (1, 1, 1)
        asked.finish()
        await final(won[0])
        await won[0].aclose()


async def test_a_state_is_for_one_principal_one_call_and_one_gateway(autojump_clock: object) -> None:
    keychain = Keychain([fresh_key()])
    async with (
        open_house(tickets=Tickets(keychain)) as house,
        open_modern_clients(house.upstream, Tickets(keychain), itertools.count(1000), house.node) as others,
    ):
        told, _ = await interrupted(house, elicit())
        given = retry(told, **{"ask-1": ACCEPT})
        await refused(house, given, caller=BOB)
        await refused(house, {**given, "name": "y"})
        await refused(house, {**given, "arguments": {"a": 2}})
        await refused(house, given, "prompts/get")
        await refused(House(house.upstream, others, house.ids, house.node), given)
        for forged in ("", "x", told["requestState"][:-1], told["requestState"] + "A", 3, None):
            await refused(house, {**given, "requestState": forged})
        garbage = keychain.seal(states.PURPOSE, b"[1]", states.bound_to(ALICE.key, "web"))
        await refused(house, {**given, "requestState": garbage})
        assert house.clients.statistics()["parked"] == 1
        assert answers(house) == []


async def test_answers_that_nobody_asked_for_are_ignored(autojump_clock: object) -> None:
    async with open_house(answers={"tools/call": {"content": []}, "prompts/list": {}}) as house:
        params = {**CALL, "inputResponses": {"ask-1": ACCEPT}}
        assert await house.final("tools/call", params, capabilities=ALL) == COMPLETE
        assert (await house.final("prompts/list", {"requestState": "x"}))["resultType"] == "complete"


async def test_a_client_that_does_not_come_back(autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit(), SAMPLE, ROOTS)
        await trio.sleep(PATIENCE - 1)
        assert not asked.closed
        await trio.sleep(2)
        cancelled, rejected, failed = house.upstream.peers[0].replies()
        assert cancelled == Result("q", b'{"action":"cancel"}')
        assert isinstance(rejected, Failure)
        assert isinstance(failed, Failure)
        assert (rejected.id, rejected.code, failed.id, failed.code) == ("s", -1, "r", INTERNAL_ERROR)
        assert asked.abandoned
        assert house.clients.statistics()["parked"] == 0
        await refused(house, retry(told, **{"ask-1": ACCEPT}))


async def test_an_upstream_that_takes_no_answer_is_given_up_all_the_same(autojump_clock: object) -> None:
    async with open_house() as house:
        _, asked = await interrupted(house, elicit())
        _, other = await interrupted(house, elicit())
        house.upstream.peers[0].fail_send = UpstreamDied("gone")
        await trio.sleep(PATIENCE + 1)
        assert asked.abandoned
        assert other.abandoned


async def test_a_retry_whose_answer_cannot_be_delivered_fails(autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit())
        house.upstream.peers[0].fail_send = UpstreamDied("gone")
        with pytest.raises(UpstreamDied):
            await house.ask("tools/call", retry(told, **{"ask-1": ACCEPT}), capabilities=ALL)
        assert asked.abandoned


async def test_hundreds_of_parked_calls_are_too_many(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house() as house:
        for _ in range(MOST_OF_ONE):
            await interrupted(house, elicit())
        answer = await house.ask("tools/call", CALL, capabilities=ALL)
        asked = await house.upstream.next()
        asked.say(elicit("late"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(final, answer)
            await house.upstream.until(lambda: house.upstream.peers[0].replies())
            (reply,) = house.upstream.peers[0].replies()
            assert isinstance(reply, Failure)
            assert (reply.id, reply.code) == ("late", INTERNAL_ERROR)
            asked.finish()
        await answer.aclose()
        await interrupted(house, elicit(), caller=BOB)
        monkeypatch.setattr(parking, "MOST_PARKED", MOST_OF_ONE + 1)
        answer = await house.ask("tools/call", CALL, capabilities=ALL, caller=BOB)
        asked = await house.upstream.next()
        asked.say(elicit("late"))
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()


async def test_questions_are_bounded_in_bytes(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "MOST_BYTES", 3000)
    async with open_house() as house:
        await interrupted(house, elicit("q", message="x" * 1000))
        answer = await house.ask("tools/call", CALL, capabilities=ALL)
        asked = await house.upstream.next()
        asked.say(elicit("big", message="x" * 2000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(final, answer)
            await house.upstream.until(lambda: house.upstream.peers[0].replies())
            asked.finish()
        await answer.aclose()


async def test_a_hundred_questions_of_one_call_are_asked_and_no_more(autojump_clock: object) -> None:
    async with open_house() as house:
        answer = await house.ask("tools/call", CALL, capabilities=ALL)
        asked = await house.upstream.next()
        asked.say(*(elicit(number) for number in range(MOST_QUESTIONS + 20)))
        told = await final(answer)
        await answer.aclose()
        assert len(told["inputRequests"]) == MOST_QUESTIONS
        replies = house.upstream.peers[0].replies()
        assert all(isinstance(reply, Failure) and reply.code == INTERNAL_ERROR for reply in replies)
        assert [reply.id for reply in replies] == list(range(MOST_QUESTIONS, MOST_QUESTIONS + 20))


async def test_a_retry_that_can_do_less_is_not_asked_for_more(autojump_clock: object) -> None:
    async with open_house() as house:
        told, asked = await interrupted(house, elicit(), SAMPLE)
        answer = await house.ask("tools/call", retry(told, **{"ask-1": ACCEPT}), capabilities=FORM)
        asked.finish(code=-32603)
        assert (await final(answer))["code"] == MISSING_CLIENT_CAPABILITY
        await answer.aclose()


async def test_a_retry_sets_the_log_level_that_it_wants(autojump_clock: object) -> None:
    async with open_house(answers={"logging/setLevel": {}}) as house:
        told, asked = await interrupted(house, elicit())
        answer = await house.ask("tools/call", retry(told, **{"ask-1": ACCEPT}), capabilities=ALL, log="info")
        assert "logging/setLevel" in house.upstream.peers[0].methods()
        asked.finish()
        await final(answer)
        await answer.aclose()


VISIT = {"elicitations": [{"mode": "url", "elicitationId": "e", "url": "https://x", "message": "Go"}]}


async def visiting(house: House, capabilities: dict[str, Any]) -> dict[str, Any]:
    answer = await house.ask("tools/call", CALL, capabilities=capabilities)
    (await house.upstream.next()).finish(code=-32042, data=VISIT)
    told = await final(answer)
    await answer.aclose()
    return told


async def test_urls_that_have_to_be_visited_first(autojump_clock: object) -> None:
    async with open_house() as house:
        told = await visiting(house, ALL)
        entry = {"method": "elicitation/create", "params": {"mode": "url", "url": "https://x", "message": "Go"}}
        assert told["inputRequests"] == {"ask-1": entry}
        again = await house.final("tools/call", retry(told), capabilities=ALL)
        assert again["inputRequests"] == {"ask-1": entry}
        await refused(house, retry(told, **{"ask-1": {"action": "accept"}}))
        answer = await house.ask("tools/call", retry(again, **{"ask-1": {"action": "accept"}}), capabilities=ALL)
        asked = await house.upstream.next()
        assert loaded(asked.message.params) == CALL
        asked.finish()
        assert await final(answer) == COMPLETE
        await answer.aclose()
        assert house.upstream.peers[0].replies() == []


async def test_urls_that_cannot_be_visited(autojump_clock: object) -> None:
    async with open_house() as house:
        told = await visiting(house, FORM)
        assert told["code"] == MISSING_CLIENT_CAPABILITY
        assert told["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}
        told = await visiting(house, ALL)
        less = await house.final("tools/call", retry(told), capabilities=FORM)
        assert less["code"] == MISSING_CLIENT_CAPABILITY


async def test_a_url_error_that_names_none_or_comes_too_often(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(answers={"tools/call": -32042, "prompts/list": -32042}) as house:
        assert (await house.final("tools/call", CALL, capabilities=ALL))["code"] == INTERNAL_ERROR
        assert (await house.final("prompts/list", capabilities=ALL))["code"] == INTERNAL_ERROR
    monkeypatch.setattr(parking, "MOST_PARKED", 0)
    async with open_house() as house:
        assert (await visiting(house, ALL))["code"] == INTERNAL_ERROR


async def test_a_forgotten_url_error_is_just_forgotten(autojump_clock: object) -> None:
    async with open_house() as house:
        await visiting(house, ALL)
        await trio.sleep(PATIENCE + 1)
        assert house.clients.statistics()["parked"] == 0
        await visiting(house, ALL)  # and what is parked at the end ends with the house


async def test_a_question_on_the_sessions_own_stream_is_the_only_calls(autojump_clock: object) -> None:
    async with open_house() as house:
        stream = None
        answer = await house.ask("tools/call", CALL, capabilities=ALL)
        asked = await house.upstream.next()
        stream = await house.upstream.stream()
        stream.say(ROOTS)
        told = await final(answer)
        await answer.aclose()
        assert told["inputRequests"] == {"ask-1": {"method": "roots/list"}}
        stream.say(elicit("while parked"), Notification("notifications/cancelled", b'{"requestId":"while parked"}'))
        stream.say(elicit("too"))
        answer = await house.ask("tools/call", retry(told, **{"ask-1": {"roots": []}}), capabilities=ALL)
        told = await final(answer)
        await answer.aclose()
        assert [entry["method"] for entry in told["inputRequests"].values()] == ["elicitation/create"]
        assert not asked.closed


async def test_a_question_that_one_of_two_calls_may_have_caused_is_refused(autojump_clock: object) -> None:
    async with open_house() as house:
        first = await house.ask("tools/call", CALL, capabilities=ALL)
        one = await house.upstream.next()
        second = await house.ask("tools/call", CALL, capabilities=ALL)
        two = await house.upstream.next()
        (await house.upstream.stream()).say(elicit("q"), Request("p", "ping"), Request("v", "vendor/ask"))
        await house.upstream.until(lambda: len(house.upstream.peers[0].replies()) == 3)
        refusal, pong, vendor = house.upstream.peers[0].replies()
        assert isinstance(refusal, Failure)
        assert isinstance(vendor, Failure)
        assert (refusal.code, vendor.code) == (METHOD_NOT_FOUND, METHOD_NOT_FOUND)
        assert pong == Result("p", b"{}")
        for answer, asked in ((first, one), (second, two)):
            asked.finish()
            assert await final(answer) == COMPLETE
            await answer.aclose()


async def test_a_parked_call_keeps_no_other_from_being_asked(autojump_clock: object) -> None:
    async with open_house(answers={"logging/setLevel": {}}) as house:
        _, parked = await interrupted(house, elicit())
        answer = await house.ask("tools/call", CALL, capabilities=ALL, log="info")
        await house.upstream.next()
        stream = await house.upstream.stream()
        logged = Notification("notifications/message", b'{"level":"info","data":1}')
        stream.say(logged, ROOTS)
        assert await receive(answer) == logged
        assert (await final(answer))["inputRequests"] == {"ask-1": {"method": "roots/list"}}
        await answer.aclose()
        assert not parked.closed


async def test_a_flood_for_a_parked_call_is_refused(autojump_clock: object) -> None:
    async with open_house() as house:
        await interrupted(house, elicit())
        stream = await house.upstream.stream()
        stream.say(*(elicit(number) for number in range(120)))
        await house.upstream.until(lambda: len(house.upstream.peers[0].replies()) == 20)
