"""What a client may rely on whichever way it comes in: HTTP/1.1, HTTP/1.1 over TLS, HTTP/2."""

from __future__ import annotations

import hashlib
import json

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import (
    ApiKey,
    ApiKeyStrategy,
    Bounds,
    ClientBounds,
    Gateway,
    HttpTarget,
    Route,
    Service,
    Table,
)
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import FRONTS, Client, Front, InProcess, open_gateway, simple_table
from tests.support.storm import wait_until

pytestmark = pytest.mark.parametrize("front", FRONTS)

ECHO = wire.call("echo", text="hi")
JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
KEY = "gwk_0123456789abcdefghij"


def post(headers: dict[str, str] | None = None, path: str = "/mcp", body: bytes = b"{}") -> bytes:
    return wire.http_request("POST", path, JSON | (headers or {}), body)


def without(request: bytes, *names: bytes) -> bytes:
    """The request without the lines of these fields."""
    lines = request.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in names)


def scheme(front: Front) -> str:
    return "http" if front == "http/1.1" else "https"


async def test_a_call_is_answered(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        for number in range(3):
            reply = await client.ask(wire.modern("tools/call", ECHO, id=number))
            assert reply.status == 200
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cache-control"] == "no-store"
            assert len(reply.headers["x-request-id"]) >= 8
            assert reply.json()["id"] == number
    assert server.counters["finished"] == 3


async def test_a_legacy_session_lives_on_connections_of_any_kind(
    front: Front, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        opened = await client.ask(wire.initialize())
        session = opened.headers["mcp-session-id"]
    async with gateway.connect("http/1.1") as client:
        reply = await client.ask(wire.legacy("tools/call", ECHO, session=session))
        assert reply.json()["result"]["content"][0]["text"] == "hi"
    async with gateway.connect(front) as client:
        deleted = await client.ask(wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session}))
        assert (deleted.status, deleted.body) == (204, b"")
    assert len(gateway.registry) == 0


