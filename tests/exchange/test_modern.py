"""MCP 2026-07-28 through the gateway: checked against its headers, relayed, and otherwise untouched."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.protocol.versions import SUPPORTED
from tests.support import wire
from tests.support.counting_server import CountingServer, open_counting_server
from tests.support.inprocess import InProcess, open_gateway, simple_table
from tests.support.scripted import ScriptedServer

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
META = {VERSION: wire.MODERN, CAPABILITIES: {}}
FIELDS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": wire.MODERN,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}


def raw(body: str, **changed: str | None) -> bytes:
    """A `tools/call` of `echo` with other headers or another body."""
    fields = {**FIELDS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return wire.http_request(
        "POST", "/mcp", {name: value for name, value in fields.items() if value is not None}, body.encode()
    )


def call(ident: Any = 1, meta: dict[str, Any] | None = META, name: str = "echo", **arguments: Any) -> str:
    params: dict[str, Any] = {"name": name, "arguments": arguments or {"text": "hi"}}
    if meta is not None:
        params["_meta"] = meta
    return json.dumps({"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params})


LADDER = {
    "no JSON": (raw("{"), 400, -32700),
    "two members of one name": (raw('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}'), 400, -32700),
    "a batch": (raw(f"[{call()}]"), 400, -32600),
    "no JSON-RPC": (raw("{}"), 400, -32600),
    "an id of null": (raw(call(None)), 400, -32600),
    "a fractional id": (raw(call(1.5)), 400, -32600),
    "an answer": (raw('{"jsonrpc":"2.0","id":1,"result":{}}'), 400, -32600),
    "no _meta": (raw(call(meta=None)), 400, -32602),
    "no version in _meta": (raw(call(meta={CAPABILITIES: {}})), 400, -32602),
    "no capabilities in _meta": (raw(call(meta={VERSION: wire.MODERN})), 400, -32602),
    "another version in the body": (raw(call(meta={VERSION: "2025-11-25", CAPABILITIES: {}})), 400, -32020),
    "no method in the headers": (raw(call(), Mcp_Method=None), 400, -32020),
    "another method in the headers": (raw(call(), Mcp_Method="tools/list"), 400, -32020),
    "no name in the headers": (raw(call(), Mcp_Name=None), 400, -32020),
    "another name in the headers": (raw(call(), Mcp_Name="hang"), 400, -32020),
    "a name in another case": (raw(call(), Mcp_Name="Echo"), 400, -32020),
    "a broken encoding of the name": (raw(call(), Mcp_Name="=?base64?ZWNobw?="), 400, -32020),
    "an unknown version": (raw(call(), MCP_Protocol_Version="2099-01-01"), 400, -32022),
    "a method of the other era": (
        raw(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": META}}),
            Mcp_Method="ping",
            Mcp_Name=None,
        ),
        404,
        -32601,
    ),
}


@pytest.mark.parametrize("case", LADDER)
async def test_a_request_that_contradicts_itself_is_refused(
    case: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    request, status, code = LADDER[case]
    async with gateway.connect_http1() as client:
        reply = await client.ask(request)
        assert (reply.status, reply.json()["error"]["code"]) == (status, code)
        if code == -32022:
            assert wire.MODERN in reply.json()["error"]["data"]["supported"]
    assert server.counters["started"] == 0


@pytest.mark.parametrize("header", [b"Mcp-Name: echo", b"Mcp-Method: tools/call", b"MCP-Protocol-Version: 2026-07-28"])
async def test_a_repeated_header_is_a_contradiction(
    header: bytes, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        reply = await client.ask(raw(call()).replace(header, header + b"\r\n" + header))
        assert (reply.status, reply.json()["error"]["code"]) == (400, -32020)
    assert server.counters["started"] == 0


IDS = [1, 0, -7, 2**53 + 1, -(2**63), 10**40, "1", "", "é\u2028\n", "x" * 300]


@pytest.mark.parametrize("ident", IDS)
async def test_an_id_comes_back_as_it_was(ident: int | str, gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        for request in (raw(call(ident)), raw(call(ident, name="nope"), Mcp_Name="nope")):
            answered = (await client.ask(request)).json()["id"]
            assert (answered, type(answered)) == (ident, type(ident))


async def test_equal_ids_at_once_do_not_meet(gateway: InProcess, autojump_clock: MockClock) -> None:
    got: dict[str, wire.Json] = {}

    async def ask(text: str) -> None:
        async with gateway.connect_http1() as client:
            slow = wire.call("progress", steps=2, delay=1)
            await client.send(wire.modern("tools/call", slow, id=1, progress=text))
            await client.head()
            got[text] = {"events": [event async for event in client.events()]}

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(ask, f"token {number}")
    for text, seen in got.items():
        *progress, final = seen["events"]
        assert [event["params"]["progressToken"] for event in progress] == [text, text]
        assert final["id"] == 1


@pytest.mark.parametrize("token", ["t", 7, 2**60])
async def test_progress_has_the_token_of_the_client(
    token: str | int, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        await client.send(wire.modern("tools/call", wire.call("progress", steps=3), progress=token))
        assert (await client.head()).headers["content-type"] == "text/event-stream"
        events = [event async for event in client.events()]
    assert [event["params"]["progressToken"] for event in events[:-1]] == [token] * 3
    assert server.seen[-1]["message"]["params"]["_meta"]["progressToken"] != token


async def test_without_a_token_there_is_no_progress(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        reply = await client.ask(wire.modern("tools/call", wire.call("progress", steps=3)))
        assert reply.headers["content-type"] == "application/json"


async def test_what_the_gateway_does_not_know_goes_through(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    meta = {**META, "com.example/trace": {"deep": [1, 2.5, None]}}
    request = raw(call(meta=meta, text="hi", more={"b": 1, "a": 2**70}), Mcp_Param_Region="eu=west")
    async with gateway.connect_http1() as client:
        assert (await client.ask(request)).status == 200
    [seen] = [seen for seen in server.seen if seen["message"]["method"] == "tools/call"]
    assert seen["headers"]["mcp-param-region"] == "eu=west"
    assert seen["message"]["params"]["_meta"] == meta
    assert seen["message"]["params"]["arguments"] == {"text": "hi", "more": {"b": 1, "a": 2**70}}


async def test_what_is_the_clients_own_stays_here(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    own = {"Authorization": "Bearer of-the-client", "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4", "X-API-Key": "k"}
    async with gateway.connect_http1() as client:
        del own["X-API-Key"]
        await client.ask(wire.modern("tools/call", wire.call("echo", text="hi"), headers=own))
    for seen in server.seen:
        assert not {name.lower() for name in own} & set(seen["headers"])


async def test_discovery_offers_all_that_the_gateway_speaks(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        result = (await client.ask(wire.modern("server/discover"))).json()["result"]
    assert result["supportedVersions"] == list(SUPPORTED)
    assert "tools" in result["capabilities"]


async def test_input_required_and_its_state_pass_through(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        asked = (await client.ask(wire.modern("tools/call", wire.call("ask", message="Well?")))).json()["result"]
        assert asked["resultType"] == "input_required"
        answer = {"q": {"action": "accept", "content": {"answer": "teal"}}}
        again = wire.call("ask", message="Well?") | {"inputResponses": answer, "requestState": asked["requestState"]}
        done = (await client.ask(wire.modern("tools/call", again))).json()["result"]
    assert json.loads(done["content"][0]["text"]) == answer["q"]


async def test_subscriptions_carry_the_clients_id(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    listen = wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="mine")
    async with gateway.connect_http1() as client, gateway.connect_http1() as other:
        await client.send(listen)
        assert (await client.head()).status == 200
        first = await client.event()
        await other.ask(wire.modern("tools/call", wire.call("notify")))
        second = await client.event()
        assert first is not None
        assert second is not None
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert second["method"] == "notifications/tools/list_changed"
        assert [event["params"]["_meta"][SUBSCRIPTION] for event in (first, second)] == ["mine", "mine"]
        await trio.sleep(300)  # no deadline of calls ends it
        assert server.counters["streams"] == 1
    await gateway.settle()
    with trio.fail_after(5):
        while server.counters["streams"]:
            await trio.sleep(0.01)


async def test_notifications_of_clients_are_taken_and_go_nowhere(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    body = json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    async with gateway.connect_http1() as client:
        reply = await client.ask(raw(body, Mcp_Method="notifications/cancelled", Mcp_Name=None))
    assert (reply.status, reply.body) == (202, b"")
    assert not server.seen


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_the_modern_era_knows_post_only(verb: str, gateway: InProcess, autojump_clock: MockClock) -> None:
    fields = {"MCP-Protocol-Version": wire.MODERN, "Accept": "text/event-stream"}
    async with gateway.connect_http1() as client:
        reply = await client.ask(wire.http_request(verb, "/mcp", fields))
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


async def test_a_session_id_means_nothing_here(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        reply = await client.ask(raw(call(), Mcp_Session_Id="made-up", Last_Event_ID="1"))
    assert reply.status == 200
    assert "mcp-session-id" not in reply.headers


async def test_an_error_of_the_upstream_is_passed_on(gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect_http1() as client:
        reply = await client.ask(raw(call(name="nope"), Mcp_Name="nope"))
    assert (reply.status, reply.json()["error"]) == (400, {"code": -32602, "message": "no such tool"})


async def test_a_service_of_the_other_era_serves_just_the_same(autojump_clock: MockClock) -> None:
    async with open_counting_server(eras="legacy") as server:
        async with open_gateway(simple_table(server.port)) as gateway, gateway.connect_http1() as client:
            reply = await client.ask(raw(call()))
        assert (reply.status, reply.json()["result"]["resultType"]) == (200, "complete")
        assert server.counters["started"] == 1


def annotated(name: str, *headers: object) -> dict[str, Any]:
    properties = {f"p{number}": {"type": "string", "x-mcp-header": header} for number, header in enumerate(headers)}
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}, "x": 1.0}


class Listing(ScriptedServer):
    """Lists these tools."""

    tools: list[dict[str, Any]]

    def _tools(self, params: dict[str, Any], modern: bool) -> dict[str, Any]:
        return {"tools": self.tools, "nextCursor": "more"}


@pytest.mark.parametrize(
    "bad", [annotated("bad", "no token"), annotated("bad", 7), annotated("bad", "A", "a"), annotated("bad", "")]
)
async def test_a_tool_that_no_client_can_call_is_not_shown_and_others_keep_every_byte(
    bad: dict[str, Any], gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    good = [annotated("region", "Region"), annotated("plain"), annotated("two", "A", "B")]
    script = server.script = Listing()
    async with gateway.connect_http1() as client:
        script.tools = [good[0], bad, *good[1:]]
        shown = await client.ask(wire.modern("tools/list"))
        script.tools = good
        untouched = await client.ask(wire.modern("tools/list"))
    result = shown.json()["result"]
    assert (result["resultType"], result["nextCursor"], result["tools"]) == ("complete", "more", good)
    for one in good:
        assert json.dumps(one).encode() in shown.body
    assert json.dumps(good).encode() in untouched.body
