"""A service over HTTP: what it is sent, and how a session with it is opened."""

from __future__ import annotations

import json

import pytest
import trio

from gatewayd.protocol.codes import UNSUPPORTED_VERSION
from gatewayd.protocol.jsonrpc import Failure, Request, Result
from gatewayd.routes.table import Service
from gatewayd.upstreams.channel import (
    Refused,
    UpstreamBroke,
    UpstreamDied,
    UpstreamError,
    UpstreamUnreachable,
    WrongEra,
)
from gatewayd.upstreams.http import open_http_upstream
from gatewayd.upstreams.origin import HttpOrigin
from gatewayd.upstreams.pool import Pool
from gatewayd.upstreams.service import Caller
from tests.support.counting_http import Incoming
from tests.support.counting_server import open_counting_server
from tests.upstreams.origin import Visit, failure, messages, open_upstream, reply, result, target

VERSION = "2026-07-28"
CALLER = Caller("staff:alice", ((b"x-request-id", b"abc"), (b"mcp-param-region", b"eu")))
INITIALIZE = Request(3, "initialize", b'{"protocolVersion":"2025-11-25","capabilities":{}}')
DISCOVERED = b'{"supportedVersions":["2026-07-28"]}'
CHOSEN = b'{"protocolVersion":"2025-06-18","capabilities":{}}'


async def modern(visit: Visit) -> None:
    """Answers every request in the modern era."""
    while True:
        request = await visit.hear()
        await visit.say(reply(result(json.loads(request.body)["id"], DISCOVERED)))


async def sent(message: Request, name: str | None = None, *, bearer: str | None = None) -> Incoming:
    """The HTTP request that a modern request becomes."""
    async with open_upstream(modern, bearer=bearer) as (upstream, origin):
        await messages(await upstream.request(message, VERSION, name, CALLER))
        return origin.heard[-1]


async def test_a_modern_request_says_in_its_fields_what_it_says_in_its_body() -> None:
    request = await sent(Request(9, "tools/call", b'{"name":"t"}'), "t")
    assert (request.verb, request.path) == ("POST", "/mcp")
    assert json.loads(request.body) == {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "t"}}
    fields = request.headers
    assert fields["mcp-protocol-version"] == VERSION
    assert fields["mcp-method"] == "tools/call"
    assert fields["mcp-name"] == "t"
    assert fields["x-request-id"] == "abc"
    assert fields["mcp-param-region"] == "eu"
    assert fields["content-type"] == "application/json"
    assert fields["accept"] == "application/json, text/event-stream"
    assert fields["accept-encoding"] == "identity"
    assert fields["host"].startswith("127.0.0.1:")
    assert "authorization" not in fields
    assert "mcp-session-id" not in fields


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (None, None),
        ("plain", "plain"),
        (" spaces ", "=?base64?IHNwYWNlcyA=?="),
        ("\u00fc", "=?base64?w7w=?="),
        ("two\r\nlines: x", "=?base64?dHdvDQpsaW5lczogeA==?="),
    ],
)
async def test_any_name_fits_into_a_field(name: str | None, field: str | None) -> None:
    assert (await sent(Request(9, "tools/list"), name)).headers.get("mcp-name") == field


async def test_the_service_s_own_credential_goes_to_the_service() -> None:
    request = await sent(Request(9, "tools/list"), bearer="s3cret")
    assert request.headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("scheme", "host", "port", "authority"),
    [
        ("http", "web", 80, b"web"),
        ("http", "web", 8080, b"web:8080"),
        ("https", "web", 443, b"web"),
        ("https", "web", 80, b"web:80"),
        ("http", "::1", 80, b"[::1]"),
        ("http", "::1", 81, b"[::1]:81"),
    ],
)
def test_the_host_field_names_the_port_where_it_is_not_the_usual_one(
    scheme: str, host: str, port: int, authority: bytes
) -> None:
    where = target(port, scheme, host)
    origin = HttpOrigin(Service("web", where), where, Pool(where, connect_timeout=1, trust=None))
    assert b"\r\nhost: %b\r\n" % authority in origin._heads["POST"]


async def test_the_credential_is_shown_nowhere() -> None:
    async with open_upstream(modern, bearer="s3cret") as (upstream, _):
        assert "s3cret" not in repr(upstream) + repr(upstream.service) + repr(upstream.statistics())


async def test_what_administrators_see() -> None:
    async with open_upstream(modern) as (upstream, origin):
        before = upstream.statistics()
        assert before == {
            "kind": "http",
            "url": f"http://127.0.0.1:{origin.port}/mcp",
            "connections": 0,
            "eras": "not asked yet",
        }
        await messages(await upstream.request(Request(1, "tools/list"), VERSION, None, CALLER))
        assert upstream.statistics() == {**before, "connections": 1, "eras": "2026-07-28"}
        assert upstream.processes().running == 0


async def test_the_field_of_the_probe_tell_nothing_of_the_caller() -> None:
    async with open_upstream(modern) as (upstream, origin):
        await messages(await upstream.request(Request(1, "tools/list"), VERSION, None, CALLER))
        probe, request = origin.heard
        assert probe.headers["mcp-method"] == "server/discover"
        assert "mcp-param-region" not in probe.headers
        assert request.headers["mcp-method"] == "tools/list"