REFUSED = {
    "a foreign host": (post({"Host": "evil.test"}), 421),
    "a foreign host with our port": (post({"Host": "evil.test:80"}), 421),
    "a foreign origin": (post({"Origin": "https://evil.test"}), 403),
    "the null origin": (post({"Origin": "null"}), 403),
    "an unknown path": (post(path="/other"), 404),
    "a trailing slash": (post(path="/mcp/"), 404),
    "an encoded letter": (post(path="/%6dcp"), 404),
    "a dot segment": (post(path="/x/../mcp"), 404),
    "two slashes": (post(path="//mcp"), 404),
    "a fragment": (post(path="/mcp#x"), 400),
    "PUT": (wire.http_request("PUT", "/mcp", JSON), 405),
    "PATCH with a body": (wire.http_request("PATCH", "/mcp", JSON, b"{}"), 405),
    "no event streams": (post({"Accept": "application/json"}), 406),
    "no JSON": (post({"Accept": "text/event-stream"}), 406),
    "text": (post({"Content-Type": "text/plain"}), 415),
    "no media type": (without(post(), b"content-type"), 415),
    "compression": (post({"Content-Encoding": "gzip"}), 415),
    "a long head": (post({"X-Long": "x" * 33_000}), 431),
    "many fields": (post({f"X-{number}": "" for number in range(101)}), 431),
    "a long target": (post(path="/mcp?" + "x" * 9000), 414),
    "two media types": (
        post().replace(b"Content-Type", b"Content-Type: application/json\r\nContent-Type"),
        400,
    ),
    "a declared body that is too large": (post(body=b" " * 5_000_000), 413),
    "no JSON-RPC": (post({"MCP-Protocol-Version": "2026-07-28"}), 400),
    "broken JSON": (post(body=b"{"), 400),
    "another expectation": (post({"Expect": "a miracle"}), 417),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refusal_is_a_well_formed_answer(
    front: Front, case: str, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    request, status = REFUSED[case]
    async with gateway.connect(front) as client:
        reply = await client.ask(request)
    assert reply.status == status
    assert reply.headers["x-content-type-options"] == "nosniff"
    error = reply.json()["error"]
    assert isinstance(error["message"], str)
    if status not in (400, 414, 417, 431):  # those may be about a head in which nothing can be trusted
        assert error["data"]["correlationId"] == reply.headers["x-request-id"]
    assert server.counters["started"] == 0
    if status == 405:
        assert reply.headers["allow"] == "GET, POST, DELETE, OPTIONS"


async def test_a_refusal_does_not_end_a_connection_that_is_in_order(
    front: Front, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        for path, status in (("/nowhere", 404), ("/mcp", 400), ("/nowhere", 404)):
            assert (await client.ask(post(path=path))).status == status
        assert (await client.ask(wire.modern("tools/call", ECHO))).status == 200


async def test_head_is_answered_without_a_body(front: Front, gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect(front) as client:
        await client.send(wire.http_request("HEAD", "/mcp", {}))
        if front == "http/2":
            reply = await client.reply()
            assert (reply.status, reply.body) == (405, b"")
        else:
            answer = bytes(await client.stream.receive_some())
            assert answer.startswith(b"HTTP/1.1 405 ")
            assert answer.endswith(b"\r\n\r\n")
            assert b"content-length: 0" not in answer


async def test_a_page_of_our_own_address_may_call(front: Front, gateway: InProcess, autojump_clock: MockClock) -> None:
    origin = f"{scheme(front)}://gateway.test"
    async with gateway.connect(front) as client:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type, mcp-param-region",
        }
        preflight = await client.ask(wire.http_request("OPTIONS", "/mcp", asked))
        assert (preflight.status, preflight.body) == (204, b"")
        assert preflight.headers["access-control-allow-origin"] == origin
        assert "mcp-param-region" in preflight.headers["access-control-allow-headers"]
        reply = await client.ask(wire.modern("tools/call", ECHO, headers={"Origin": origin}))
        assert reply.headers["access-control-allow-origin"] == origin
        assert "Mcp-Session-Id" in reply.headers["access-control-expose-headers"]
        assert reply.headers["vary"] == "Origin"


async def test_options_without_an_origin_lists_the_methods(
    front: Front, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        reply = await client.ask(wire.http_request("OPTIONS", "/mcp", {}))
    assert (reply.status, reply.headers["allow"]) == (204, "GET, POST, DELETE, OPTIONS")
    assert "access-control-allow-origin" not in reply.headers


async def test_the_correlation_id_goes_in_and_out(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        reply = await client.ask(wire.modern("tools/call", ECHO, headers={"X-Request-Id": "from-the-client-1"}))
    assert reply.headers["x-request-id"] == "from-the-client-1"
    assert server.seen[-1]["headers"]["x-request-id"] == "from-the-client-1"


def with_keys(port: int) -> Table:
    table = simple_table(port)
    ring = ApiKeyStrategy("keys", (ApiKey("alice", hashlib.sha256(KEY.encode()).digest()),))
    return attrs.evolve(table, routes={"/mcp": Route("/mcp", ("web",), ("keys",))}, strategies={"keys": ring})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"Authorization": f"bearer {KEY}"}, 200),
        ({"X-API-Key": KEY}, 200),
        ({}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": f"Bearer {KEY}x"}, 401),
        ({"X-API-Key": ""}, 401),
        ({"Authorization": f"Bearer {KEY}", "X-API-Key": KEY}, 401),
    ],
)
async def test_credentials(
    front: Front, headers: dict[str, str], status: int, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with open_gateway(with_keys(server.port)) as gateway, gateway.connect(front) as client:
        reply = await client.ask(wire.modern("tools/call", ECHO, headers=headers))
        assert reply.status == status
    assert server.counters["started"] == (status == 200)
    if status == 401:
        assert reply.headers["www-authenticate"].startswith("Bearer ")
    for seen in server.seen:
        assert KEY not in json.dumps(seen)


async def test_two_of_one_credential_are_none(front: Front, server: CountingServer, autojump_clock: MockClock) -> None:
    request = wire.modern("tools/call", ECHO, headers={"Authorization": f"Bearer {KEY}"})
    twice = request.replace(b"Authorization", f"Authorization: Bearer {KEY}\r\nAuthorization".encode())
    async with open_gateway(with_keys(server.port)) as gateway, gateway.connect(front) as client:
        assert (await client.ask(twice)).status in (400, 401)
    assert server.counters["started"] == 0


async def test_a_large_body_of_nobody_is_not_waited_for(
    front: Front, server: CountingServer, autojump_clock: MockClock
) -> None:
    """Without credentials the answer is there before the body is."""
    request = post(body=b" " * 1_000_000)
    async with open_gateway(with_keys(server.port)) as gateway, gateway.connect(front) as client:
        await start(client, request)
        started = trio.current_time()
        assert (await client.head()).status == 401
        assert trio.current_time() - started < 0.1


async def test_an_answer_may_overtake_the_body(front: Front, gateway: InProcess, autojump_clock: MockClock) -> None:
    """What is left of the body harms neither the answer nor, where requests are independent, the others."""
    async with gateway.connect(front) as client:
        reply = await client.ask(post(path="/nowhere", body=b" " * 500_000))
        assert reply.status == 404
        if front == "http/2":
            assert (await client.ask(wire.modern("tools/call", ECHO))).status == 200


async def test_a_body_without_end_is_cut(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        started = trio.current_time()
        await start(client, wire.modern("tools/call", ECHO), keep=5)
        reply = await client.reply()
        assert reply.status == 408
        assert trio.current_time() - started == pytest.approx(10.0, abs=0.2)
    assert server.counters["started"] == 0
    assert gateway.metrics.refusals["too_slow"] == 1


async def test_an_idle_connection_is_closed_without_a_word(
    front: Front, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        assert (await client.ask(wire.modern("tools/call", ECHO))).status == 200
        started = trio.current_time()
        assert await client.closed()
        assert trio.current_time() - started == pytest.approx(75.0, abs=0.2)


async def test_silence_is_filled_with_comments(front: Front, gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect(front) as client:
        await client.send(wire.modern("tools/call", wire.call("progress", steps=1, delay=50)))
        started = trio.current_time()
        head = await client.head()
        assert trio.current_time() - started == pytest.approx(15.0, abs=0.1)
        assert head.headers["content-type"] == "text/event-stream"
        body = await client.rest()
        assert trio.current_time() - started == pytest.approx(50.0, abs=0.1)
    assert [line[:1] for line in body.split(b"\n\n")] == [b":", b":", b":", b"d", b""]


async def test_a_get_stream_is_kept_alive_too(front: Front, gateway: InProcess, autojump_clock: MockClock) -> None:
    async with gateway.connect(front) as client, gateway.connect(front) as other:
        session = (await other.ask(wire.initialize())).headers["mcp-session-id"]
        await client.send(wire.get_stream(session))
        assert (await client.head()).status == 200
        await trio.sleep(46)
        assert (await other.ask(wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session}))).status == 204
        assert (await client.rest()).count(b":\n\n") == 3


async def test_a_client_that_leaves_cancels_its_call(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        await client.send(wire.modern("tools/call", wire.call("hang")))
        await wait_until(lambda: server.script.counters.in_flight == 1)
        await trio.sleep(1)
    left = trio.current_time()
    await wait_until(lambda: server.script.counters.cancelled == 1)
    assert trio.current_time() - left < 0.1


async def test_a_client_that_leaves_in_mid_stream_cancels_its_call(
    front: Front, gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        await client.send(wire.modern("tools/call", wire.call("progress", steps=100, delay=1), progress="p"))
        assert (await client.head()).status == 200
        assert await client.event() is not None
    left = trio.current_time()
    await wait_until(lambda: server.script.counters.in_flight == 0)
    assert trio.current_time() - left < 0.1


@pytest.mark.parametrize("stop", ["calls", "nothing"])
async def test_a_drain_lets_calls_finish(
    front: Front, stop: str, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        if stop == "calls":
            await client.send(wire.modern("tools/call", wire.call("progress", steps=1, delay=5)))
        else:
            assert (await client.ask(wire.modern("tools/call", ECHO))).status == 200
        await trio.sleep(1)
        gateway.drain()
        if stop == "calls":
            reply = await client.reply()
            assert reply.status == 200
            assert "result" in reply.json()
        started = trio.current_time()
        assert await client.closed()
        assert trio.current_time() - started < 1.0
        for listener in (gateway.plain, gateway.secure, gateway.tcp):
            await listener.closed.wait()


async def test_a_call_on_its_way_into_a_drain_is_refused(
    front: Front, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        assert (await client.ask(wire.modern("tools/call", ECHO))).status == 200
        gateway.drain()
        reply = await client.ask(wire.modern("tools/call", ECHO))
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        assert reply.json()["error"]["code"] == -31009
        assert await client.closed()


async def test_a_drain_ends_standing_streams_politely(
    front: Front, gateway: InProcess, autojump_clock: MockClock
) -> None:
    listen = wire.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="sub")
    async with gateway.connect(front) as client:
        await client.send(listen)
        assert (await client.head()).status == 200
        acknowledged = await client.event()
        assert acknowledged is not None
        assert acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "sub"
        gateway.drain()
        last = await client.event()
        assert last is not None
        assert last["id"] == "sub"
        assert last["result"]["resultType"] == "complete"
        assert await client.event() is None


async def test_what_is_left_after_the_drain_is_told(
    front: Front, gateway: InProcess, autojump_clock: MockClock
) -> None:
    async with gateway.connect(front) as client:
        await client.send(wire.modern("tools/call", wire.call("hang")))
        await trio.sleep(1)
        gateway.drain()
        gateway.exchange.end_all()
        reply = await client.reply()
        assert (reply.status, reply.json()["error"]["code"]) == (503, -31009)


async def test_there_is_an_end_to_connections(front: Front, server: CountingServer, autojump_clock: MockClock) -> None:
    table = simple_table(server.port, Gateway(max=ClientBounds(connections=1)))
    async with open_gateway(table) as gateway:
        async with gateway.connect_tcp() as first:
            assert (await first.ask(wire.modern("tools/call", ECHO))).status == 200
            if front == "http/1.1":
                async with gateway.connect(front) as second:
                    reply = await second.reply()
                    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            else:
                with pytest.raises((trio.BrokenResourceError, EOFError)):
                    async with gateway.connect(front):
                        pass
            assert gateway.metrics.refusals["busy"] == 1
        await gateway.settle()
        async with gateway.connect(front) as third:
            assert (await third.ask(wire.modern("tools/call", ECHO))).status == 200


async def test_a_call_has_its_own_deadline(front: Front, server: CountingServer, autojump_clock: MockClock) -> None:
    service = Service("web", HttpTarget("", "http", "", 0, ""), max=Bounds())
    service = attrs.evolve(service, timeouts=attrs.evolve(service.timeouts, call=7.0))
    async with open_gateway(simple_table(server.port, service=service)) as gateway, gateway.connect(front) as client:
        started = trio.current_time()
        reply = await client.ask(wire.modern("tools/call", wire.call("hang"), id="late"))
        assert trio.current_time() - started == pytest.approx(7.0, abs=0.1)
        assert reply.status == 504
        assert (reply.json()["id"], reply.json()["error"]["code"]) == ("late", -31002)


async def start(client: Client, request: bytes, keep: int = 0) -> None:
    """Send the head of a request and `keep` bytes of its body."""
    head, end, body = request.partition(b"\r\n\r\n")
    if isinstance(client, wire.WireClient):
        await client.send(head + end + body[:keep])
    else:
        stream = await client.request(head + end, end=False)
        if keep:
            await client.send_body(stream.number, body[:keep], end=False)
