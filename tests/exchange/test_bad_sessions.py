"""Session ids that are forged, foreign or over: all are answered as one that never was, and nothing is passed on."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.routes.table import ApiKey, ApiKeyStrategy, Gateway, Route, SessionLife, Table
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import KEY, InProcess, open_gateway, simple_table

NAMES = ("alice", "bob")
SECRETS = {name: f"gwk_{name}_{name}_{name}_{name}" for name in NAMES}
ALICE, BOB = ({"X-API-Key": SECRETS[name]} for name in NAMES)
ECHO = wire.call("echo", text="hi")
IDLE, TTL = 60.0, 200.0


def guarded(port: int) -> Table:
    """Two routes for the same principals."""
    keys = tuple(ApiKey(name, hashlib.sha256(SECRETS[name].encode()).digest()) for name in NAMES)
    return attrs.evolve(
        simple_table(port, Gateway(session=SessionLife(idle=IDLE, ttl=TTL))),
        routes={path: Route(path, ("web",), ("keys",)) for path in ("/mcp", "/other")},
        strategies={"keys": ApiKeyStrategy("keys", keys)},
    )


@pytest.fixture
async def gateway(server: CountingServer) -> AsyncIterator[InProcess]:
    """A gateway that knows two principals."""
    async with open_gateway(guarded(server.port)) as gateway:
        yield gateway


async def new_session(gateway: InProcess, headers: dict[str, str] = ALICE, path: str = "/mcp") -> str:
    async with gateway.connect_http1() as client:
        opened = await client.ask(wire.initialize(path, headers=headers))
        return opened.headers["mcp-session-id"]


def every_use(session: str, headers: dict[str, str] = ALICE, path: str = "/mcp") -> list[bytes]:
    """All that a client can do with a session."""
    named = {"Mcp-Session-Id": session, **headers}
    params = {"requestId": 1}
    return [
        wire.legacy("tools/call", ECHO, session=session, headers=headers, path=path),
        wire.legacy("notifications/cancelled", params, id=None, session=session, headers=headers, path=path),
        wire.legacy(None, result={}, session=session, headers=headers, path=path),
        wire.post([wire.legacy_message("ping")], path=path, headers=named),
        wire.get_stream(session, path, headers),
        wire.get_stream(session, path, {"Last-Event-ID": "x", **headers}),
        wire.http_request("DELETE", path, named),
    ]


async def refusals(gateway: InProcess, requests: list[bytes]) -> set[tuple[int, int, str, str]]:
    """Everything that an attacker could tell answers apart by."""
    seen: set[tuple[int, int, str, str]] = set()
    async with gateway.connect_http1() as client:
        for request in requests:
            reply = await client.ask(request)
            error = reply.json()["error"]
            assert set(error["data"]) == {"correlationId"}
            seen.add((reply.status, error["code"], error["message"], " ".join(sorted(reply.headers))))
    return seen


def changed(session: str, position: int) -> str:
    """The id with one bit of a byte turned over."""
    raw = bytearray(urlsafe_b64decode(session + "=" * (-len(session) % 4)))
    raw[position] ^= 1
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def respelled(session: str) -> str:
    """Other letters for the same bytes, where there are any."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(session[-1])
    return session[:-1] + alphabet[last ^ 1] if len(session) % 4 else session + "="


