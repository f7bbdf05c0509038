"""Clients that lose their connection, and come back for what they missed."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.auth.principal import ANONYMOUS
from gatewayd.routes.table import Gateway, HttpTarget, Service, SessionLife, Table, Timeouts
from gatewayd.sessions.session import Session
from tests.support import wire
from tests.support.counting_server import CountingServer
from tests.support.inprocess import InProcess, simple_table

LOST = -31001


TIMED_OUT = -31002


ECHO = wire.call("echo", text="hi")


OLDER = ("2025-06-18", "2025-03-26")


VERSIONS = (wire.LEGACY, *OLDER)


def progress(steps: int, delay: float) -> wire.Json:
    """The params of a call that reports `steps` times."""
    return wire.call("progress", steps=steps, delay=delay) | {"_meta": {"progressToken": "p"}}


def resume(session: str, last: str | None, **headers: str) -> bytes:
    """The GET of a client that was interrupted behind that event."""
    assert last is not None
    return wire.get_stream(session, headers={"Last-Event-ID": last, **headers})


def delete(session: str) -> bytes:
    return wire.http_request("DELETE", "/mcp", {"Mcp-Session-Id": session})


def table(server: CountingServer, call: float | None = None, **life: Any) -> Table:
    """A gateway's table with another life of sessions, and another time for calls."""
    service = None
    if call is not None:
        service = Service("web", HttpTarget("", "http", "", 0, ""), Timeouts(call=call))
    return simple_table(server.port, Gateway(session=SessionLife(**life)), service)


def said(frame: wire.Frame | None) -> wire.Json:
    """The message of an event."""
    assert frame is not None
    assert isinstance(frame.data, dict)
    return frame.data


def steps_in(frames: list[wire.Frame]) -> list[int | str]:
    """What the client learned: the steps that were reported, and the text of the answer."""
    learned: list[int | str] = []
    for message in map(said, (frame for frame in frames if frame.data is not None)):
        if "method" in message:
            assert message["params"]["progressToken"] == "p"
            learned.append(message["params"]["progress"])
        else:
            learned.append(message["result"]["content"][0]["text"])
    return learned


async def first_step(client: wire.WireClient) -> wire.Frame:
    """Read up to the first report."""
    assert (await client.head()).status == 200
    while (frame := await client.frame()) is not None:
        if frame.data is not None:
            return frame
    raise AssertionError("the stream ended")


async def first_frame(client: wire.WireClient) -> wire.Frame:
    """The next event with a message."""
    while (frame := await client.frame()) is not None:
        if frame.data is not None:
            return frame
    raise AssertionError("the stream ended")


async def leave_in_mid_call(gateway: InProcess, session: str, params: wire.Json, ident: int | str = "call") -> str:
    """Call, read the first report, and leave; the id to come back with."""
    async with gateway.connect_http1() as client:
        await client.send(wire.legacy("tools/call", params, session=session, id=ident))
        last = (await first_step(client)).id
        assert last is not None
        return last


async def come_back(gateway: InProcess, session: str, last: str | None) -> list[wire.Frame]:
    """Ask for the rest, and read it to the end of the stream."""
    async with gateway.connect_http1() as client:
        await client.send(resume(session, last))
        reply = await client.head()
        if reply.status == 405:  # nothing follows
            return []
        assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
        return await client.frames()


async def new_session(gateway: InProcess, version: str = wire.LEGACY) -> str:
    async with gateway.connect_http1() as client:
        return await wire.open_session(client, version=version)


async def find(gateway: InProcess, session: str) -> Session:
    """The session, which is alive."""
    found = await gateway.registry.find(session, ANONYMOUS, "/mcp", lambda memo: pytest.fail("the session is gone"))
    assert found is not None
    return found
