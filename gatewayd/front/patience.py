"""Finds the calls that wait, so that the others cost nothing.

Most calls are answered within a few milliseconds. Watching the client, a deadline and a keep-alive timer for each of
them would cost more than the call itself, so a call gets these only when it is still running after `PATIENCE`.
"""

from __future__ import annotations

from typing import Protocol

import trio

PATIENCE = 0.02
"""Seconds after which a running call counts as one that waits. A client that leaves earlier is noticed by then."""


class Waiting(Protocol):
    """A call in the eyes of its front."""

    def settle(self) -> None:
        """The call turned out to wait: start what watches it. Must not block or fail."""
        ...


class Patience:
    """Owns the clock for all calls of one front. Run `run` in a nursery for as long as calls are added."""

    def __init__(self) -> None:
        self._running: dict[Waiting, float] = {}
        self._some = trio.Event()

    def begin(self, call: Waiting, now: float) -> None:
        """A call begins."""
        if not self._running:
            self._some.set()
        self._running[call] = now

    def finish(self, call: Waiting) -> None:
        """A call is over, however it ended."""
        self._running.pop(call, None)

    async def run(self) -> None:
        """Settle calls until cancelled. Sleeps while there are none."""
        while True:
            if not self._running:
                self._some = trio.Event()
                await self._some.wait()
            await trio.sleep(PATIENCE)
            now = trio.current_time()
            while self._running:
                call, began = next(iter(self._running.items()))  # oldest first: dicts keep insertion order
                if now - began < PATIENCE:
                    break
                del self._running[call]
                call.settle()
