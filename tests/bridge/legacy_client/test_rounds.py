"""One request of a legacy client, as values: what is sent, who is asked, what comes out."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from gatewayd.bridge.legacy_client.envelopes import Client
from gatewayd.bridge.legacy_client.rounds import MOST_ROUNDS, MOST_WAIT, Again, Ask, Broken, Done, Rounds, Verdict
from gatewayd.protocol.codes import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, RESOURCE_NOT_FOUND
from gatewayd.protocol.jsonrpc import Failure, Notification, Request, Result
from gatewayd.protocol.jsontext import members

CLIENT = Client("2025-11-25", b'{"elicitation":{"url":{},"form":{}},"sampling":{},"roots":{}}')
PROGRESS = "notifications/progress"


class Trial:
    """A request under the id 5, with ids from 100 on for what follows."""

    def __init__(self, method: str = "tools/call", client: Client = CLIENT, **params: Any) -> None:
        self.ids = itertools.count(100)
        raw = json.dumps(params or {"name": "a", "_meta": {"progressToken": 5}}).encode()
        self.rounds = Rounds(Request(5, method, raw), members(raw), client)

    def send(self) -> tuple[int, Any]:
        sent = self.rounds.next_request(self.ids, None)
        assert isinstance(sent.id, int)
        return sent.id, json.loads(sent.params or b"")

    def judge(self, raw: bytes | None = None, **result: Any) -> Verdict:
        text = json.dumps(result).encode() if raw is None else raw
        return self.rounds.judge(Result(1, text), self.ids, lambda: "minted")

    def ask(self, state: str | None = "s", **entries: Any) -> Verdict:
        more: dict[str, Any] = {} if state is None else {"requestState": state}
        return self.judge(resultType="input_required", inputRequests=entries, **more)

    def failed(self, code: int, data: bytes | None = None) -> Verdict:
        return self.rounds.judge(Failure(1, code, "why", data), self.ids, lambda: "minted")


FORM = {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {"type": "object"}}}
ROOTS = {"method": "roots/list"}


def test_the_first_round_has_the_id_of_the_request_and_later_ones_their_own() -> None:
    trial = Trial()
    assert not trial.rounds.started
    ident, params = trial.send()
    assert (ident, params["name"], params["_meta"]["progressToken"]) == (5, "a", 5)
    assert "inputResponses" not in params
    assert "requestState" not in params
    assert trial.rounds.started
    asked = trial.ask(a=FORM, b=ROOTS)
    assert isinstance(asked, Ask)
    assert [(each.id, each.method) for each in asked.requests] == [(100, "elicitation/create"), (101, "roots/list")]
    trial.rounds.answer(Result(101, b'{"roots":[]}'))
    assert not trial.rounds.settled
    trial.rounds.answer(Result(100, b'{"action":"accept","content":{"n":1.0}}'))
    assert trial.rounds.settled
    assert trial.rounds.conclude() == ()
    ident, params = trial.send()
    assert (ident, params["name"], params["_meta"]["progressToken"]) == (102, "a", 102)
    assert params["requestState"] == "s"
    assert params["inputResponses"] == {"b": {"roots": []}, "a": {"action": "accept", "content": {"n": 1.0}}}
    done = trial.judge(resultType="complete", content=[])
    assert done == Done(Result(5, b'{"content":[]}'))


def test_the_state_is_echoed_to_the_letter_and_only_where_there_is_one() -> None:
    trial = Trial()
    trial.send()
    trial.judge(
        b'{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}},"requestState":"\\u0061\\/"}'
    )
    trial.rounds.answer(Result(100, b"{}"))
    raw = trial.rounds.next_request(trial.ids, None).params
    assert raw is not None
    assert b'"requestState":"\\u0061\\/"' in raw
    trial.ask(state=None, b=ROOTS)
    trial.rounds.answer(Result(102, b"{}"))
    _, params = trial.send()
    assert "requestState" not in params
    assert params["inputResponses"] == {"b": {}}


@pytest.mark.parametrize("entries", [None, {}])
def test_who_says_not_yet_is_asked_again_with_growing_patience(entries: object) -> None:
    trial = Trial()
    waits: list[float] = []
    for _ in range(MOST_ROUNDS):
        trial.send()
        more: dict[str, Any] = {} if entries is None else {"inputRequests": entries}
        again = trial.judge(resultType="input_required", requestState="s", **more)
        assert isinstance(again, Again)
        assert not again.relearn
        waits.append(again.wait)
    assert waits[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert max(waits) == MOST_WAIT
    _, params = trial.send()
    assert params["requestState"] == "s"
    assert "inputResponses" not in params
    done = trial.judge(resultType="input_required", requestState="s")
    assert isinstance(done, Done)
    assert isinstance(done.message, Failure)
    assert (done.message.id, done.message.code) == (5, INTERNAL_ERROR)
    assert "more than 10 times" in done.message.message


def test_an_elicitation_that_fails_is_cancelled_and_others_end_the_call() -> None:
    trial = Trial()
    trial.send()
    trial.ask(a=FORM, b=ROOTS, c=FORM)
    trial.rounds.answer(Failure(100, -32603, "closed"))
    assert not trial.rounds.settled
    trial.rounds.answer(Failure(101, -32601, "no roots"))
    assert trial.rounds.settled
    withdrawn, failure = trial.rounds.conclude()
    assert withdrawn == Notification("notifications/cancelled", b'{"requestId":102}')
    assert isinstance(failure, Failure)
    assert (failure.id, failure.code) == (5, INTERNAL_ERROR)
    assert "roots/list with an error: no roots" in failure.message


def test_answers_to_what_was_not_asked_change_nothing() -> None:
    trial = Trial()
    trial.rounds.answer(Result(100, b"{}"))
    trial.send()
    trial.ask(a=ROOTS)
    for ident in ("100", 7, 5):
        trial.rounds.answer(Result(ident, b'{"x":1}'))
    trial.rounds.answer(Failure(None, 1, "?"))
    assert not trial.rounds.settled
    trial.rounds.answer(Result(100, b'{"roots":[]}'))
    trial.rounds.answer(Result(100, b'{"roots":[1]}'))
    _, params = trial.send()
    assert params["inputResponses"] == {"a": {"roots": []}}


def test_what_cannot_be_shown_is_answered_without_the_client() -> None:
    trial = Trial(client=Client("2025-06-18", b'{"elicitation":{}}'))
    trial.send()
    assert trial.ask(a={"method": "elicitation/create", "params": {"mode": "url"}}) == Ask(())
    assert trial.rounds.settled
    _, params = trial.send()
    assert params["inputResponses"] == {"a": {"action": "cancel"}}


def test_a_question_that_was_not_declared_fails_the_call_and_says_so() -> None:
    trial = Trial(client=Client("2025-11-25", b"{}"))
    trial.send()
    done = trial.ask(a=ROOTS)
    assert isinstance(done, Done)
    assert isinstance(done.message, Failure)
    assert (done.message.id, done.message.code) == (5, INTERNAL_ERROR)
    assert "did not declare" in done.message.message


@pytest.mark.parametrize(
    "raw",
    [
        b'{"resultType":"task","taskId":"t"}',
        b'{"resultType":7}',
        b'{"resultType":"input_required"}',
        b'{"resultType":"input_required","requestState":7}',
        b'{"resultType":"input_required","inputRequests":[]}',
        b'{"resultType":"input_required","inputRequests":{"a":7}}',
        b'{"resultType":"complete","content":7}',
        b'{"resultType":"complete","resultType":"complete"}',
    ],
)
def test_results_that_mean_nothing_break_the_protocol(raw: bytes) -> None:
    trial = Trial()
    trial.send()
    assert isinstance(trial.judge(raw), Broken)


@pytest.mark.parametrize("method", ["tools/list", "completion/complete", "prompts/list"])
def test_a_service_asks_only_where_it_may(method: str) -> None:
    trial = Trial(method)
    trial.send()
    assert isinstance(trial.ask(a=ROOTS), Broken)


def test_a_result_without_a_type_is_complete() -> None:
    trial = Trial()
    trial.send()
    assert trial.judge(content=[]) == Done(Result(5, b'{"content":[]}'))


def test_a_header_that_does_not_fit_is_corrected_once_a_round() -> None:
    trial = Trial()
    trial.send()
    assert trial.failed(HEADER_MISMATCH) == Again(relearn=True)
    trial.send()
    trial.ask(a=ROOTS)
    trial.rounds.answer(Result(101, b"{}"))
    trial.send()
    assert trial.failed(HEADER_MISMATCH) == Again(relearn=True)
    _, params = trial.send()
    assert (params["inputResponses"], params["requestState"]) == ({"a": {}}, "s")
    done = trial.failed(HEADER_MISMATCH)
    assert isinstance(done, Done)
    assert isinstance(done.message, Failure)
    assert (done.message.id, done.message.code) == (5, INTERNAL_ERROR)


def test_errors_are_those_of_the_request() -> None:
    trial = Trial("resources/read", uri="file:///a")
    trial.send()
    data = b'{"uri":"file:///a"}'
    assert trial.failed(INVALID_PARAMS, data) == Done(Failure(5, RESOURCE_NOT_FOUND, "why", data))


def test_only_what_reads_is_repeated_and_only_once() -> None:
    assert not Trial("tools/call").rounds.may_repeat()
    reading = Trial("resources/read", uri="a").rounds
    assert [reading.may_repeat(), reading.may_repeat()] == [True, False]


def test_progress_has_the_token_of_the_request_and_only_grows() -> None:
    trial = Trial()
    trial.send()

    def told(token: object, progress: object) -> Any:
        params = {"progressToken": token, "progress": progress, "message": "m"}
        shown = trial.rounds.notification(Notification(PROGRESS, json.dumps(params).encode()))
        return None if shown is None else json.loads(shown.params or b"")

    assert told(5, 1) == {"progressToken": 5, "progress": 1, "message": "m"}
    assert told(5, 1) is not None
    assert told(5, 3) is not None
    assert told(5, 2) is not None
    trial.ask(a=ROOTS)
    trial.rounds.answer(Result(100, b"{}"))
    assert trial.send()[0] == 101
    assert told(5, 9) is None
    assert told(101, 3) is None
    assert told(101, 4.5) == {"progressToken": 5, "progress": 4.5, "message": "m"}
    assert told(101, "many") is None


def test_notifications_about_subscriptions_are_not_for_the_client() -> None:
    rounds = Trial().rounds
    for method in ("notifications/cancelled", "notifications/subscriptions/acknowledged"):
        assert rounds.notification(Notification(method)) is None
    log = Notification("notifications/message", b'{"level":"info","data":1}')
    assert rounds.notification(log) is log
    assert rounds.notification(Notification(PROGRESS, b'{"progress":1,"progress":2}')) is None