async def test_a_legacy_service_is_no_place_for_a_modern_request() -> None:
    async with (
        open_counting_server(eras="legacy") as server,
        open_http_upstream(Service("web", target(server.port))) as upstream,
    ):
        with pytest.raises(WrongEra) as caught:
            await upstream.request(Request(1, "tools/list"), VERSION, None, CALLER)
        assert caught.value.supported[0] == "2025-11-25"
        assert upstream.pool.open == upstream.pool.idle


async def test_a_session_is_opened_with_the_revision_that_the_service_chose() -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(reply(result(3, CHOSEN), 200, "application/json", "mcp-session-id: s-1"))
        await visit.answer(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")

    async with open_upstream(script) as (upstream, origin):
        opened = await upstream.open_legacy(INITIALIZE, CALLER)
        assert (opened.version, opened.result) == ("2025-06-18", CHOSEN)
        first = origin.heard[0]
        assert first.headers["x-request-id"] == "abc"
        assert "mcp-protocol-version" not in first.headers
        assert "mcp-session-id" not in first.headers
        await opened.peer.aclose()
        assert origin.heard[1].verb == "DELETE"
        assert origin.heard[1].headers["mcp-session-id"] == "s-1"
        assert origin.heard[1].headers["mcp-protocol-version"] == "2025-06-18"


def supported(*versions: str) -> bytes:
    return failure(b"3", UNSUPPORTED_VERSION, json.dumps({"supported": versions}).encode())


@pytest.mark.parametrize(
    ("wire", "error", "reason"),
    [
        (reply(result(3, b'{"protocolVersion":"1999-01-01"}')), UpstreamBroke, "not offered"),
        (reply(result(3, b'{"protocolVersion":"2026-07-28"}')), WrongEra, "without sessions"),
        (reply(result(3, b'{"protocolVersion":null}')), UpstreamBroke, "not offered"),
        (reply(result(3, b"{}")), UpstreamBroke, "not offered"),
        (
            reply(result(3, b'{"protocolVersion":"2025-06-18","protocolVersion":"2025-11-25"}')),
            UpstreamBroke,
            "nobody can read",
        ),
        (
            reply(result(3, CHOSEN), 200, "application/json", "mcp-session-id: a", "mcp-session-id: b"),
            UpstreamBroke,
            "proper HTTP",
        ),
        (reply(b"", 404, "text/plain"), UpstreamBroke, "status 404"),
        (reply(supported("2026-07-28"), 400), WrongEra, "without sessions"),
        (reply(supported("1999-01-01"), 400), Refused, "no"),
        (reply(failure(b"3", -32602)), Refused, "no"),
        (reply(failure(b"null", -32600), 400), Refused, "no"),
        (b"", UpstreamDied, "closed"),
    ],
)
async def test_a_session_that_cannot_be_opened_leaves_nothing(
    wire: bytes, error: type[UpstreamError], reason: str
) -> None:
    async with open_upstream(lambda visit: visit.answer(wire)) as (upstream, _):
        with pytest.raises(error) as caught:
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert reason in caught.value.reason


async def test_a_refusal_of_the_service_is_passed_on_without_our_id() -> None:
    wire = reply(failure(b"3", -32602, b'{"why":1}'))
    async with open_upstream(lambda visit: visit.answer(wire)) as (upstream, _):
        with pytest.raises(Refused) as caught:
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert caught.value.failure == Failure(None, -32602, "no", b'{"why":1}')


async def test_an_opening_that_is_cancelled_leaves_nothing() -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()
        await visit.gone()

    async with open_upstream(script) as (upstream, _):
        with trio.move_on_after(0.1) as scope:
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert scope.cancelled_caught
        assert upstream.pool.open == 0


async def test_many_calls_at_once_are_each_answered_with_their_own() -> None:
    async with (
        open_counting_server(eras="modern", answers="sse") as server,
        open_http_upstream(Service("web", target(server.port))) as upstream,
    ):
        answers: dict[int, Result] = {}

        async def call(ident: int) -> None:
            meta = {
                "io.modelcontextprotocol/protocolVersion": VERSION,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            params = json.dumps({"name": "echo", "arguments": {"text": f"t{ident}"}, "_meta": meta}).encode()
            request = Request(ident, "tools/call", params)
            [answer] = await messages(await upstream.request(request, VERSION, "echo", CALLER))
            assert isinstance(answer, Result)
            answers[ident] = answer

        with trio.fail_after(30):
            for _ in range(3):
                async with trio.open_nursery() as nursery:
                    for ident in range(1, 31):
                        nursery.start_soon(call, ident)
                await trio.sleep(0.1)  # for the ends of the streams
        assert all(f"t{ident}" in answer.result.decode() for ident, answer in answers.items())
        assert upstream.pool.open == upstream.pool.idle <= 30
        assert server.counters["accepted"] <= 31


async def test_a_service_that_is_down_is_unreachable_for_both_eras() -> None:
    async with open_upstream(modern) as (upstream, origin):
        await origin.stop_listening()
        with pytest.raises(UpstreamUnreachable):
            await upstream.request(Request(1, "tools/list"), VERSION, None, CALLER)
        with pytest.raises(UpstreamUnreachable):
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert upstream.eras.known() == "not asked yet"
