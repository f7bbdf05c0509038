"""What a service is asked in the gateway's own name, and what is made of its answers."""

from __future__ import annotations

import itertools
import json

import pytest
from trio.testing import MockClock

from gatewayd.catalog.asking import Asker, NoSuchMethod
from gatewayd.catalog.kinds import PROMPTS, TOOLS
from gatewayd.protocol.jsonrpc import Notification, Result, RpcError
from gatewayd.upstreams.channel import Answer, UpstreamBroke, UpstreamDied, UpstreamError, UpstreamUnreachable
from gatewayd.upstreams.service import Caller
from tests.catalog.scene import Fake, Heard, fake, paged, tool

PREFIX = "io.modelcontextprotocol/"


def asker(service: Fake) -> Asker:
    return Asker(service, Caller("alice", session="s"), b'{"roots":{}}', itertools.count(7))


async def test_requests_say_who_asks_on_whose_behalf() -> None:
    service = fake("a", "x")
    assert (await asker(service).discover()).has("tools")
    (heard,) = service.heard
    assert heard.request.id == 7
    assert heard.caller == Caller("alice", session="s")
    assert heard.params["_meta"][PREFIX + "clientCapabilities"] == {"roots": {}}
    assert heard.params["_meta"][PREFIX + "protocolVersion"] == "2026-07-28"
    assert heard.params["_meta"][PREFIX + "clientInfo"]["name"] == "gatewayd"
    assert heard.closed


async def test_a_list_is_read_to_its_end() -> None:
    service = fake()
    service.scripts["tools/list"] = paged("tools", 2, 5, lambda number: tool(f"t{number}"))
    pages = await asker(service).list(TOOLS)
    assert [json.loads(raw)["name"] for raw in pages.items] == ["t0", "t1", "t2", "t3", "t4"]
    assert [heard.params.get("cursor") for heard in service.heard] == [None, "2", "4"]
    assert not service.open


async def test_what_is_said_on_the_way_to_an_answer_is_passed_over() -> None:
    service = fake()

    def chatty(heard: Heard) -> None:
        heard.notify("notifications/message", level="info", data="x")
        heard.result(tools=[])

    service.scripts["tools/list"] = chatty
    assert (await asker(service).list(TOOLS)).items == []


async def test_a_service_without_the_method_has_an_empty_list() -> None:
    service = fake()
    service.scripts["prompts/list"] = lambda heard: heard.fail(-32601)
    service.scripts["server/discover"] = lambda heard: heard.fail(-32601)
    assert (await asker(service).list(PROMPTS)).items == []
    with pytest.raises(NoSuchMethod):
        await asker(service).discover()


@pytest.mark.parametrize("answer", [b"{}", b'{"tools":7}', b'{"tools":[],"tools":[]}'])
async def test_a_list_that_nobody_can_read_is_an_error(answer: bytes) -> None:
    service = fake()
    service.scripts["tools/list"] = lambda heard: heard.say(Result(heard.request.id, answer))
    with pytest.raises(UpstreamBroke):
        await asker(service).list(TOOLS)


async def test_an_introduction_that_nobody_can_read_is_an_error() -> None:
    service = fake()
    service.scripts["server/discover"] = lambda heard: heard.say(Result(heard.request.id, b'{"a":1,"a":2}'))
    with pytest.raises(UpstreamBroke):
        await asker(service).discover()


async def test_a_refusal_is_for_the_log_and_not_for_clients() -> None:
    service = fake()
    service.scripts["tools/list"] = lambda heard: heard.fail(-32603, "secret " + "x" * 1000)
    with pytest.raises(UpstreamBroke) as caught:
        await asker(service).list(TOOLS)
    assert "secret" not in caught.value.reason
    assert "secret" in caught.value.detail
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize("error", [UpstreamUnreachable("no"), UpstreamDied("gone")])
async def test_errors_of_the_way_there_are_passed_on(error: UpstreamError) -> None:
    service = fake()
    service.dead = error
    with pytest.raises(type(error)):
        await asker(service).list(TOOLS)


async def test_an_answer_that_ends_early_is_an_error(autojump_clock: MockClock) -> None:
    service = fake()
    service.scripts["tools/list"] = lambda heard: heard.say(Notification("notifications/message"), None)
    with pytest.raises(UpstreamDied):
        await asker(service).list(TOOLS)
    assert not service.open


@pytest.mark.parametrize(("code", "kind"), [(-32601, NoSuchMethod), (-32603, UpstreamBroke)])
async def test_a_transport_that_refuses_is_as_a_service_that_does(code: int, kind: type[UpstreamError]) -> None:
    class Refusing(Fake):
        async def request(self, *args: object) -> Answer:
            raise RpcError(code, "no")

    with pytest.raises(kind):
        await asker(Refusing(fake().service)).discover()


async def test_changes_are_listened_to() -> None:
    service = fake()
    answer = await asker(service).listen(["tools", "resources"])
    assert service.heard[0].params["notifications"] == {"toolsListChanged": True, "resourcesListChanged": True}
    await answer.aclose()
