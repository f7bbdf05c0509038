"""A Streamable HTTP MCP server on bare Trio that serves both eras, counts everything and misbehaves on
request.

As a process, `python -m tests.support.counting_server`, it prints `{"port": N}` and serves until its
standard input ends. In a test, `async with open_counting_server() as server` listens on a free port, and
`server.serve(stream)` serves one connection over any Trio stream.

`GET /stats` answers the counters, `GET /seen` the last requests with their headers; every other path is MCP.

A modern call is cancelled by the end of its connection, a legacy one by `notifications/cancelled`; a legacy
call whose connection is lost is counted as abandoned. `fail` knows: `close` (no answer), `half` (a part of
the answer, then the connection closes), `garbage` (no HTTP), `status` (500 without a body), `not-json`,
`wrong-id`, `endless-head`, `silent-stream` (an event stream that ends without an answer).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, NoReturn

import attrs
import trio
from httptools import HttpParserError

from tests.support.counting_http import Connection, Incoming, Lost
from tests.support.scripted import (
    MODERN,
    VERSION_KEY,
    Eras,
    Json,
    ScriptedServer,
    acknowledgement,
    is_modern,
    tagged,
)

Answers = Literal["json", "sse"]


@attrs.define(eq=False)
class Session:
    """A legacy session."""

    id: str
    calls: dict[int | str, trio.CancelScope] = attrs.Factory(dict)
    """Running requests, by their id."""
    questions: dict[str, deque[Json]] = attrs.Factory(dict)
    """Our own requests that wait for an answer, by their id; an answer ends up in the deque."""
    answered: trio.Event = attrs.Factory(trio.Event)
    standing: Connection | None = None
    """Where the GET stream is."""


@attrs.define(eq=False)
class CountingServer:
    """The server. `answers` says whether plain calls are answered as JSON or as an event stream."""

    answers: Answers = "json"
    script: ScriptedServer = attrs.Factory(ScriptedServer)
    sessions: dict[str, Session] = attrs.Factory(dict)
    listens: dict[Connection, int | str] = attrs.Factory(dict)
    seen: deque[Json] = attrs.field(factory=lambda: deque(maxlen=100))
    """The last requests: `{"verb": ..., "path": ..., "headers": {...}, "message": {...} | None}`."""
    minted: int = 0
    fleeting: bool = False
    """Whether GET streams end as soon as they are open."""
    unknown: int = 404
    """The status for a session that is not there: some servers say 400, also of the GET stream."""
    port: int = 0
    """Where `open_counting_server` listens."""
    listeners: list[trio.SocketListener] = attrs.Factory(list)
    serving: set[trio.abc.Stream] = attrs.Factory(set)

    def __attrs_post_init__(self) -> None:
        self.script.announce = self.announce

    @property
    def counters(self) -> Json:
        """What happened so far: see `scripted.Counters`."""
        self.script.counters.sessions = len(self.sessions)
        return self.script.counters.as_json()

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until it ends. Closes the stream."""
        self.script.counters.connections += 1
        self.script.counters.accepted += 1
        self.serving.add(stream)
        try:
            async with stream:
                connection = Connection(stream)
                while (request := await connection.next_request()) is not None:
                    await self._serve_request(connection, request)
        except* (Lost, trio.BrokenResourceError, trio.ClosedResourceError, HttpParserError):
            pass  # nurseries on the way wrap what they pass on, hence the star
        finally:
            self.serving.discard(stream)
            self.script.counters.connections -= 1

    async def listen(self) -> None:
        """Serve what connects, until `stop`."""
        try:
            await trio.serve_listeners(self.serve, self.listeners)
        except* trio.ClosedResourceError:
            pass

    async def stop(self) -> None:
        """Die: refuse and cut all connections, and lose the sessions."""
        for listener in self.listeners:
            await listener.aclose()
        for stream in list(self.serving):
            await trio.aclose_forcefully(stream)
        self.sessions.clear()

    async def announce(self, message: Json) -> None:
        """Send a message on every standing stream of either era."""
        for session in list(self.sessions.values()):
            if session.standing is not None:
                await session.standing.event(message)
        for connection, subscription in list(self.listens.items()):
            await connection.event(tagged(message, subscription))

    async def drop_streams(self) -> None:
        """Cut all GET streams, as a crash would."""
        for session in self.sessions.values():
            if session.standing is not None:
                await trio.aclose_forcefully(session.standing.stream)

    async def _serve_request(self, connection: Connection, request: Incoming) -> None:
        if request.verb == "GET" and request.path in ("/stats", "/seen"):
            shown = self.counters if request.path == "/stats" else list(self.seen)
            return await connection.reply(200, shown)
        message: Json | None = json.loads(request.body) if request.body else None
        self.seen.append({"verb": request.verb, "path": request.path, "headers": request.headers, "message": message})
        if self.script.eras != "legacy" and MODERN in (
            request.headers.get("mcp-protocol-version"),
            _version(message),
        ):
            return await self._serve_modern(connection, request, message)
        return await self._serve_legacy(connection, request, message)

    async def _serve_modern(self, connection: Connection, request: Incoming, message: Json | None) -> None:
        if request.verb != "POST":
            return await connection.reply(405, None, {"Allow": "POST"})
        assert message is not None
        if "id" not in message:
            return await connection.reply(202, None)
        if (fault := header_fault(request, message)) is not None:
            error = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32020, "message": fault}}
            return await connection.reply(400, error)
        if message["method"] == "subscriptions/listen":
            return await self._listen(connection, message)
        with trio.CancelScope() as scope:
            async with connection.watched(scope):
                await self._answer(connection, message, None)
        if scope.cancelled_caught:
            self.script.counters.cancelled += 1
            raise Lost
        return None

    async def _listen(self, connection: Connection, message: Json) -> None:
        await connection.start_stream()
        await connection.event(acknowledgement(message))
        self.listens[connection] = message["id"]
        self.script.counters.streams += 1
        try:
            await connection.wait_lost()
        finally:
            self.script.counters.streams -= 1
            del self.listens[connection]

    async def _serve_legacy(self, connection: Connection, request: Incoming, message: Json | None) -> None:
        if self.script.eras == "modern":
            refused = self.script.wrong_era((message or {}).get("params") or {})
            error = {"jsonrpc": "2.0", "id": (message or {}).get("id"), "error": refused.error}
            return await connection.reply(400, error)
        if message is not None and message.get("method") == "initialize":
            return await self._initialize(connection, message)
        session_id = request.headers.get("mcp-session-id")
        if session_id is None:
            return await connection.reply(400, _error("a session id is needed"))
        if session_id not in self.sessions:
            return await connection.reply(self.unknown, _error("no such session"))
        session = self.sessions[session_id]
        if request.verb == "DELETE":
            del self.sessions[session_id]
            return await connection.reply(204, None)
        if request.verb == "GET":
            return await self._stand(connection, session)
        assert message is not None
        if "method" in message and "id" in message:
            return await self._legacy_call(connection, session, message)
        self._take(session, message)
        return await connection.reply(202, None)

    async def _initialize(self, connection: Connection, message: Json) -> None:
        self.minted += 1
        session = Session(f"session-{self.minted}")
        self.sessions[session.id] = session
        answer = await self.script.answer(message, HttpWire(connection, session))
        await connection.reply(200, answer, {"Mcp-Session-Id": session.id})

    def _take(self, session: Session, message: Json) -> None:
        """A notification, or the answer to a question of ours."""
        if message.get("method") == "notifications/cancelled":
            self.script.counters.cancel_notifications += 1
            scope = session.calls.get(message["params"]["requestId"])
            if scope is not None:
                self.script.counters.cancelled += 1
                scope.cancel()
        elif "method" not in message and message["id"] in session.questions:
            session.questions[message["id"]].append(message)
            session.answered.set()
            session.answered = trio.Event()

    async def _legacy_call(self, connection: Connection, session: Session, message: Json) -> None:
        with trio.CancelScope() as lost, trio.CancelScope() as cancelled:
            session.calls[message["id"]] = cancelled
            try:
                async with connection.watched(lost):
                    await self._answer(connection, message, session)
            finally:
                del session.calls[message["id"]]
        if lost.cancelled_caught:
            self.script.counters.abandoned += 1
            raise Lost
        if cancelled.cancelled_caught:
            await connection.end_unanswered()

    async def _stand(self, connection: Connection, session: Session) -> None:
        if session.standing is not None:
            return await connection.reply(409, _error("there is a stream already"))
        await connection.start_stream()
        if self.fleeting:
            return await connection.end_stream()
        session.standing = connection
        self.script.counters.streams += 1
        try:
            return await connection.wait_lost()
        finally:
            session.standing = None
            self.script.counters.streams -= 1

    async def _answer(self, connection: Connection, message: Json, session: Session | None) -> None:
        if self.answers == "sse":
            await connection.start_stream()
        answer = await self.script.answer(message, HttpWire(connection, session))
        if connection.streaming:
            await connection.event(answer)
            return await connection.end_stream()
        missing = answer.get("error", {}).get("code") == -32601
        return await connection.reply(404 if missing and is_modern(message) else 200, answer)


