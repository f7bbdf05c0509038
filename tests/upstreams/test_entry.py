from __future__ import annotations

import trio
from trio.testing import MockClock

from gatewayd.upstreams.entry import Entry, Lease
from gatewayd.upstreams.stdio import open_stdio
from tests.support.children import ECHO, python
from tests.upstreams.test_stdio import BOUNDS


async def test_a_lease_is_given_back_once() -> None:
    released: list[str] = []
    async with open_stdio(python(ECHO), name="x", bounds=BOUNDS) as connection:
        with Lease(connection, "hello", lambda: released.append("once")) as lease:
            assert (lease.connection, lease.greeting, released) == (connection, "hello", [])
        lease.release()
    assert released == ["once"]


async def test_an_entry_is_usable_until_its_time_is_up_or_its_process_has_ended(
    autojump_clock: MockClock,
) -> None:
    entry = Entry("key", since=0.0, restarts=0)
    assert entry.usable
    entry.life.deadline = trio.current_time() + 5
    await trio.sleep(5.1)
    assert not entry.usable


async def test_an_entry_with_a_process_that_ended_is_not_usable() -> None:
    async with open_stdio(python("pass"), name="x", bounds=BOUNDS) as connection:
        entry = Entry("key", since=0.0, restarts=0, connection=connection)
        await connection.wait_closed()
        assert not entry.usable
