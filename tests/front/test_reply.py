"""How an answer is framed on HTTP/1.1."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from gatewayd.front.reply import Http1Reply
from gatewayd.protocol.http1 import RequestHead

FIELDS = ((b"cache-control", b"no-store"),)


def head(method: str = "POST", *, keep_alive: bool = True, minor: int = 1) -> RequestHead:
    return RequestHead(method, "/mcp", (), 0, False, keep_alive, False, minor)


def opened(asked: RequestHead, *, close: bool = False) -> tuple[Http1Reply, trio.testing.MemorySendStream]:
    stream = trio.testing.MemorySendStream()
    return Http1Reply(stream, asked, FIELDS, close=close), stream


async def test_a_whole_answer() -> None:
    reply, stream = opened(head())
    await reply.send(200, [(b"content-type", b"text/plain")], b"hello")
    assert stream.get_data_nowait() == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncache-control: no-store\r\ncontent-length: 5\r\n\r\nhello"
    )
    assert reply.started
    assert reply.complete
    assert reply.reusable


async def test_an_answer_to_head_has_the_length_and_no_body() -> None:
    reply, stream = opened(head("HEAD"))
    await reply.send(405, (), b"hello")
    sent = bytes(stream.get_data_nowait())
    assert b"content-length: 5\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")


async def test_204_has_no_length() -> None:
    reply, stream = opened(head())
    await reply.send(204, (), b"")
    assert b"content-length" not in stream.get_data_nowait()


@pytest.mark.parametrize(
    ("asked", "close", "expected"),
    [
        (head(), False, b""),
        (head(), True, b"connection: close"),
        (head(keep_alive=False), False, b"connection: close"),
        (head(minor=0), False, b"connection: keep-alive"),
        (head(minor=0, keep_alive=False), False, b"connection: close"),
    ],
)
async def test_the_client_is_told_whether_the_connection_stays(
    asked: RequestHead, close: bool, expected: bytes
) -> None:
    reply, stream = opened(asked, close=close)
    await reply.send(200, (), b"")
    lines = bytes(stream.get_data_nowait()).split(b"\r\n")
    assert [line for line in lines if line.startswith(b"connection")] == ([expected] if expected else [])
    assert reply.reusable == (expected != b"connection: close")


async def test_a_stream_is_chunked_and_its_own_fields_win() -> None:
    reply, stream = opened(head())
    await reply.start(200, [(b"cache-control", b"no-cache")])
    await reply.write(b"abc")
    await reply.write(b"")
    await reply.end()
    sent = bytes(stream.get_data_nowait())
    assert sent.count(b"cache-control") == 1
    assert b"no-cache" in sent
    assert sent.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert reply.complete
    assert reply.reusable


async def test_a_stream_to_http10_ends_with_the_connection() -> None:
    reply, stream = opened(head(minor=0))
    await reply.start(200, ())
    await reply.write(b"abc")
    await reply.end()
    sent = bytes(stream.get_data_nowait())
    assert b"transfer-encoding" not in sent
    assert sent.endswith(b"connection: close\r\n\r\nabc")
    assert not reply.reusable


async def test_writers_take_turns_and_nobody_follows_the_end(autojump_clock: MockClock) -> None:
    sent: list[bytes] = []

    class Slow(trio.abc.SendStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            sent.append(bytes(data))
            await trio.sleep(2)
            sent.append(b"|")

        async def wait_send_all_might_not_block(self) -> None:
            await trio.lowlevel.checkpoint()

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    reply = Http1Reply(Slow(), head(), (), close=False)
    await reply.start(200, ())
    sent.clear()
    async with trio.open_nursery() as nursery:
        for data in (b"first", b"second"):
            nursery.start_soon(reply.write, data)
            await trio.sleep(0.1)
        nursery.start_soon(reply.end)
        await trio.sleep(0.1)
        assert reply.writing_since is not None
        nursery.start_soon(reply.write, b"late")
    assert sent == [b"5\r\nfirst\r\n", b"|", b"6\r\nsecond\r\n", b"|", b"0\r\n\r\n", b"|"]
    assert reply.writing_since is None


async def test_a_write_that_was_cut_short_spoils_the_connection(autojump_clock: MockClock) -> None:
    stream, _ = trio.testing.lockstep_stream_pair()
    reply = Http1Reply(stream, head(), (), close=False)
    with trio.move_on_after(1):
        await reply.send(200, (), b"hello")
    assert not reply.reusable
    assert not reply.complete