@attrs.frozen
class HttpWire:
    """The `scripted.Wire` of one HTTP request; a modern one has no session and is never asked to `ask`."""

    connection: Connection
    session: Session | None

    async def send(self, message: Json) -> None:
        """The answer becomes an event stream with the first message."""
        if not self.connection.streaming:
            await self.connection.start_stream()
        await self.connection.event(message)

    async def ask(self, method: str, params: Json) -> Json:
        """The answer comes with a POST of its own, on any connection of the session."""
        session = self.session
        assert session is not None
        question = f"ask-{id(self):x}-{len(session.questions)}"
        answers = session.questions[question] = deque[Json]()
        try:
            await self.send({"jsonrpc": "2.0", "id": question, "method": method, "params": params})
            while not answers:
                await session.answered.wait()
            return answers.popleft()
        finally:
            del session.questions[question]

    async def fail(self, how: str) -> NoReturn:
        """See the module."""
        await self.connection.fail(how)


def header_fault(request: Incoming, message: Json) -> str | None:
    """What is wrong with the mirrored headers of a modern request (MCP 2026-07-28, header validation)."""
    params: Json = message.get("params") or {}
    wanted = {"mcp-protocol-version": _version(message), "mcp-method": message.get("method")}
    if message.get("method") in ("tools/call", "prompts/get"):
        wanted["mcp-name"] = params.get("name")
    for name, value in wanted.items():
        if request.headers.get(name) != value:
            return f"{name} is {request.headers.get(name)!r}, the body says {value!r}"
    return None


@asynccontextmanager
async def open_counting_server(
    answers: Answers = "json", eras: Eras = "both", port: int = 0
) -> AsyncIterator[CountingServer]:
    """A server in this process, on loopback. Its connections end with the block."""
    server = CountingServer(answers=answers, script=ScriptedServer(eras=eras))
    server.listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    server.port = server.listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listen)
        yield server
        nursery.cancel_scope.cancel()


def _version(message: Json | None) -> str | None:
    meta = ((message or {}).get("params") or {}).get("_meta") or {}
    version: str | None = meta.get(VERSION_KEY)
    return version


def _error(reason: str) -> Json:
    return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": reason}}


async def _main(answers: Answers, eras: Eras, port: int) -> None:
    async with open_counting_server(answers, eras, port) as server:
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        async with trio.lowlevel.FdStream(0) as stdin:
            async for _ in stdin:
                pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", choices=("json", "sse"), default="json")
    parser.add_argument("--eras", choices=("both", "legacy", "modern"), default="both")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    trio.run(_main, options.answers, options.eras, options.port)
