"""A raw HTTP/2 client that takes the requests of `wire`: the same bytes, the other protocol."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import trio

from tests.support.wire import Json, Reply, addressed, split_events


class Reset(Exception):
    """The server gave the stream up; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Stream:
    """One request and its answer."""

    def __init__(self, client: Http2Client, number: int) -> None:
        self.number = number
        self.over = False
        """Whether the server has given the stream up."""
        self._client = client
        self._parts: deque[Reply | bytes | Exception | None] = deque()
        self._arrived = trio.Event()
        self._events: deque[Json] = deque()
        self._partial = b""

    def put(self, part: Reply | bytes | Exception | None) -> None:
        """Take a part of the answer: its head, pieces of its body, None at its end."""
        self.over = self.over or isinstance(part, Exception)
        self._parts.append(part)
        self._arrived.set()
        self._arrived = trio.Event()

    async def head(self) -> Reply:
        """Wait for the head of the answer."""
        part = await self._part()
        assert isinstance(part, Reply), part
        return part

    async def reply(self) -> Reply:
        """The answer, whole."""
        reply = await self.head()
        reply.body = await self.rest()
        return reply

    async def rest(self) -> bytes:
        """What is left of the body."""
        body = bytearray()
        while (part := await self._part()) is not None:
            assert isinstance(part, bytes), part
            body += part
        return bytes(body)

    async def part(self) -> bytes | None:
        """The next piece of the body; None at its end."""
        part = await self._part()
        assert not isinstance(part, Reply), part
        return part

    async def event(self) -> Json | None:
        """The next message of an event stream; None at its end."""
        while not self._events:
            part = await self._part()
            if part is None:
                return None
            assert isinstance(part, bytes), part
            whole, separator, self._partial = (self._partial + part).rpartition(b"\n\n")
            self._events.extend(split_events(whole + separator))
        return self._events.popleft()

    async def reset(self) -> None:
        """Take the request back."""
        await self._client.reset(self.number)

    async def _part(self) -> Reply | bytes | None:
        while not self._parts:
            await self._arrived.wait()
        part = self._parts.popleft()
        if isinstance(part, Exception):
            raise part
        if isinstance(part, bytes):
            await self._client.consumed(self.number, len(part))
        return part


class Http2Client:
    """One connection. Raises `trio.BrokenResourceError` where the server closes in mid-answer, `Reset` for a stream.

    `send`, `head`, `event` and so on are about the last request, as with a `WireClient`.
    """

    def __init__(self, stream: trio.abc.Stream, host: str, *, careless: bool = False) -> None:
        """`careless`: send whatever headers we are told to."""
        self.stream = stream
        self.host = host
        self.deaf = False
        """Whether nothing is received any more, not even what the protocol itself needs."""
        self.reading = True
        """Whether flow-control credit is given back."""
        self.over = trio.Event()
        """The server has closed the connection."""
        rules = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=not careless,
            normalize_outbound_headers=not careless,
        )
        self._h2 = h2.connection.H2Connection(rules)
        self._careless = careless
        self._streams: dict[int, Stream] = {}
        self._last: Stream | None = None
        self._nursery: trio.Nursery
        self._manager = trio.open_nursery()
        self._writing = trio.Lock()

    async def __aenter__(self) -> Self:
        self._nursery = await self._manager.__aenter__()
        self._h2.initiate_connection()
        await self.flush()
        self._nursery.start_soon(self._receive)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(kind, error, trace)

    async def request(self, data: bytes, *, end: bool = True) -> Stream:
        """Start a request given as HTTP/1.1 bytes with at most a `Content-Length` body."""
        head, _, body = addressed(data, self.host).partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.split(b" ")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        authority = b"".join(value for name, value in fields if name == b"host")
        pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", target)]
        return await self.start([*pseudo, *(field for field in fields if field[0] != b"host")], body, end=end)

    async def start(self, headers: list[tuple[bytes, bytes]], body: bytes = b"", *, end: bool = True) -> Stream:
        """Start a request given as HTTP/2 headers."""
        number = self._h2.get_next_available_stream_id()
        if self._careless:
            self._h2.remote_settings.max_concurrent_streams = 1000
        stream = self._streams[number] = self._last = Stream(self, number)
        self._h2.send_headers(number, headers, end_stream=end and not body)
        await self.flush()
        if body:
            await self.send_body(number, body, end=end)
        return stream

    async def send_body(self, number: int, body: bytes, *, end: bool) -> None:
        """Send a part of a body, as fast as the server takes it; stops where the stream was reset."""
        while body and not self._streams[number].over:
            window = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if window <= 0:
                await trio.sleep(0.001)
                continue
            part, body = body[:window], body[window:]
            self._h2.send_data(number, part, end_stream=end and not body)
            await self.flush()

    async def reset(self, number: int) -> None:
        """Take a request back."""
        self._h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        await self.flush()

    async def send(self, data: bytes) -> None:
        """See `WireClient.send`; whole requests only."""
        await self.request(data)

    async def head(self) -> Reply:
        """See `WireClient.head`."""
        return await self._current().head()

    async def reply(self) -> Reply:
        """See `WireClient.reply`."""
        return await self._current().reply()

    async def ask(self, request: bytes) -> Reply:
        """See `WireClient.ask`."""
        return await (await self.request(request)).reply()

    async def rest(self) -> bytes:
        """See `WireClient.rest`."""
        return await self._current().rest()

    async def part(self) -> bytes | None:
        """See `WireClient.part`."""
        return await self._current().part()

    async def events(self) -> AsyncIterator[Json]:
        """See `WireClient.events`."""
        while (event := await self.event()) is not None:
            yield event

    async def event(self) -> Json | None:
        """See `WireClient.event`."""
        return await self._current().event()

    async def closed(self) -> bool:
        """See `WireClient.closed`."""
        await self.over.wait()
        return True

    async def consumed(self, number: int, size: int) -> None:
        """Give credit back for bytes that were taken."""
        if self.reading:
            self._h2.acknowledge_received_data(size, number)
            await self.flush()

    async def grant(self, size: int) -> None:
        """Give so much credit for the connection and for every stream to come."""
        self._h2.increment_flow_control_window(size)
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: size})
        await self.flush()

    async def flush(self) -> None:
        """Send what is waiting."""
        async with self._writing:
            await self.stream.send_all(self._h2.data_to_send())

    def _current(self) -> Stream:
        assert self._last is not None
        return self._last

    async def _receive(self) -> None:
        try:
            while data := await self.stream.receive_some():
                if self.deaf:
                    await trio.sleep_forever()
                for event in self._h2.receive_data(bytes(data)):
                    self._take(event)
                await self.flush()
        except trio.BrokenResourceError:
            pass
        self.over.set()
        for stream in self._streams.values():
            stream.put(trio.BrokenResourceError("the server closed the connection"))

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(stream_id=number, headers=headers):
                named = {bytes(name).decode(): bytes(value).decode("latin-1") for name, value in headers}
                self._streams[number].put(Reply(int(named.pop(":status")), named))
            case h2.events.DataReceived(stream_id=number, data=data):
                self._streams[number].put(data)
            case h2.events.StreamEnded(stream_id=number):
                self._streams[number].put(None)
            case h2.events.StreamReset(stream_id=number, error_code=code):
                self._streams[number].put(Reset(int(code)))
            case h2.events.ConnectionTerminated():
                self.over.set()
            case _:
                pass
