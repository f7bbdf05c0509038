"""The load generator, a process of its own: `python -m bench.load SPEC`, where SPEC and what it prints are
JSON.

Plain sockets and epoll, request bytes built once, answers searched rather than parsed, so that it costs
little beside what it measures. Every connection sends its next call when the answer to the last one is
there.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections.abc import Iterator
from typing import Literal

import msgspec

from tests.support import wire

PAYLOAD = "x" * 100
"""Text of the echo: about 0.2 KB of request body in the legacy era."""


class Spec(msgspec.Struct):
    """What to do."""

    port: int
    era: Literal["modern", "legacy"] = "modern"
    work: Literal["calls", "streams", "sessions"] = "calls"
    path: str = "/mcp"
    connections: int = 1
    calls: int = 1000
    """Altogether, over all connections. Sessions: how many to open."""
    seconds: float = 60.0
    """Give up after so long."""


class Outcome(msgspec.Struct):
    """What came of it. Latencies in milliseconds: of whole answers, or of the first event where streams are
    asked.
    """

    calls: int
    errors: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds


class Connection:
    """One keep-alive connection with one request under way."""

    def __init__(self, spec: Spec) -> None:
        self.socket = dial(spec.port)
        session = handshake(self.socket, spec.path) if spec.era == "legacy" else None
        self.request = wire.addressed(request(spec, session), f"127.0.0.1:{spec.port}")
        self.marker = b"data:" if spec.work == "streams" else b""
        self.buffer = b""
        self.sent = self.first = 0

    def start(self) -> None:
        """Send the next call."""
        self.buffer = b""
        self.first = 0
        self.sent = time.perf_counter_ns()
        self.socket.sendall(self.request)

    def ready(self) -> bool:
        """Read what is there: whether the answer is complete."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.buffer += data
        if self.marker and not self.first and self.marker in self.buffer:
            self.first = time.perf_counter_ns()
        return complete(self.buffer)

    def good(self) -> bool:
        """Whether the complete answer is a result."""
        return self.buffer.startswith(b"HTTP/1.1 200") and b'"result":' in self.buffer

    def latency(self) -> int:
        """Nanoseconds since it was sent, or to the first event."""
        return (self.first or time.perf_counter_ns()) - self.sent


def complete(buffer: bytes) -> bool:
    """Whether this is a whole HTTP answer, with a length or in chunks."""
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return False
    lower = buffer[:head].lower()
    at = lower.find(b"content-length:")
    if at < 0:
        return buffer.endswith(b"\r\n0\r\n\r\n")
    line = lower[at + 15 :].split(b"\r\n", 1)[0]
    return len(buffer) >= head + 4 + int(line)


def dial(port: int) -> socket.socket:
    """A connection to the loopback without Nagle's delay."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send one request and read its answer, whole."""
    connection.sendall(wire.addressed(request, f"127.0.0.1:{connection.getpeername()[1]}"))
    buffer = b""
    while not complete(buffer):
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(f"the server closed the connection after {buffer!r}")
        buffer += data
    return buffer


def handshake(connection: socket.socket, path: str) -> str:
    """Initialize a legacy session: its id."""
    head = exchange(connection, wire.initialize(path)).partition(b"\r\n\r\n")[0].decode("latin-1")
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "mcp-session-id":
            session = value.strip()
            initialized = wire.legacy("notifications/initialized", id=None, session=session, path=path)
            exchange(connection, initialized)
            return session
    raise ConnectionError(f"no session in {head!r}")


def request(spec: Spec, session: str | None) -> bytes:
    """The call that is sent over and over."""
    streams = spec.work == "streams"
    params = wire.call("stream") if streams else wire.call("echo", text=PAYLOAD)
    if spec.era == "modern":
        return wire.modern("tools/call", params, path=spec.path, progress=1 if streams else None)
    if streams:
        params["_meta"] = {"progressToken": 1}
    return wire.legacy("tools/call", params, session=session, path=spec.path)


def run(spec: Spec) -> Outcome:
    """Make the calls."""
    connections = [Connection(spec) for _ in range(spec.connections)]
    latencies: list[int] = []
    begun = errors = 0
    start = time.perf_counter()
    with selectors.EpollSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.start()
            begun += 1
        for connection in _answered(selector, start + spec.seconds):
            latencies.append(connection.latency())
            errors += not connection.good()
            if begun < spec.calls:
                connection.start()
                begun += 1
            elif len(latencies) == begun:
                break
    seconds = time.perf_counter() - start
    latencies.sort()
    done = len(latencies)
    p50, p99 = (latencies[min(done - 1, int(done * part))] / 1e6 for part in (0.5, 0.99))
    return Outcome(done, errors, seconds, p50, p99)


def _answered(selector: selectors.EpollSelector, until: float) -> Iterator[Connection]:
    while (left := until - time.perf_counter()) > 0:
        for key, _ in selector.select(left):
            connection: Connection = key.data
            if connection.ready():
                yield connection
    raise TimeoutError("the calls took too long")


def hold(spec: Spec) -> None:
    """Open idle legacy sessions, each with a standing stream; say `ready`; keep them until standard input
    ends.
    """
    held: list[socket.socket] = []
    for _ in range(spec.calls):
        connection = dial(spec.port)
        session = handshake(connection, spec.path)
        connection.sendall(wire.addressed(wire.get_stream(session, spec.path), f"127.0.0.1:{spec.port}"))
        if b" 200 " not in connection.recv(65536):
            raise ConnectionError("the standing stream was refused")
        held.append(connection)
    print('"ready"', flush=True)
    sys.stdin.read()


def main(text: str) -> None:
    """Do what the specification says."""
    spec = msgspec.json.decode(text, type=Spec)
    if spec.work == "sessions":
        hold(spec)
    else:
        print(msgspec.json.encode(run(spec)).decode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
