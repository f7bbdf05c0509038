"""The ASGI application by itself: what becomes of a scope, and of servers that are not Hypercorn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gatewayd.front.asgi import Application, AsgiReply, head_of
from gatewayd.front.doors import door_of
from gatewayd.front.patience import Patience
from gatewayd.protocol.http1 import HttpError
from gatewayd.routes.table import Listen
from tests.support import wire
from tests.support.inprocess import HOST, InProcess

Json = dict[str, Any]


def scope(method: str = "POST", path: bytes = b"/mcp", query: bytes = b"", **fields: str) -> Json:
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return {
        "type": "http",
        "method": method,
        "path": "/decoded",
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", HOST.encode()), *headers],
    }


def test_the_target_is_what_was_sent() -> None:
    head = head_of(scope(path=b"/%6dcp", query=b"a=%20"), 1000)
    assert (head.target, head.path) == ("/%6dcp?a=%20", "/%6dcp")


def test_a_body_has_no_length_unless_one_is_declared() -> None:
    assert head_of(scope(), 1000).length is None
    assert head_of(scope(content_length="12"), 1000).length == 12


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (scope(path=b"mcp"), 400),
        (scope(path=b"/m cp"), 400),
        (scope(path=b"/mcp\xff"), 400),
        (scope(path=b"/mcp", query=b"a\r\nb"), 400),
        (scope(path=b"*"), 400),
        (scope(method="CONNECT"), 400),
        (scope(method="GE T"), 400),
        (scope(host="second.test"), 400),
        (scope(x="a\r\nb"), 400),
        (scope(content_length="2", transfer_encoding="chunked"), 400),
        (scope(content_length="-2"), 400),
        (scope(x="y" * 1000), 431),
        (scope(expect="more"), 417),
    ],
)
def test_a_scope_is_judged_like_an_http1_head(refused: Json, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        head_of(refused, 1000)
    assert caught.value.status == status


class Server:
    """A server with one request: what it received, and what it got back."""

    def __init__(self, *events: Json) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self._into, self._events = trio.open_memory_channel[Json](100)
        for event in events:
            self._into.send_nowait(event)

    def disconnect(self) -> None:
        self._into.send_nowait({"type": "http.disconnect"})

    async def receive(self) -> Json:
        return await self._events.receive()

    async def send(self, event: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(event)


def application(gateway: InProcess) -> Application:
    return Application(gateway.exchange, door_of(Listen(HOST, 443)), Patience(), gateway.root)


def request(raw: bytes) -> tuple[Json, Json]:
    head, _, body = wire.addressed(raw, HOST).partition(b"\r\n\r\n")
    fields = [tuple(line.lower().split(b": ", 1)) for line in head.split(b"\r\n")[1:]]
    return scope() | {"headers": fields}, {"type": "http.request", "body": body}


async def test_a_call_is_answered(gateway: InProcess, autojump_clock: MockClock) -> None:
    asked, body = request(wire.modern("tools/call", wire.call("echo", text="hi")))
    server = Server(body)
    await application(gateway)(asked, server.receive, server.send)
    start, end = server.sent
    assert start["status"] == 200
    assert b'"hi"' in end["body"]
    assert end["more_body"] is False


async def test_nothing_is_executed_without_the_end_of_the_body(gateway: InProcess, autojump_clock: MockClock) -> None:
    asked, body = request(wire.modern("tools/call", wire.call("echo", text="hi")))
    server = Server(body | {"more_body": True})
    server.disconnect()
    await application(gateway)(asked, server.receive, server.send)
    assert server.sent == []
    assert gateway.metrics.calls == {}


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_scopes_are_refused(kind: str, gateway: InProcess, autojump_clock: MockClock) -> None:
    server = Server()
    with pytest.raises(ValueError, match="only HTTP"):
        await application(gateway)({"type": kind}, server.receive, server.send)


async def test_a_keep_alive_does_not_follow_the_last_word(autojump_clock: MockClock) -> None:
    server = Server()
    reply = AsgiReply(server.send, [(b"x-content-type-options", b"nosniff")])
    await reply.start(200, [(b"content-type", b"text/event-stream")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reply.end)
        nursery.start_soon(reply.write, b":\n\n")
    await reply.write(b":\n\n")
    assert reply.complete
    assert [event.get("more_body") for event in server.sent][-1] is False


async def test_a_slow_write_is_visible(autojump_clock: MockClock) -> None:
    async def send(event: Mapping[str, Any]) -> None:
        await trio.sleep(5)

    reply = AsgiReply(send, ())
    assert reply.writing_since is None
    async with trio.open_nursery() as nursery:
        started = trio.current_time()
        nursery.start_soon(reply.start, 200, ())
        await trio.sleep(1)
        assert reply.writing_since == started
    assert reply.writing_since is None
    assert reply.wrote_at == started
