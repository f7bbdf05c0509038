"""Which calls are found to wait, and when."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from gatewayd.front.patience import PATIENCE, Patience


@attrs.define(eq=False)
class Waiter:
    settled_at: float | None = None

    def settle(self) -> None:
        assert self.settled_at is None
        self.settled_at = trio.current_time()


async def test_a_call_that_waits_is_settled_once(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    patience, waiter = Patience(), Waiter()
    nursery.start_soon(patience.run)
    began = trio.current_time()
    patience.begin(waiter, began)
    await trio.sleep(1)
    assert waiter.settled_at is not None
    assert PATIENCE <= waiter.settled_at - began + 1e-9 <= 2 * PATIENCE
    patience.finish(waiter)


async def test_a_call_that_ends_soon_never_is(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    patience, waiter = Patience(), Waiter()
    nursery.start_soon(patience.run)
    patience.begin(waiter, trio.current_time())
    await trio.sleep(PATIENCE / 2)
    patience.finish(waiter)
    await trio.sleep(1)
    assert waiter.settled_at is None


async def test_each_call_is_settled_in_its_own_time(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    patience = Patience()
    nursery.start_soon(patience.run)
    waiters: list[tuple[float, Waiter]] = []
    for _ in range(20):
        waiters.append((trio.current_time(), Waiter()))
        patience.begin(waiters[-1][1], waiters[-1][0])
        await trio.sleep(0.003)
    await trio.sleep(1)
    for began, waiter in waiters:
        assert waiter.settled_at is not None
        assert waiter.settled_at - began == pytest.approx(1.5 * PATIENCE, abs=0.55 * PATIENCE)


async def test_it_sleeps_while_nobody_calls(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    """With a clock that jumps, a loop that turned in idle time would be seen as steps."""
    steps = Steps()
    nursery.start_soon(Patience().run)
    await trio.sleep(1)
    trio.lowlevel.add_instrument(steps)
    await trio.sleep(1000)
    trio.lowlevel.remove_instrument(steps)
    assert steps.count < 10


class Steps(trio.abc.Instrument):
    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
