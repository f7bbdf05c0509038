from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gatewayd.upstreams.outbox import STUCK, WRITE_DEADLINE, Outbox

LIMIT = 1_000_000
BIG = b"x" * 200_000
"""More than a pipe holds."""


@asynccontextmanager
async def open_outbox() -> AsyncGenerator[tuple[Outbox, trio.lowlevel.FdStream]]:
    """An outbox that runs, and the reading end of its pipe."""
    read, write = os.pipe()
    async with trio.lowlevel.FdStream(read) as reader, trio.lowlevel.FdStream(write):
        outbox = Outbox(write, LIMIT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run)
            yield outbox, reader
            nursery.cancel_scope.cancel()


async def read(stream: trio.lowlevel.FdStream, size: int) -> bytes:
    """Exactly `size` bytes."""
    data = b""
    with trio.fail_after(5):
        while len(data) < size:
            data += await stream.receive_some(size - len(data))
    return data


def remember(log: list[tuple[str, bool]], name: str) -> Callable[[bool], None]:
    return lambda begun: log.append((name, begun))


async def test_small_lines_go_at_once_and_large_ones_in_order() -> None:
    async with open_outbox() as (outbox, reader):
        assert outbox.put(b"small\n") is None
        assert outbox.put(BIG) is not None
        assert outbox.put(b"after\n") is not None
        assert outbox.waiting > 0
        assert await read(reader, 12 + len(BIG)) == b"small\n" + BIG + b"after\n"
        assert outbox.waiting == 0
        assert outbox.put(b"again\n") is None


async def test_a_line_can_be_taken_back_until_its_first_byte_is_written() -> None:
    async with open_outbox() as (outbox, reader):
        first, second = outbox.put(BIG), outbox.put(b"second\n")
        outbox.put(b"third\n")
        assert first is not None
        assert second is not None
        assert not outbox.withdraw(first)
        assert outbox.withdraw(second)
        assert await read(reader, len(BIG) + 6) == BIG + b"third\n"
        assert outbox.waiting == 0


async def test_deadlines_pass_for_each_line_alone_and_half_a_line_is_never_left(
    autojump_clock: MockClock,
) -> None:
    late: list[tuple[str, bool]] = []
    async with open_outbox() as (outbox, reader):
        outbox.put(BIG, remember(late, "begun"))
        await trio.sleep(1)
        outbox.put(b"waiting\n", remember(late, "waiting"))
        await trio.sleep(WRITE_DEADLINE - 0.9)
        assert late == [("begun", True)]
        await trio.sleep(1)
        assert late == [("begun", True), ("waiting", False)]
        outbox.put(b"later\n", remember(late, "later"))
        assert await read(reader, len(BIG) + 6) == BIG + b"later\n"
        await trio.sleep(2 * WRITE_DEADLINE)
    assert len(late) == 2


async def test_room_is_bounded_and_waiting_for_it_too(autojump_clock: MockClock) -> None:
    async with open_outbox() as (outbox, reader):
        assert await outbox.wait_room(10 * LIMIT)
        outbox.put(BIG)
        assert outbox.fits(1000)
        assert not outbox.fits(LIMIT)
        began = trio.current_time()
        assert not await outbox.wait_room(LIMIT)
        assert trio.current_time() - began == pytest.approx(WRITE_DEADLINE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, reader, len(BIG))
            assert await outbox.wait_room(LIMIT)


async def test_who_closes_its_end_breaks_the_outbox() -> None:
    async with open_outbox() as (outbox, reader):
        outbox.put(BIG)
        await reader.aclose()
        await wait_all_tasks_blocked()
        assert outbox.broken
        assert outbox.put(b"more\n") is None
        assert await outbox.wait_room(10 * LIMIT)
        assert outbox.waiting == 0


async def test_a_small_write_notices_too() -> None:
    async with open_outbox() as (outbox, reader):
        await reader.aclose()
        assert outbox.put(b"more\n") is None
        assert outbox.broken


async def test_who_takes_no_byte_for_long_is_given_up(autojump_clock: MockClock) -> None:
    async with open_outbox() as (outbox, reader):
        outbox.put(BIG)
        await trio.sleep(STUCK - 1)
        await read(reader, 100_000)
        await trio.sleep(STUCK - 1)
        assert not outbox.broken
        await trio.sleep(2)
        assert outbox.broken