async def test_forged_ids_are_all_the_same(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    session = await new_session(gateway)
    forged = [
        "x",
        "x" * 200,
        "x" * 20_000,
        session[:-1],
        session[1:],
        session[: len(session) // 2],
        session + "A",
        session + "=",
        session + "\xe9",
        session.swapcase(),
        session.replace("-", "+").replace("_", "/") + "==",
        respelled(session),
        session + session,
        "session-1",
        *(changed(session, position) for position in range(0, len(session) // 2, 7)),
        *(changed(session, -position) for position in range(1, 17)),
    ]
    assert session not in forged
    before = len(server.seen)
    [(status, code, _, _)] = await refusals(gateway, [use for ident in forged for use in every_use(ident)])
    assert (status, code) == (404, -32600)
    assert len(server.seen) == before
    assert len(gateway.registry) == 1


async def test_what_is_foreign_or_over_looks_as_if_it_was_forged(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    known = await refusals(gateway, every_use("x" * 200))
    alices, elsewhere = await new_session(gateway), await new_session(gateway, path="/other")
    deleted = await new_session(gateway)
    async with gateway.connect_http1() as client:
        gone = {"Mcp-Session-Id": deleted, **ALICE}
        assert (await client.ask(wire.http_request("DELETE", "/mcp", gone))).status == 204
    before = len(server.seen)
    assert await refusals(gateway, every_use(alices, BOB)) == known
    assert await refusals(gateway, every_use(alices, ALICE, "/other")) == known
    assert await refusals(gateway, every_use(elsewhere)) == known
    assert await refusals(gateway, every_use(deleted)) == known
    assert len(server.seen) == before
    await trio.sleep(IDLE + 10)
    assert len(gateway.registry) == 0
    before = len(server.seen)
    assert await refusals(gateway, every_use(alices)) == known
    assert len(server.seen) == before


async def test_a_life_is_over_however_busy_it_is(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    known = await refusals(gateway, every_use("x" * 200))
    session = await new_session(gateway)
    async with gateway.connect_http1() as client:
        for _ in range(9):
            await trio.sleep(20)
            assert (await client.ask(wire.legacy("ping", session=session, headers=ALICE))).status == 200
        await trio.sleep(30)
    assert await refusals(gateway, every_use(session)) == known
    assert server.counters["sessions"] == 0


async def test_another_process_sees_it_the_same_way(server: CountingServer, autojump_clock: MockClock) -> None:
    async with open_gateway(guarded(server.port)) as gateway:
        session = await new_session(gateway)
        await gateway.registry.suspend()
    async with open_gateway(guarded(server.port)) as gateway:
        known = await refusals(gateway, every_use("x" * 200))
        for use in (every_use(session, BOB), every_use(session, ALICE, "/other"), every_use(session[:-1])):
            assert await refusals(gateway, use) == known
        assert len(gateway.registry) == 0
        await trio.sleep(TTL + 1)
        assert await refusals(gateway, every_use(session)) == known
    async with open_gateway(guarded(server.port)) as gateway:
        assert await refusals(gateway, every_use(session)) == known
    assert server.counters["initialized"] == 1


async def test_keys_are_rotated(server: CountingServer, autojump_clock: MockClock) -> None:
    def ping(session: str) -> bytes:
        return wire.legacy("ping", session=session, headers=ALICE)

    async with open_gateway(guarded(server.port)) as gateway, gateway.connect_http1() as client:
        known = await refusals(gateway, every_use("x" * 200))
        keychain = gateway.registry.keychain
        first = await new_session(gateway)
        keychain.use([b"the key of tomorrow", KEY])
        second = await new_session(gateway)
        for session in (first, second):
            assert (await client.ask(ping(session))).status == 200
        await gateway.registry.suspend()
        for session in (first, second):
            assert (await client.ask(ping(session))).status == 200
        await gateway.registry.suspend()
        keychain.use([b"the key of tomorrow"])
        assert await refusals(gateway, every_use(first)) == known
        assert (await client.ask(ping(second))).status == 200
    assert server.counters["initialized"] == 2


async def test_an_id_gives_nothing_away(gateway: InProcess, server: CountingServer, autojump_clock: MockClock) -> None:
    ids = [await new_session(gateway) for _ in range(200)]
    raw = [urlsafe_b64decode(ident + "=" * (-len(ident) % 4)) for ident in ids]
    assert all(ident.isascii() and ident.isprintable() and " " not in ident for ident in ids)
    assert len(set(ids)) == 200
    for text in (b"alice", b"session-", b"/mcp", b"wire", KEY):
        assert not any(text in one for one in raw)
    ones = [int.from_bytes(one[:32]) for one in raw]
    varying = sum(20 < sum(one >> bit & 1 for one in ones) < 180 for bit in range(256))
    assert varying >= 90
    upstream = {seen["headers"].get("mcp-session-id") for seen in server.seen}
    assert not upstream & set(ids)


async def test_nothing_that_is_said_names_the_upstream_session(
    gateway: InProcess, server: CountingServer, autojump_clock: MockClock
) -> None:
    async with gateway.connect_http1() as client:
        opened = await client.ask(wire.initialize(headers=ALICE))
        session = opened.headers["mcp-session-id"]
        replies = [opened]
        for params in (ECHO, wire.call("fail", how="close"), wire.call("progress", steps=1) | META):
            replies.append(await client.ask(wire.legacy("tools/call", params, session=session, headers=ALICE)))
        server.sessions.clear()
        replies.append(await client.ask(wire.legacy("tools/call", ECHO, session=session, headers=ALICE)))
    shown = repr([(reply.headers, reply.body) for reply in replies])
    assert "session-1" not in shown
    assert "session-2" not in shown


META = {"_meta": {"progressToken": "p"}}
