"""Our socket stream against Trio's own rules for streams, and against peers that are slow or gone."""

from __future__ import annotations

import operator
import os
import socket
import struct
from contextlib import suppress
from functools import partial
from typing import TypeVar

import pytest
import trio
import trio.testing

from gatewayd.net.stream import RECEIVE_SIZE, TcpStream

T = TypeVar("T", bound=TcpStream)

BIG = 8 * 1024 * 1024
"""More than the kernel buffers on a loopback connection."""


class Dutiful(TcpStream):
    """With what Trio demands and `TcpStream` leaves out on purpose: a look at types, a checkpoint in each write."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await super().receive_some(None if max_bytes is None else operator.index(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        await super().send_all(data)


async def pair(kind: type[T]) -> tuple[T, T]:
    """Two ends of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    for end in (one, other):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return kind(one), kind(other)


def clogged_pair(kind: type[T]) -> tuple[T, T]:
    """Two ends that take no more, and stay so: over TCP the kernel finds a little more room now and then."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                end.send(b"x" * 4096)
    return kind(ends[0]), kind(ends[1])


async def test_it_keeps_the_rules_of_trio_for_two_way_streams() -> None:
    async def make() -> tuple[Dutiful, Dutiful]:
        return await pair(Dutiful)

    async def make_clogged() -> tuple[Dutiful, Dutiful]:
        await trio.lowlevel.checkpoint()
        return clogged_pair(Dutiful)

    with trio.fail_after(30):
        await trio.testing.check_two_way_stream(make, make_clogged)


async def test_half_closing_ends_one_direction() -> None:
    with trio.fail_after(10):
        async with (ends := await pair(TcpStream))[0] as one, ends[1] as other:
            await one.send_all(b"x")
            await one.send_eof()
            assert await other.receive_some() == b"x"
            assert await other.receive_some() == b""
            await other.send_all(b"y")
            assert await one.receive_some() == b"y"
        with pytest.raises(trio.ClosedResourceError):
            await one.send_eof()


async def test_a_write_goes_out_whole_to_a_slow_reader() -> None:
    data = os.urandom(BIG)
    received = bytearray()

    async def read(stream: TcpStream) -> None:
        while len(received) < BIG:
            await trio.lowlevel.checkpoint()
            received.extend(await stream.receive_some(100_000))

    with trio.fail_after(30):
        async with (ends := await pair(TcpStream))[0] as one, ends[1] as other, trio.open_nursery() as nursery:
            nursery.start_soon(read, other)
            await one.send_all(data)
    assert received == data


async def test_a_write_to_a_reader_that_does_not_read_can_be_cancelled() -> None:
    async with (ends := await pair(TcpStream))[0] as one, ends[1]:
        with trio.move_on_after(0.2) as scope:
            await one.send_all(bytes(BIG))
        assert scope.cancelled_caught


async def test_a_cancelled_task_sends_nothing() -> None:
    async with (ends := await pair(TcpStream))[0] as one, ends[1] as other:
        with trio.CancelScope() as scope:
            scope.cancel()
            await one.send_all(b"never")
        assert scope.cancelled_caught
        await one.send_all(b"later")
        assert await other.receive_some() == b"later"


async def test_what_arrives_after_a_cancelled_read_is_not_lost() -> None:
    async with (ends := await pair(TcpStream))[0] as one, ends[1] as other:
        with trio.move_on_after(0.05):
            await other.receive_some()
        await one.send_all(b"here")
        with trio.CancelScope() as scope:
            scope.cancel()
            await other.receive_some()
        assert scope.cancelled_caught
        with trio.fail_after(5):
            assert await other.receive_some() == b"here"


@pytest.mark.parametrize("direction", ["reads", "writes"])
async def test_who_waits_is_told_when_the_stream_is_closed(direction: str) -> None:
    one, other = await pair(TcpStream)

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await (one.receive_some() if direction == "reads" else one.send_all(bytes(BIG)))

    with trio.fail_after(10):
        async with other, trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.1)
            await one.aclose()
    assert one.fileno() == -1


async def test_a_reset_by_the_peer_breaks_reading_and_writing() -> None:
    one, other = await pair(TcpStream)
    async with one:
        with socket.socket(fileno=os.dup(other.fileno())) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await other.aclose()
        with trio.fail_after(10):
            with pytest.raises(trio.BrokenResourceError, match="reset"):
                await one.receive_some()
            with pytest.raises(trio.BrokenResourceError):
                await one.send_all(b"x")
    assert one.peer() == "gone"


async def test_one_read_brings_a_bounded_piece() -> None:
    async with (ends := await pair(TcpStream))[0] as one, ends[1] as other:
        await one.send_all(bytes(2 * RECEIVE_SIZE))
        await trio.sleep(0.05)
        assert len(await other.receive_some()) <= RECEIVE_SIZE
        assert len(await other.receive_some(10)) == 10


async def test_it_takes_over_the_socket_of_a_stream_of_trio() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with TcpStream.adopt(stream) as adopted:
            assert stream.socket.fileno() == -1
            await adopted.send_all(await adopted.receive_some())

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            address = listener.socket.getsockname()
            async with TcpStream.adopt(await trio.open_tcp_stream("127.0.0.1", address[1])) as client:
                assert client.peer() == f"127.0.0.1:{address[1]}"
                await client.send_all(b"hello")
                assert await client.receive_some() == b"hello"
                assert await client.receive_some() == b""
            nursery.cancel_scope.cancel()


async def test_closing_frees_the_descriptor_also_when_cancelled() -> None:
    before = len(os.listdir("/proc/self/fd"))
    one, other = await pair(TcpStream)
    with trio.CancelScope() as scope:
        scope.cancel()
        await one.aclose()
    with trio.CancelScope() as scope:
        scope.cancel()
        await other.aclose()
    await one.aclose()
    assert len(os.listdir("/proc/self/fd")) == before
