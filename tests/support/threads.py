"""Async context managers for what outlives a test: fixtures of a whole module cannot be async."""

from __future__ import annotations

import queue
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

import trio

T = TypeVar("T")


@contextmanager
def entered(manager: AbstractAsyncContextManager[T]) -> Generator[T]:
    """What the manager yields, entered and left in a thread with an event loop of its own."""
    ready = queue.SimpleQueue[tuple[T, trio.lowlevel.TrioToken] | None]()
    leave = trio.Event()

    async def run() -> None:
        async with manager as value:
            ready.put((value, trio.lowlevel.current_trio_token()))
            await leave.wait()

    with ThreadPoolExecutor(1) as executor:
        done: Future[None] = executor.submit(trio.run, run)
        done.add_done_callback(lambda _: ready.put(None))
        if (given := ready.get()) is not None:
            value, loop = given
            try:
                yield value
            finally:
                if not done.done():
                    loop.run_sync_soon(leave.set)
        done.result()
