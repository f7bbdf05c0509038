"""Cancel at every await: run something again and again, each time with the axe falling one step later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

MOST = 5000
"""Steps that no single call takes."""


class Steps(trio.abc.Instrument):
    """Calls `at` when the run has made so many steps. A step is one task running from one checkpoint to the next."""

    def __init__(self, steps: int, at: Callable[[], None]) -> None:
        self.left = steps
        self._at = at

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument`."""
        self.left -= 1
        if self.left == 0:
            self._at()


Work = Callable[[Callable[[], None]], Awaitable[None]]
"""Something to be cut: it calls its argument when the part begins that matters."""


async def cut(work: Work, steps: int) -> bool:
    """Run `work` and cancel it so many steps after it began; whether it had ended before."""
    with trio.CancelScope() as scope:
        return await interrupt(work, scope.cancel, steps)
    return False


async def interrupt(work: Work, deed: Callable[[], None], steps: int) -> bool:
    """Run `work` and do the `deed` so many steps after it began; whether it had ended before."""
    axe = Steps(steps, deed)
    try:
        await work(lambda: trio.lowlevel.add_instrument(axe))
    finally:
        trio.lowlevel.remove_instrument(axe)
    return axe.left > 0


async def at_every_step(trial: Callable[[int], Awaitable[bool]], check: Callable[[], Awaitable[None]]) -> int:
    """Try with 1, 2, 3... steps until the trial says that it ended before; how many times that was.

    After each time `check` must find everything at rest.
    """
    for steps in range(1, MOST):
        ended = await trial(steps)
        await check()
        if ended:
            return steps
    raise AssertionError("it never ended before it was cut")
