"""How a service is asked which era it speaks, and for how long the answer is believed (MCP 2026-07-28, versioning)."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from gatewayd import __version__
from gatewayd.protocol.codes import HEADER_MISMATCH, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION
from gatewayd.protocol.jsonrpc import Failure, Result
from gatewayd.protocol.versions import LEGACY, MODERN
from gatewayd.upstreams.channel import UpstreamBroke, UpstreamDied, UpstreamError, UpstreamTimedOut, WrongEra
from gatewayd.upstreams.eras import (
    REMEMBER_LEGACY,
    EraMemory,
    Revisions,
    chosen_version,
    discover_request,
    modern_versions_in,
    offered_in,
    only_legacy,
    versions_in,
)
from gatewayd.upstreams.http import HttpUpstream
from tests.upstreams.origin import Visit, failure, open_upstream, reply, result

BOTH = b'{"supportedVersions":["2026-07-28","2025-11-25"]}'


async def judged(upstream: HttpUpstream) -> str:
    """What is known after asking once."""
    offered = await upstream.eras.revisions(upstream._probe)
    assert upstream.eras.known() == ", ".join(offered)
    return "modern" if offered[0] in MODERN else "legacy only"


@pytest.mark.parametrize(
    ("wire", "known"),
    [
        pytest.param(reply(result(0, BOTH)), "modern", id="discover result"),
        pytest.param(reply(failure(b"0", UNSUPPORTED_VERSION), 400), "modern", id="400 unsupported version"),
        pytest.param(reply(failure(b"0", HEADER_MISMATCH), 400), "modern", id="400 header mismatch"),
        pytest.param(reply(failure(b"null", HEADER_MISMATCH), 400), "modern", id="400 header mismatch without id"),
        pytest.param(reply(failure(b"0", MISSING_CLIENT_CAPABILITY), 400), "modern", id="400 missing capability"),
        pytest.param(reply(failure(b"0", METHOD_NOT_FOUND), 404), "modern", id="404 method not found"),
        pytest.param(reply(failure(b"0", UNSUPPORTED_VERSION), 500), "modern", id="500 with a modern error"),
        pytest.param(
            reply(result(0, b'{"supportedVersions":["2025-11-25"]}')), "legacy only", id="legacy advertisement"
        ),
        pytest.param(reply(result(0, b'{"supportedVersions":"2026-07-28"}')), "legacy only", id="no list"),
        pytest.param(reply(result(0, b'{"a":1,"a":2}')), "legacy only", id="ambiguous result"),
        pytest.param(reply(failure(b"0", METHOD_NOT_FOUND)), "legacy only", id="200 method not found"),
        pytest.param(reply(failure(b"0", METHOD_NOT_FOUND), 400), "legacy only", id="400 method not found"),
        pytest.param(reply(failure(b"null", -32600), 400), "legacy only", id="400 invalid request"),
        pytest.param(reply(failure(b"null", -32000), 404), "legacy only", id="404 no session"),
        pytest.param(reply(b"", 400, "text/plain"), "legacy only", id="400 without body"),
        pytest.param(reply(b"", 404, "text/html"), "legacy only", id="404 without body"),
        pytest.param(reply(b"", 405, "text/html"), "legacy only", id="405 without body"),
        pytest.param(reply(b"<html>", 200, "text/html"), "legacy only", id="200 with a page"),
        pytest.param(reply(b"{nope"), "legacy only", id="200 with no json"),
    ],
)
async def test_what_the_answer_to_the_probe_says(wire: bytes, known: str) -> None:
    async with open_upstream(lambda visit: visit.answer(wire)) as (upstream, origin):
        assert await judged(upstream) == known
        asked = origin.heard[0]
        message = json.loads(asked.body)
        assert (message["id"], message["method"]) == (0, "server/discover")
        assert asked.headers["mcp-method"] == "server/discover"
        meta = message["params"]["_meta"]
        assert asked.headers["mcp-protocol-version"] == meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        pytest.param(reply(b"", 401, "text/plain"), UpstreamBroke, id="401"),
        pytest.param(reply(failure(b"0", -32600), 401), UpstreamBroke, id="401 with json"),
        pytest.param(reply(b"", 403, "text/plain"), UpstreamBroke, id="403"),
        pytest.param(reply(b"", 429, "text/plain"), UpstreamBroke, id="429"),
        pytest.param(reply(failure(b"null", -32000), 429), UpstreamBroke, id="429 with json"),
        pytest.param(reply(b"oops", 500, "text/plain"), UpstreamBroke, id="500"),
        pytest.param(reply(failure(b"0", -32603), 500), UpstreamBroke, id="500 with json"),
        pytest.param(reply(failure(b"0", METHOD_NOT_FOUND), 503), UpstreamBroke, id="503 with json"),
        pytest.param(reply(b"{}", 502), UpstreamBroke, id="502 with other json"),
        pytest.param(b"", UpstreamDied, id="closed"),
        pytest.param(b"garbage\r\n\r\n", UpstreamBroke, id="garbage"),
    ],
)
async def test_an_outage_is_no_verdict_and_the_next_call_asks_again(wire: bytes, error: type[UpstreamError]) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(wire if visit.number == 0 else reply(result(0, BOTH)))

    async with open_upstream(script) as (upstream, _):
        with pytest.raises(error):
            await judged(upstream)
        assert upstream.eras.known() == "not asked yet"
        assert await judged(upstream) == "modern"


async def test_a_service_that_does_not_answer_the_probe_is_too_slow(autojump_clock: trio.testing.MockClock) -> None:
    async def script(visit: Visit) -> None:
        await visit.hear()
        await visit.gone()

    async with open_upstream(script, connect=3.0) as (upstream, _):
        began = trio.current_time()
        with pytest.raises(UpstreamTimedOut, match="which protocol it speaks"):
            await judged(upstream)
        assert trio.current_time() - began == pytest.approx(3.0)
        assert upstream.pool.open == 0


class Asked:
    """A probe that counts, and takes a second."""

    def __init__(self, *verdicts: Revisions | Exception) -> None:
        self.times = 0
        self._verdicts = list(verdicts)

    async def __call__(self) -> Revisions:
        self.times += 1
        await trio.sleep(1)
        verdict = self._verdicts.pop(0)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict


async def test_a_modern_service_is_asked_once(autojump_clock: trio.testing.MockClock) -> None:
    memory, asked = EraMemory(), Asked(MODERN)
    for _ in range(3):
        await memory.require_modern(asked)
        await trio.sleep(10 * REMEMBER_LEGACY)
    assert asked.times == 1
    assert memory.known() == "2026-07-28"


async def test_a_legacy_service_is_asked_again_after_a_while(autojump_clock: trio.testing.MockClock) -> None:
    memory, asked = EraMemory(), Asked(LEGACY, LEGACY, MODERN)
    for times in (1, 1, 2):
        with pytest.raises(WrongEra):
            await memory.require_modern(asked)
        assert asked.times == times
        assert memory.known() == ", ".join(LEGACY)
        await trio.sleep(REMEMBER_LEGACY / 2 + 1)
    await trio.sleep(REMEMBER_LEGACY)
    await memory.require_modern(asked)
    assert memory.known() == "2026-07-28"


async def test_one_probe_serves_all_who_wait(autojump_clock: trio.testing.MockClock) -> None:
    memory, asked = EraMemory(), Asked(MODERN)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(memory.require_modern, asked)
    assert asked.times == 1
    assert trio.current_time() - began == pytest.approx(1)


async def test_all_who_wait_are_told_of_an_outage_at_once_and_who_comes_later_asks_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    memory, asked = EraMemory(), Asked(UpstreamTimedOut("slow"), MODERN)

    async def fail() -> None:
        with pytest.raises(UpstreamTimedOut):
            await memory.require_modern(asked)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(fail)
    assert asked.times == 1
    assert trio.current_time() - began == pytest.approx(1)
    await memory.require_modern(asked)
    assert asked.times == 2


async def test_an_old_outage_is_not_told_again(autojump_clock: trio.testing.MockClock) -> None:
    memory, asked = EraMemory(), Asked(UpstreamTimedOut("slow"), LEGACY)
    with pytest.raises(UpstreamTimedOut):
        await memory.require_modern(asked)
    for _ in range(2):
        with pytest.raises(WrongEra):
            await memory.require_modern(asked)
    assert asked.times == 2


async def test_a_prober_that_is_cancelled_leaves_the_asking_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    memory, asked = EraMemory(), Asked(MODERN)
    scopes: list[trio.CancelScope] = []

    async def impatient() -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await memory.require_modern(asked)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        await trio.sleep(0.5)
        nursery.start_soon(impatient)
        nursery.start_soon(impatient)
        await trio.sleep(0.25)
        scopes[0].cancel()
        await trio.sleep(0.25)
        scopes[1].cancel()
    assert [scope.cancelled_caught for scope in scopes] == [True, True, False]
    assert asked.times <= 3
    assert memory.known() == "2026-07-28"


async def test_a_verdict_that_is_doubted_is_asked_for_again(autojump_clock: trio.testing.MockClock) -> None:
    memory, asked = EraMemory(), Asked(LEGACY, MODERN, MODERN)
    memory.doubt_legacy()
    with pytest.raises(WrongEra):
        await memory.require_modern(asked)
    memory.doubt_legacy()
    await memory.require_modern(asked)
    memory.doubt_legacy()  # nothing to doubt: it is modern
    await memory.require_modern(asked)
    assert asked.times == 2
    memory.doubt()
    assert memory.known() == "not asked yet"
    await memory.require_modern(asked)
    assert asked.times == 3


async def test_a_refused_session_is_explained_by_the_era_or_not_at_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for verdict in (LEGACY, UpstreamTimedOut("slow")):
        await EraMemory().require_legacy(Asked(verdict))
    with pytest.raises(WrongEra) as caught:
        await EraMemory().require_legacy(Asked(MODERN))
    assert caught.value.supported == MODERN


@pytest.mark.parametrize(
    ("status", "failed", "legacy"),
    [
        (400, None, True),
        (404, None, True),
        (400, Failure(None, -32600, ""), True),
        (404, Failure(None, -32001, ""), True),
        (400, Failure(1, METHOD_NOT_FOUND, ""), True),
        (404, Failure(1, METHOD_NOT_FOUND, ""), False),
        (400, Failure(1, -32602, ""), False),
        (400, Failure(1, HEADER_MISMATCH, ""), False),
        (401, None, False),
        (429, None, False),
        (500, None, False),
        (200, Failure(1, -32600, ""), False),
        (302, None, False),
    ],
)
def test_which_refusals_of_a_call_speak_of_a_legacy_service(status: int, failed: Failure | None, legacy: bool) -> None:
    assert only_legacy(status, failed) == legacy


def test_the_probe_is_what_a_modern_client_would_send() -> None:
    request = discover_request()
    assert request.id == 0
    assert json.loads(request.params or b"") == {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "gatewayd", "version": __version__},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    }


LISTED = b'{"supported":["2025-06-18","2026-07-28"],"requested":"2026-07-28"}'


@pytest.mark.parametrize(
    ("answer", "status", "offered"),
    [
        (Result(0, BOTH), 200, ("2026-07-28", "2025-11-25")),
        (
            Result(0, b'{"supportedVersions":["2025-11-25","2027-01-01","2026-07-28"]}'),
            200,
            ("2026-07-28", "2025-11-25"),
        ),
        (Result(0, b'{"supportedVersions":[]}'), 200, LEGACY),
        (Result(0, b'{"supportedVersions":["2027-01-01"]}'), 200, LEGACY),
        (Result(0, b'{"supportedVersions":["2026-07-28",1]}'), 200, LEGACY),
        (Failure(0, METHOD_NOT_FOUND, ""), 404, MODERN),
        (Failure(0, METHOD_NOT_FOUND, ""), 200, LEGACY),
        (Failure(0, UNSUPPORTED_VERSION, ""), 200, MODERN),
        (Failure(0, UNSUPPORTED_VERSION, "", LISTED), 400, MODERN),
        (Failure(None, -32000, ""), 404, LEGACY),
    ],
)
def test_what_is_offered(answer: Result | Failure, status: int, offered: Revisions) -> None:
    assert offered_in(answer, status) == offered


@pytest.mark.parametrize(
    ("failed", "versions"),
    [
        (Failure(0, UNSUPPORTED_VERSION, "", b'{"supported":["2026-07-28","2025-11-25"]}'), ("2026-07-28",)),
        (Failure(0, UNSUPPORTED_VERSION, "", b'{"supported":["2025-11-25"]}'), ()),
        (Failure(0, UNSUPPORTED_VERSION, "", b'["2026-07-28"]'), ()),
        (Failure(0, UNSUPPORTED_VERSION, "", b'{"supported":1,"supported":2}'), ()),
        (Failure(0, UNSUPPORTED_VERSION, ""), ()),
        (Failure(0, -32602, "", b'{"supported":["2026-07-28"]}'), ()),
    ],
)
def test_a_service_without_sessions_says_so_in_its_error(failed: Failure, versions: tuple[str, ...]) -> None:
    assert modern_versions_in(failed) == versions


@pytest.mark.parametrize("raw", [b"{}", b"[]", b"1", b'{"x":null}', b'{"x":"y"}', b'{"x":[1]}', b'{"x":[[]]}'])
def test_what_is_no_list_of_strings_names_nothing(raw: bytes) -> None:
    assert versions_in(raw, "x") == ()


def test_the_chosen_revision() -> None:
    assert chosen_version(Result(1, b'{"protocolVersion":"2024-11-05"}')) == "2024-11-05"
    for raw in (b"{}", b'{"protocolVersion":"1999-01-01"}', b'{"protocolVersion":["2025-11-25"]}', b'{"a":1,"a":1}'):
        with pytest.raises(UpstreamBroke):
            chosen_version(Result(1, raw))
    with pytest.raises(WrongEra) as caught:
        chosen_version(Result(1, b'{"protocolVersion":"2026-07-28"}'))
    assert caught.value.supported == MODERN
