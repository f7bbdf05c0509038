"""How a legacy session over HTTP is opened: what a refusal means, and what becomes of one that nobody can use."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import pytest
import trio
import trio.testing

from gatewayd.protocol.codes import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, UNSUPPORTED_VERSION
from gatewayd.protocol.jsonrpc import Request
from gatewayd.upstreams.channel import Answer, Refused, UpstreamBroke, UpstreamError, WrongEra
from gatewayd.upstreams.service import Caller, Opened
from gatewayd.upstreams.session_wire import FAREWELL
from tests.support.checkpoints import at_every_step, cut
from tests.support.counting_http import Incoming
from tests.upstreams.origin import ACCEPTED, LAST_CHUNK, SSE_HEAD, Visit, event, failure, open_upstream, reply, result

CALLER = Caller("staff:alice")
INITIALIZE = Request(3, "initialize", b'{"protocolVersion":"2025-11-25","capabilities":{}}')
CHOSEN = result(3, b'{"protocolVersion":"2025-11-25","capabilities":{}}')
DISCOVERED = reply(result(0, b'{"supportedVersions":["2026-07-28"]}'))
SESSION = "mcp-session-id: s-1"
EMPTY = reply(b"", 404, "text/plain")
NO_ID = b'{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Missing session ID"}}'


def kind(request: Incoming) -> str:
    """What a request is for."""
    if not request.body:
        return request.verb
    method: str = json.loads(request.body)["method"]
    return method


def saying(said: Mapping[str, bytes]) -> Callable[[Visit], Awaitable[None]]:
    """Answers each kind of request in its own way; what is not foreseen ends the connection."""

    async def script(visit: Visit) -> None:
        while (wire := said.get(kind(await visit.hear()), b"")) != b"":
            await visit.say(wire)

    return script


@pytest.mark.parametrize(
    "refused",
    [
        reply(failure(b"3", HEADER_MISMATCH), 400),
        reply(failure(b"null", HEADER_MISMATCH), 400),
        reply(failure(b"3", METHOD_NOT_FOUND), 404),
        reply(failure(b"3", INVALID_PARAMS), 400),
        reply(failure(b"3", UNSUPPORTED_VERSION, b'{"supported":["2027-01-01"]}'), 400),
        reply(failure(b"3", METHOD_NOT_FOUND)),
        reply(failure(b"3", -32600), 400),
        reply(NO_ID, 400),
        EMPTY,
        reply(b"<html>", 405, "text/html"),
        reply(b"", 406, "text/plain"),
    ],
)
async def test_a_refusal_of_a_service_without_sessions_is_understood(refused: bytes) -> None:
    said = {"initialize": refused, "server/discover": DISCOVERED, "GET": reply(b"", 405, "text/plain")}
    async with open_upstream(saying(said)) as (upstream, _):
        with pytest.raises(WrongEra) as caught:
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert caught.value.supported == ("2026-07-28",)
        assert upstream.eras.known() == "2026-07-28"


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (reply(failure(b"3", HEADER_MISMATCH), 400), Refused),
        (reply(failure(b"3", INVALID_PARAMS), 400), Refused),
        (reply(failure(b"3", -32600), 400), Refused),
        (reply(failure(b"3", INVALID_PARAMS)), Refused),
        (reply(NO_ID, 400), UpstreamBroke),
        (EMPTY, UpstreamBroke),
    ],
)
@pytest.mark.parametrize("probed", [EMPTY, reply(failure(b"0", METHOD_NOT_FOUND)), reply(b"", 500, "text/plain"), b""])
async def test_otherwise_the_refusal_stands(refused: bytes, error: type[UpstreamError], probed: bytes) -> None:
    said = {"initialize": refused, "server/discover": probed, "GET": reply(b"", 405, "text/plain")}
    async with open_upstream(saying(said)) as (upstream, _):
        with pytest.raises(error):
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert upstream.pool.open == upstream.pool.idle


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (reply(b"", 401, "text/plain"), UpstreamBroke),
        (reply(failure(b"3", -32600), 403), UpstreamBroke),
        (reply(failure(b"3", -32000), 429), Refused),
        (reply(b"", 503, "text/plain"), UpstreamBroke),
        (reply(failure(b"3", HEADER_MISMATCH), 500), Refused),
        (reply(b"", 302, "text/html", "location: /"), UpstreamBroke),
        (reply(b"{}"), UpstreamBroke),
        (b"garbage\r\n\r\n", UpstreamBroke),
    ],
)
async def test_what_says_nothing_of_the_era_is_not_looked_into(refused: bytes, error: type[UpstreamError]) -> None:
    async with open_upstream(saying({"initialize": refused, "server/discover": DISCOVERED})) as (upstream, origin):
        with pytest.raises(error):
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert [kind(request) for request in origin.heard] == ["initialize"]


async def test_a_known_modern_service_is_not_asked_again() -> None:
    said = {"initialize": reply(failure(b"3", HEADER_MISMATCH), 400), "server/discover": DISCOVERED}
    async with open_upstream(saying(said)) as (upstream, origin):
        for _ in range(3):
            with pytest.raises(WrongEra):
                await upstream.open_legacy(INITIALIZE, CALLER)
        assert [kind(request) for request in origin.heard].count("server/discover") == 1


async def test_a_legacy_verdict_is_dropped_when_the_service_says_that_it_has_no_sessions() -> None:
    said = {
        "initialize": reply(failure(b"3", UNSUPPORTED_VERSION, b'{"supported":["2026-07-28"]}'), 400),
        "server/discover": EMPTY,
    }
    async with open_upstream(saying(said)) as (upstream, origin):
        assert (await upstream.eras.revisions(upstream._probe))[0] == "2025-11-25"
        with pytest.raises(WrongEra):
            await upstream.open_legacy(INITIALIZE, CALLER)
        said["server/discover"] = DISCOVERED
        assert await upstream.eras.revisions(upstream._probe) == ("2026-07-28",)
        with pytest.raises(WrongEra):
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert await upstream.eras.revisions(upstream._probe) == ("2026-07-28",)
        assert [kind(request) for request in origin.heard].count("server/discover") == 2


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        (reply(result(3, b'{"protocolVersion":"1999-01-01"}'), 200, "application/json", SESSION), UpstreamBroke),
        (reply(result(3, b"{}"), 200, "application/json", SESSION), UpstreamBroke),
        (reply(b"{}", 200, "application/json", SESSION), UpstreamBroke),
        (reply(failure(b"3", -32603), 200, "application/json", SESSION), Refused),
        (
            reply(
                failure(b"3", UNSUPPORTED_VERSION, b'{"supported":["2026-07-28"]}'), 400, "application/json", SESSION
            ),
            WrongEra,
        ),
    ],
)
async def test_a_session_that_cannot_be_used_is_ended(answered: bytes, error: type[UpstreamError]) -> None:
    said = {"initialize": answered, "server/discover": EMPTY, "DELETE": ACCEPTED}
    async with open_upstream(saying(said)) as (upstream, origin):
        with pytest.raises(error):
            await upstream.open_legacy(INITIALIZE, CALLER)
        ended = [request for request in origin.heard if request.verb == "DELETE"]
        assert [request.headers["mcp-session-id"] for request in ended] == ["s-1"]
        assert "mcp-protocol-version" not in ended[0].headers


async def test_a_session_that_nobody_waits_for_is_ended_in_bounded_time(autojump_clock: trio.testing.MockClock) -> None:
    async def script(visit: Visit) -> None:
        request = await visit.hear()
        if request.verb == "POST":
            await visit.say(SSE_HEAD.replace(b"\r\n\r\n", b"\r\nmcp-session-id: s-1\r\n\r\n"))
        await visit.gone()

    async with open_upstream(script) as (upstream, origin):
        began = trio.current_time()
        with trio.move_on_after(1) as scope:
            await upstream.open_legacy(INITIALIZE, CALLER)
        assert scope.cancelled_caught
        assert trio.current_time() - began == pytest.approx(1 + FAREWELL)
        assert [request.verb for request in origin.heard] == ["POST", "DELETE"]
        assert upstream.pool.open == 0


async def test_an_opening_can_be_cancelled_anywhere_and_leaves_no_session() -> None:
    """A session is known from the head of the answer on; every one that was is deleted, by us or by its owner."""
    head = SSE_HEAD.replace(b"\r\n\r\n", b"\r\nmcp-session-id: s-1\r\n\r\n")
    slowly = [head, event(b'{"jsonrpc":"2.0","method":"notifications/message"}'), event(CHOSEN), LAST_CHUNK]
    deleted: list[bool] = []

    async def script(visit: Visit) -> None:
        while True:
            request = await visit.hear()
            if request.verb == "DELETE":
                deleted.append(True)
                await visit.say(ACCEPTED)
            else:
                for packet in slowly:
                    await visit.say(packet)
                    await trio.sleep(0.001)

    async with open_upstream(script) as (upstream, _):
        opened: list[Opened] = []
        ends: set[tuple[bool, bool]] = set()

        async def trial(steps: int) -> bool:
            opened.clear()
            deleted.clear()

            async def work(begin: Callable[[], None]) -> None:
                begin()
                opened.append(await upstream.open_legacy(INITIALIZE, CALLER))

            return await cut(work, steps)

        async def at_rest() -> None:
            ends.add((bool(opened), bool(deleted)))
            for each in opened:
                await each.peer.aclose()
            assert upstream.pool.open == upstream.pool.idle

        await at_every_step(trial, at_rest)
        assert ends == {(False, False), (False, True), (True, False)}  # too early, in the middle, complete


@pytest.mark.parametrize("named", ["a b", "\x80", "x" * 3000, "\t"])
async def test_a_session_needs_a_proper_name(named: str) -> None:
    answered = reply(CHOSEN, 200, "application/json").replace(
        b"content-type", b"mcp-session-id: " + named.encode("latin-1") + b"\r\ncontent-type"
    )
    async with open_upstream(saying({"initialize": answered})) as (upstream, _):
        if named == "\t":  # the same as none
            assert (await upstream.open_legacy(INITIALIZE, CALLER)).peer.session is None
        else:
            with pytest.raises(UpstreamBroke, match="named its session"):
                await upstream.open_legacy(INITIALIZE, CALLER)


MODERN_CALL = Request(5, "tools/call", b'{"name":"t"}')


@pytest.mark.parametrize(
    "refused",
    [
        reply(b"", 400, "text/plain"),
        reply(b"<html>", 404, "text/html"),
        reply(b"", 405, "text/plain"),
        reply(failure(b"null", -32600), 400),
        reply(failure(b"5", -32000), 400),
        reply(failure(b"5", METHOD_NOT_FOUND), 400),
        reply(NO_ID, 400),
        reply(b"{nope", 400),
    ],
)
async def test_a_modern_verdict_is_dropped_when_a_call_is_refused_as_by_a_legacy_service(refused: bytes) -> None:
    said = {"tools/call": refused, "server/discover": DISCOVERED}
    async with open_upstream(saying(said)) as (upstream, _):
        await _call(upstream.request(MODERN_CALL, "2026-07-28", "t", CALLER))
        assert upstream.eras.known() == "not asked yet"
        said["server/discover"] = EMPTY
        with pytest.raises(WrongEra):
            await upstream.request(MODERN_CALL, "2026-07-28", "t", CALLER)


@pytest.mark.parametrize(
    "answered",
    [
        reply(result(5)),
        reply(failure(b"5", -32600)),
        reply(failure(b"5", INVALID_PARAMS), 400),
        reply(failure(b"5", METHOD_NOT_FOUND), 404),
        reply(failure(b"5", HEADER_MISMATCH), 400),
        reply(b"", 401, "text/plain"),
        reply(failure(b"5", -32000), 403),
        reply(b"", 429, "text/plain"),
        reply(b"oops", 500, "text/plain"),
        reply(failure(b"5", -32000), 503),
    ],
)
async def test_what_a_modern_service_may_say_is_believed(answered: bytes) -> None:
    async with open_upstream(saying({"tools/call": answered, "server/discover": DISCOVERED})) as (upstream, _):
        await _call(upstream.request(MODERN_CALL, "2026-07-28", "t", CALLER))
        assert upstream.eras.known() == "2026-07-28"


async def _call(request: Awaitable[Answer]) -> None:
    """Make a call, whatever comes of it."""
    answer = await request
    with suppress(UpstreamError):
        await answer.receive()
    await answer.aclose()
