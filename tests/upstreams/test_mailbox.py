from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gatewayd.protocol.jsonrpc import Message, Notification
from gatewayd.upstreams.channel import UpstreamDied
from gatewayd.upstreams.mailbox import Mailbox

A, B, C = (Notification(name) for name in "abc")


async def test_messages_come_out_in_order_then_the_end() -> None:
    mailbox = Mailbox(3, 100)
    assert mailbox.put(A, 1)
    assert mailbox.put(B, 1)
    mailbox.put_last(C, 1)
    assert [await mailbox.receive() for _ in range(5)] == [A, B, C, None, None]
    assert not mailbox.put(A, 1)


async def test_it_is_bounded_in_messages_and_bytes_but_takes_one_large_message_and_the_last() -> None:
    mailbox = Mailbox(2, 10)
    assert mailbox.put(A, 50)
    assert not mailbox.put(B, 1)
    assert await mailbox.receive() == A
    assert mailbox.put(B, 1)
    assert mailbox.put(B, 1)
    assert not mailbox.put(B, 1)
    mailbox.put_last(C, 1)
    assert len(mailbox) == 3


async def test_what_is_queued_comes_before_the_error() -> None:
    mailbox = Mailbox(2, 10)
    mailbox.put(A, 1)
    mailbox.close(UpstreamDied("gone"))
    mailbox.close()
    assert await mailbox.receive() == A
    for _ in range(2):
        with pytest.raises(UpstreamDied, match="gone"):
            await mailbox.receive()


async def test_discarded_messages_are_gone() -> None:
    mailbox = Mailbox(2, 10)
    mailbox.put(A, 10)
    mailbox.discard()
    assert mailbox.put(B, 10)
    assert await mailbox.receive() == B


async def test_a_cancelled_receiver_loses_nothing() -> None:
    mailbox = Mailbox(2, 10)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.receive)
            await wait_all_tasks_blocked()
            scope.cancel()
    mailbox.put(A, 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await mailbox.receive()
    assert scope.cancelled_caught
    assert await mailbox.receive() == A


async def test_cancelling_a_receiver_that_was_just_woken_loses_nothing() -> None:
    mailbox = Mailbox(2, 10)
    got: list[Message | None] = []

    async def receive() -> None:
        got.append(await mailbox.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        mailbox.put(A, 1)
        nursery.cancel_scope.cancel()
    assert got == [A]


async def test_two_receivers_are_a_bug() -> None:
    mailbox = Mailbox(2, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.receive)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await mailbox.receive()
        mailbox.close()
