"""A legacy client's session over a modern service: requests, questions, and what happens when things break."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.bridge.legacy_client.answer import GRACE, close_all
from gatewayd.bridge.legacy_client.peer import ModernPeer, open_modern_peer
from gatewayd.protocol.codes import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    UNSUPPORTED_VERSION,
)
from gatewayd.protocol.jsonrpc import Failure, Message, Notification, Request, Result, RpcError
from gatewayd.upstreams.channel import (
    Answer,
    Paused,
    Refused,
    SessionLost,
    UpstreamBroke,
    UpstreamDied,
    UpstreamTimedOut,
    UpstreamUnreachable,
    WrongEra,
)
from gatewayd.upstreams.service import Caller, Opened
from tests.bridge.legacy_client.scripted import Scripted, Told, request, told_of
from tests.support.checkpoints import at_every_step, cut

PREFIX = "io.modelcontextprotocol/"
CALLER = Caller("alice", ((b"traceparent", b"00"),))
CAPABILITIES: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "roots": {}}


def discovered(**capabilities: Any) -> dict[str, Any]:
    meta = {PREFIX + "serverInfo": {"name": "s", "version": "1"}}
    return {"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "_meta": meta}


def service(**capabilities: Any) -> Scripted:
    scripted = Scripted()
    scripted.scripts["server/discover"] = lambda told: told.result(**discovered(**capabilities))
    scripted.scripts["tools/list"] = lambda told: told.result(tools=[])
    return scripted


def initialize(version: str = "2025-11-25", **capabilities: Any) -> Request:
    info = {"name": "c", "version": "1"}
    return request("initialize", protocolVersion=version, capabilities=capabilities, clientInfo=info)


async def opened(scripted: Scripted, message: Request | None = None) -> Opened:
    ids = itertools.count(2000)
    return await open_modern_peer(scripted, initialize(**CAPABILITIES) if message is None else message, CALLER, ids)


async def peer_of(scripted: Scripted, message: Request | None = None) -> ModernPeer:
    peer = (await opened(scripted, message)).peer
    assert isinstance(peer, ModernPeer)
    return peer


async def ask(peer: ModernPeer, message: Request) -> Message | Paused | None:
    """The first message of the answer."""
    answer = await peer.request(message)
    try:
        with trio.fail_after(60):
            return await answer.receive()
    finally:
        await answer.aclose()


async def test_initialize_is_answered_from_what_the_service_says_of_itself() -> None:
    scripted = service(tools={"listChanged": True}, extensions={"a/b": {}})
    agreed = await opened(scripted, initialize("2025-06-18", sampling={"tools": {}}))
    assert agreed.version == "2025-06-18"
    assert json.loads(agreed.result) == {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {"listChanged": True}},
        "serverInfo": {"name": "s", "version": "1"},
    }
    (told,) = scripted.told
    assert (told.version, told.name, told.caller, told.closed) == ("2026-07-28", None, CALLER, True)
    assert told.request.id == 2000
    assert told.meta[PREFIX + "clientCapabilities"] == {"sampling": {}}
    assert agreed.peer.session is None


@pytest.mark.parametrize(("code", "shown"), [(-32603, -32603), (-32601, -32601), (UNSUPPORTED_VERSION, INTERNAL_ERROR)])
async def test_a_service_may_refuse_to_introduce_itself(code: int, shown: int) -> None:
    scripted = Scripted(scripts={"server/discover": lambda told: told.fail(code)})
    with pytest.raises(Refused) as caught:
        await opened(scripted)
    assert caught.value.failure.code == shown
    assert not scripted.open


async def test_a_service_that_introduces_itself_badly_opens_no_session(autojump_clock: MockClock) -> None:
    def ended(told: Told) -> None:
        told.say(Notification("notifications/message"), None)

    with pytest.raises(UpstreamBroke):
        await opened(Scripted(scripts={"server/discover": lambda told: told.result(capabilities=[])}))
    with pytest.raises(UpstreamDied):
        await opened(Scripted(scripts={"server/discover": ended}))
    with pytest.raises(UpstreamTimedOut):
        await opened(Scripted())
    with pytest.raises(RpcError):
        await opened(Scripted(), request("initialize", protocolVersion="2025-11-25", capabilities=7))


async def test_what_needs_no_service_is_answered_here() -> None:
    scripted = service()
    peer = await peer_of(scripted)
    ping = request("ping")
    assert await ask(peer, ping) == Result(ping.id, b"{}")
    for method in ("tasks/get", "tasks/list", "server/discover", "subscriptions/listen", "vendor/x", "initialize"):
        assert told_of(await ask(peer, request(method))) == METHOD_NOT_FOUND
    for method in ("resources/subscribe", "resources/unsubscribe"):
        assert told_of(await ask(peer, request(method, uri="a"))) == METHOD_NOT_FOUND
    for method in ("notifications/initialized", "notifications/roots/list_changed", "notifications/cancelled"):
        await peer.send(Notification(method))
    await peer.send(Result(1, b"{}"))
    assert len(scripted.told) == 1


async def test_requests_carry_the_client_in_their_envelope() -> None:
    scripted = service()
    scripted.scripts["prompts/get"] = lambda told: told.result(messages=[])
    peer = await peer_of(scripted)
    get = request("prompts/get", name="p", _meta={"progressToken": 9, "vendor/x": 1})
    assert told_of(await ask(peer, get)) == {"messages": []}
    (told,) = scripted.of("prompts/get")
    assert (told.name, told.caller, told.version, told.request.id) == ("p", Caller("alice"), "2026-07-28", get.id)
    assert told.meta == {
        "progressToken": get.id,
        "vendor/x": 1,
        PREFIX + "protocolVersion": "2026-07-28",
        PREFIX + "clientCapabilities": CAPABILITIES,
        PREFIX + "clientInfo": {"name": "c", "version": "1"},
    }
    assert not scripted.open


async def test_the_log_level_of_the_session_goes_with_each_request() -> None:
    scripted = service()
    scripted.scripts["tools/list"] = lambda told: told.result(tools=[])
    peer = await peer_of(scripted)
    await ask(peer, request("tools/list"))
    assert told_of(await ask(peer, request("logging/setLevel", level="warning"))) == {}
    assert told_of(await ask(peer, request("logging/setLevel", level="loud"))) == INVALID_PARAMS
    await ask(peer, request("tools/list"))
    assert [told.meta.get(PREFIX + "logLevel") for told in scripted.of("tools/list")] == [None, "warning"]


@pytest.mark.parametrize(
    "message",
    [
        request("prompts/get"),
        request("tools/call", name=7),
        request("resources/read"),
        request("tools/list", _meta=[]),
        Request(1, "tools/list", b'{"a":1,"a":2}'),
        Request(1, "tools/call"),
    ],
)
async def test_params_that_make_no_sense_reach_nobody(message: Request) -> None:
    scripted = service()
    peer = await peer_of(scripted)
    shown = await ask(peer, message)
    assert isinstance(shown, Failure)
    assert (shown.id, shown.code) == (message.id, INVALID_PARAMS)
    assert len(scripted.told) == 1


FORM: dict[str, Any] = {
    "method": "elicitation/create",
    "params": {"message": "?", "requestedSchema": {"type": "object"}},
}


def asking(told: Told, state: str = "s", **entries: Any) -> None:
    told.result(resultType="input_required", requestState=state, inputRequests=entries or {"a": FORM})


async def test_a_question_in_the_middle_of_a_call_is_put_to_the_client(autojump_clock: MockClock) -> None:
    scripted = service()
    peer = await peer_of(scripted)
    call = request("tools/call", name="t", arguments={"x": 1.0}, _meta={"progressToken": 3})
    answer = await peer.request(call)
    first = await scripted.wait("tools/call")
    first.notify("notifications/progress", progressToken=call.id, progress=1)
    asking(first, a=FORM, b={"method": "roots/list"})
    assert told_of(await answer.receive())["progress"] == 1
    form, roots = await answer.receive(), await answer.receive()
    assert isinstance(form, Request)
    assert isinstance(roots, Request)
    assert (form.method, roots.method) == ("elicitation/create", "roots/list")
    assert isinstance(form.id, int)
    assert form.id != roots.id
    for _ in range(3):
        with trio.move_on_after(1):
            await answer.receive()
    assert first.closed
    await peer.send(Result(roots.id, b'{"roots":[]}'))
    with trio.move_on_after(1):
        await answer.receive()
    assert len(scripted.of("tools/call")) == 1
    await peer.send(Result(form.id, b'{"action":"accept"}'))
    with trio.move_on_after(1):
        await answer.receive()
    second = await scripted.wait("tools/call", 2)
    assert second.request.id not in (call.id, form.id, roots.id)
    assert second.name == "t"
    params = second.params
    assert (params["arguments"], params["requestState"]) == ({"x": 1.0}, "s")
    assert params["inputResponses"] == {"b": {"roots": []}, "a": {"action": "accept"}}
    assert params["_meta"]["progressToken"] == second.request.id
    second.notify("notifications/progress", progressToken=second.request.id, progress=2)
    second.result(content=[])
    progress = await answer.receive()
    assert told_of(progress) == {"progressToken": call.id, "progress": 2}
    assert await answer.receive() == Result(call.id, b'{"content":[]}')
    assert await answer.receive() is None
    await answer.aclose()
    await answer.aclose()
    assert not scripted.open


async def test_two_calls_ask_at_once_and_get_their_own_answers(autojump_clock: MockClock) -> None:
    scripted = service()
    scripted.scripts["prompts/get"] = lambda told: asking(told, str(told.params["name"]))
    peer = await peer_of(scripted)
    answers = [await peer.request(request("prompts/get", name=name)) for name in ("p", "q")]
    questions = [await answer.receive() for answer in answers]
    del scripted.scripts["prompts/get"]
    for question, action in zip(reversed(questions), ("decline", "cancel"), strict=True):
        assert isinstance(question, Request)
        await peer.send(Result(question.id, json.dumps({"action": action}).encode()))
    for answer, name, action in zip(answers, ("p", "q"), ("cancel", "decline"), strict=True):
        with trio.move_on_after(1):
            await answer.receive()
        params = scripted.told[-1].params
        assert (params["name"], params["requestState"]) == (name, name)
        assert params["inputResponses"] == {"a": {"action": action}}
        await answer.aclose()
    assert not scripted.open


async def test_a_client_that_will_not_be_sampled_ends_the_call(autojump_clock: MockClock) -> None:
    scripted = service()
    scripted.scripts["tools/call"] = lambda told: asking(told, a={"method": "roots/list"}, b=FORM)
    peer = await peer_of(scripted)
    call = request("tools/call", name="t")
    answer = await peer.request(call)
    roots, form = await answer.receive(), await answer.receive()
    assert isinstance(roots, Request)
    assert isinstance(form, Request)
    await peer.send(Failure(roots.id, -1, "User rejected"))
    assert await answer.receive() == Notification("notifications/cancelled", b'{"requestId":%d}' % int(form.id))
    failure = await answer.receive()
    assert isinstance(failure, Failure)
    assert (failure.id, failure.code) == (call.id, INTERNAL_ERROR)
    assert await answer.receive() is None
    await peer.send(Result(form.id, b"{}"))
    await answer.aclose()
    assert len(scripted.of("tools/call")) == 1


async def test_who_says_not_yet_is_asked_again_later(autojump_clock: MockClock) -> None:
    scripted = service()
    scripted.scripts["tools/call"] = lambda told: told.result(resultType="input_required", requestState="s")
    peer = await peer_of(scripted)
    began = trio.current_time()
    shown = await ask(peer, request("tools/call", name="t"))
    assert told_of(shown) == INTERNAL_ERROR
    assert trio.current_time() - began == pytest.approx(0.05 + 0.1 + 0.2 + 0.4 + 0.8 + 5 * 1.0)
    assert len(scripted.of("tools/call")) == 11


def tool(header: str) -> dict[str, Any]:
    properties = {"region": {"type": "string", "x-mcp-header": header}}
    return {"name": "t", "inputSchema": {"type": "object", "properties": properties}}


async def test_arguments_are_mirrored_into_headers(autojump_clock: MockClock) -> None:
    scripted = service()
    scripted.scripts["tools/list"] = lambda told: told.result(tools=[tool("Region")])
    scripted.scripts["tools/call"] = lambda told: told.result(content=[])
    peer = await peer_of(scripted)
    for _ in range(2):
        await ask(peer, request("tools/call", name="t", arguments={"region": "é"}))
    assert [told.caller for told in scripted.of("tools/call")] == [
        Caller("alice", ((b"mcp-param-region", b"=?base64?w6k=?="),))
    ] * 2
    (listed,) = scripted.of("tools/list")
    assert isinstance(listed.request.id, int)
    assert listed.request.id >= 2000
    twice = Request(1, "tools/call", b'{"name":"t","arguments":{"region":"a","region":"b"}}')
    assert told_of(await ask(peer, twice)) == INVALID_PARAMS


@pytest.mark.parametrize("raised", [True, False])
async def test_headers_that_do_not_fit_are_made_again_once(raised: bool, autojump_clock: MockClock) -> None:
    scripted = service()
    headers = iter(["Region", "Zone", "Zone"])
    scripted.scripts["tools/list"] = lambda told: told.result(tools=[tool(next(headers))])

    def judge(told: Told) -> None:
        if told.caller.fields == ((b"mcp-param-zone", b"eu"),):
            told.result(content=[])
        elif raised:
            raise RpcError(HEADER_MISMATCH, "Header mismatch")
        else:
            told.fail(HEADER_MISMATCH)

    scripted.scripts["tools/call"] = judge
    peer = await peer_of(scripted)
    await ask(peer, request("tools/call", name="t", arguments={}))
    await trio.sleep(2)
    call = request("tools/call", name="t", arguments={"region": "eu"})
    assert await ask(peer, call) == Result(call.id, b'{"content":[]}')
    failed = await ask(peer, request("tools/call", name="t", arguments={"region": "us"}))
    assert told_of(failed) == INTERNAL_ERROR
    assert not scripted.open


async def test_what_only_the_service_can_say_passes() -> None:
    scripted = service()
    data: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
    scripted.scripts["tools/call"] = lambda told: told.fail(MISSING_CLIENT_CAPABILITY, "needs sampling", data)
    call = request("tools/call", name="t")
    shown = await ask(await peer_of(scripted), call)
    assert isinstance(shown, Failure)
    assert (shown.id, shown.code, shown.message) == (call.id, MISSING_CLIENT_CAPABILITY, "needs sampling")
    assert json.loads(shown.data or b"") == data


@pytest.mark.parametrize("how", [UpstreamDied("gone"), None])
async def test_a_lost_answer_is_asked_for_again_once_where_that_does_no_harm(how: UpstreamDied | None) -> None:
    scripted = service()
    scripted.scripts["resources/read"] = lambda told: told.say(how)
    peer = await peer_of(scripted)
    with pytest.raises(UpstreamDied):
        await ask(peer, request("resources/read", uri="a"))
    first, second = scripted.of("resources/read")
    assert first.request.id != second.request.id
    scripted.scripts["tools/call"] = lambda told: told.say(how)
    with pytest.raises(UpstreamDied):
        await ask(peer, request("tools/call", name="t"))
    assert len(scripted.of("tools/call")) == 1
    assert not scripted.open


async def test_other_failures_of_the_service_are_raised() -> None:
    def unreachable(_: Told) -> None:
        raise UpstreamUnreachable("nobody there")

    def wrong_era(_: Told) -> None:
        raise WrongEra("legacy now", ("2025-11-25",))

    scripted = service()
    peer = await peer_of(scripted)
    scripted.scripts["prompts/list"] = unreachable
    with pytest.raises(UpstreamUnreachable):
        await peer.request(request("prompts/list"))
    scripted.scripts["prompts/list"] = wrong_era
    with pytest.raises(SessionLost):
        await peer.request(request("prompts/list"))
    scripted.scripts["prompts/list"] = lambda told: told.say(Paused(1), Request(1, "roots/list"))
    with pytest.raises(UpstreamBroke):
        await ask(peer, request("prompts/list"))

    def asks_first(told: Told) -> None:
        if "requestState" in told.params:
            wrong_era(told)
        told.result(resultType="input_required", requestState="s")

    scripted.scripts["tools/call"] = asks_first
    answer = await peer.request(request("tools/call", name="t"))
    with pytest.raises(UpstreamDied):
        await answer.receive()
    assert await answer.receive() is None
    await answer.aclose()
    assert not scripted.open


async def asked(peer: ModernPeer) -> tuple[Answer, Request]:
    """A call that has asked its client."""
    answer = await peer.request(request("tools/call", name="t"))
    question = await answer.receive()
    assert isinstance(question, Request)
    return answer, question


async def test_a_round_that_is_being_sent_is_sent_although_its_receiver_is_cancelled(autojump_clock: MockClock) -> None:
    scripted = service()
    scripted.scripts["tools/call"] = asking
    peer = await peer_of(scripted)
    answer, question = await asked(peer)
    await peer.send(Result(question.id, b"{}"))
    del scripted.scripts["tools/call"]
    scripted.sending = GRACE / 2
    with trio.move_on_after(GRACE / 4) as scope:
        await answer.receive()
    assert scope.cancelled_caught
    second = await scripted.wait("tools/call", 2)
    second.result(content=[])
    assert told_of(await answer.receive()) == {"content": []}
    assert len(scripted.of("tools/call")) == 2
    await answer.aclose()


async def test_a_round_that_cannot_be_sent_in_time_has_an_unknown_outcome(autojump_clock: MockClock) -> None:
    scripted = service()
    scripted.scripts["tools/call"] = asking
    peer = await peer_of(scripted)
    answer, question = await asked(peer)
    await peer.send(Result(question.id, b"{}"))
    scripted.sending = 100
    began = trio.current_time()
    with trio.move_on_after(1):
        await answer.receive()
    assert trio.current_time() - began == pytest.approx(1 + GRACE)
    with pytest.raises(UpstreamDied, match="unknown"):
        await answer.receive()
    await answer.aclose()
    assert not scripted.open


async def test_a_call_may_be_cancelled_at_every_step(autojump_clock: MockClock) -> None:
    scripted = service()
    peer = await peer_of(scripted)

    async def trial(steps: int) -> bool:
        scripted.scripts["tools/call"] = lambda told: (
            told.result(content=[]) if "requestState" in told.params else asking(told)
        )

        async def call(begins: Any) -> None:
            begins()
            answer = await peer.request(request("tools/call", name="t"))
            try:
                while not isinstance(message := await answer.receive(), Result):
                    assert isinstance(message, Request)
                    await peer.send(Result(message.id, b"{}"))
            finally:
                await answer.aclose()

        return await cut(call, steps)

    async def check() -> None:
        assert not scripted.open

    assert await at_every_step(trial, check) > 5


async def test_receiving_may_be_cancelled_at_every_step_and_goes_on(autojump_clock: MockClock) -> None:
    scripted = service()
    scripted.scripts["tools/call"] = lambda told: (
        told.result(content=[]) if "requestState" in told.params else asking(told)
    )
    peer = await peer_of(scripted)

    async def trial(steps: int) -> bool:
        sent = len(scripted.of("tools/call"))
        answer, question = await asked(peer)
        await peer.send(Result(question.id, b"{}"))
        got: list[Message | Paused | None] = []

        async def receive(begins: Any) -> None:
            begins()
            got.append(await answer.receive())

        ended = await cut(receive, steps)
        if not got:
            got.append(await answer.receive())
        assert told_of(got[0]) == {"content": []}
        assert len(scripted.of("tools/call")) == sent + 2
        await answer.aclose()
        return ended

    async def check() -> None:
        assert not scripted.open

    assert await at_every_step(trial, check) > 3


async def test_what_no_client_of_its_revision_can_be_shown_is_cancelled_for_it() -> None:
    scripted = service()
    url = {"method": "elicitation/create", "params": {"mode": "url", "message": "?", "url": "https://a"}}
    scripted.scripts["tools/call"] = lambda told: (
        told.result(content=[]) if "requestState" in told.params else asking(told, a=url)
    )
    peer = await peer_of(scripted, initialize("2025-06-18", elicitation={}))
    assert told_of(await ask(peer, request("tools/call", name="t"))) == {"content": []}
    assert scripted.told[-1].params["inputResponses"] == {"a": {"action": "cancel"}}


async def test_all_answers_are_closed_though_one_of_them_refuses() -> None:
    class Stubborn(Told):
        async def aclose(self) -> None:
            await super().aclose()
            raise RuntimeError("no")

    good, bad = (kind(request("ping"), None, CALLER, "") for kind in (Told, Stubborn))
    with pytest.raises(RuntimeError):
        await close_all(good, None, bad)
    assert good.closed
    assert bad.closed
