from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gatewayd.protocol.jsonrpc import Failure, Message, Request
from gatewayd.routes.table import HttpTarget, Launch, Service, Sharing, StdioTarget, Timeouts
from gatewayd.upstreams import processes as module
from gatewayd.upstreams.channel import (
    Refused,
    UpstreamBroke,
    UpstreamDied,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from gatewayd.upstreams.processes import open_processes
from gatewayd.upstreams.stdio import StdioConnection
from tests.support.children import DEAF, ECHO, STUBBORN, descriptors, eventually, python, running, zombies

CRASH = "import sys; sys.stdin.readline(); sys.exit(1)"


def service(launch: Launch, *, per: Sharing = "principal", connect: float = 5.0, idle: float = 60.0) -> Service:
    return Service("files", StdioTarget(launch), Timeouts(connect=connect, idle=idle), per=per)


async def ask(connection: StdioConnection, ident: int = 1) -> Message | None:
    answer = await connection.request(Request(ident, "ping"))
    try:
        return await answer.receive()
    finally:
        await answer.aclose()


async def no_handshake(connection: StdioConnection) -> None:
    await trio.lowlevel.checkpoint()


async def test_ten_callers_of_one_key_share_a_start_and_other_keys_have_their_own() -> None:
    pids: list[int] = []

    async def call(key: str) -> None:
        with await processes.connection(key, ask) as lease:
            pids.append(lease.connection.pid)
            assert lease.greeting is not None

    async with open_processes(service(python(ECHO))) as processes:
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(call, "alice" if number < 10 else f"bob{number}")
        assert len(set(pids)) == 3
        statistics = processes.statistics()
        assert statistics.started == 3
        assert {(p.sharing, p.state, p.users, p.in_flight) for p in statistics.processes} == {
            ("principal", "running", 0, 0)
        }
        assert {p.pid for p in statistics.processes} == set(pids)
        assert "alice" not in repr(statistics)
    assert not any(running(pid) for pid in pids)
    assert zombies() == []


async def test_a_caller_that_is_cancelled_does_not_cancel_the_start_for_the_others() -> None:
    go = trio.Event()

    async def handshake(connection: StdioConnection) -> str:
        await go.wait()
        return "hello"

    async with open_processes(service(python(ECHO))) as processes:
        with trio.move_on_after(0.2):
            await processes.connection("k", handshake)
        go.set()
        lease = await processes.connection("k", handshake)
        assert lease.greeting == "hello"
        assert processes.statistics().started == 1


async def test_an_idle_process_is_stopped_and_one_in_use_is_not(mock_clock: MockClock) -> None:
    async with open_processes(service(python(ECHO), idle=60)) as processes:
        lease = await processes.connection("k", ask)
        pid = lease.connection.pid
        mock_clock.jump(1000)
        assert await ask(lease.connection)
        lease.release()
        lease.release()
        mock_clock.jump(59)
        lease = await processes.connection("k", ask)
        assert lease.connection.pid == pid
        mock_clock.jump(1000)
        lease.release()
        mock_clock.jump(61)
        fresh = await processes.connection("k", ask)
        assert fresh.connection.pid != pid
        await lease.connection.wait_closed()
        assert processes.statistics().crashed == 0


async def test_a_shared_process_is_kept(mock_clock: MockClock) -> None:
    async with open_processes(service(python(ECHO), per="shared")) as processes:
        lease = await processes.connection("shared", ask)
        lease.release()
        mock_clock.jump(1_000_000)
        assert (await processes.connection("shared", ask)).connection is lease.connection


async def test_a_crash_is_replaced_at_the_next_request() -> None:
    async with open_processes(service(python(CRASH))) as processes:
        for number in range(3):
            lease = await processes.connection("k", no_handshake)
            with pytest.raises(UpstreamDied):
                await ask(lease.connection)
            lease.release()
            await eventually(lambda: processes.statistics().processes == ())
            assert processes.statistics().crashed == number + 1
    assert zombies() == []


async def test_who_keeps_crashing_is_waited_for_and_then_refused(autojump_clock: MockClock) -> None:
    launch = Launch(("no-such-program-anywhere",))
    waits: list[float] = []
    async with open_processes(service(launch, connect=3.0)) as processes:
        while True:
            began = trio.current_time()
            with pytest.raises(UpstreamUnreachable) as caught:
                await processes.connection("k", ask)
            if "again in" in caught.value.reason:
                break
            waits.append(round(trio.current_time() - began, 3))
        assert waits == [0, 0.2, 0.4, 0.8, 1.6]
        assert caught.value.reason == "the service keeps ending; it will be started again in 3.2 s"
        with pytest.raises(UpstreamUnreachable, match="does not exist"):
            await processes.connection("another key", ask)
        await trio.sleep(20)
        began = trio.current_time()
        with pytest.raises(UpstreamUnreachable, match="does not exist"):
            await processes.connection("k", ask)
        assert trio.current_time() == began


@pytest.mark.slow
async def test_a_handshake_that_hangs_ends_in_time_for_everybody() -> None:
    async def call() -> None:
        with pytest.raises(UpstreamTimedOut, match="did not finish its handshake within"):
            await processes.connection("k", ask)

    async with open_processes(service(python(DEAF), connect=0.2)) as processes:
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(call)


async def test_a_process_that_dies_in_its_handshake_was_never_reached() -> None:
    async with open_processes(service(python(CRASH))) as processes:
        with pytest.raises(UpstreamUnreachable, match="ended while it was started"):
            await processes.connection("k", ask)


@pytest.mark.parametrize("error", [UpstreamBroke("odd"), Refused(Failure(1, -32602, "no")), RuntimeError("bug")])
async def test_what_the_handshake_raises_reaches_the_caller_and_no_other_process(error: Exception) -> None:
    async def handshake(connection: StdioConnection) -> None:
        raise error

    async with open_processes(service(python(ECHO))) as processes:
        other = await processes.connection("other", ask)
        with pytest.raises(type(error)) as caught:
            await processes.connection("k", handshake)
        assert caught.value is error
        assert processes.statistics().crashed == (0 if isinstance(error, Refused) else 1)
        assert await ask(other.connection)
        assert (await processes.connection("k", ask)).greeting is not None


async def test_processes_have_a_ceiling_and_idle_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PROCESSES", 2)
    async with open_processes(service(python(ECHO))) as processes:
        first = await processes.connection("first", ask)
        second = await processes.connection("second", ask)
        with pytest.raises(UpstreamUnreachable, match="too many processes"):
            await processes.connection("third", ask)
        second.release()
        first.release()
        third = await processes.connection("third", ask)
        assert second.connection.closed
        assert not first.connection.closed
        assert len(processes.statistics().processes) == 2
        third.release()


async def test_leaving_stops_everything_and_nothing_is_started_any_more() -> None:
    before = descriptors()
    async with open_processes(service(python(ECHO))) as processes:
        leases = [await processes.connection(key, ask) for key in range(3)]
    assert not any(running(lease.connection.pid) for lease in leases)
    with pytest.raises(UpstreamUnreachable, match="is being stopped"):
        await processes.connection("k", ask)
    for lease in leases:
        lease.release()
    assert descriptors() == before


async def test_closing_during_a_start_tells_those_who_wait() -> None:
    async def never(connection: StdioConnection) -> None:
        await trio.sleep_forever()

    async def call() -> None:
        with pytest.raises(UpstreamUnreachable, match="is being stopped"):
            await processes.connection("k", never)

    async with open_processes(service(python(ECHO))) as processes, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await eventually(lambda: processes.statistics().started == 1)
        processes.close()


@pytest.mark.slow
async def test_stubborn_children_are_stopped_side_by_side() -> None:
    async def ready(connection: StdioConnection) -> None:
        await eventually(lambda: connection.statistics().garbage == 1)  # its first line is no JSON

    async with open_processes(service(python(STUBBORN))) as processes:
        leases = [await processes.connection(key, ready) for key in range(3)]
        began = trio.current_time()
    assert trio.current_time() - began < 5.5
    assert not any(running(lease.connection.pid) for lease in leases)


@pytest.mark.slow
async def test_twenty_kills_are_survived_with_nothing_left_over() -> None:
    """Each life is long enough here to count as an accident: what is tested is the tidying up."""
    before = descriptors()
    async with open_processes(service(python(ECHO))) as processes:
        for number in range(20):
            lease = await processes.connection(number, ask)
            os.kill(lease.connection.pid, 9)
            await lease.connection.wait_closed()
            lease.release()
        await eventually(lambda: processes.statistics().processes == ())
        assert processes.statistics().crashed == 20
    assert zombies() == []
    assert descriptors() == before


@pytest.mark.slow
async def test_cancelling_at_any_moment_leaves_nothing_behind() -> None:
    before = descriptors()
    for step in range(40):
        with trio.move_on_after(step * 0.004):
            async with open_processes(service(python(ECHO))) as processes:
                with await processes.connection("k", ask) as lease:
                    await ask(lease.connection, 2)
                    await trio.sleep_forever()
        assert zombies() == []
        assert descriptors() == before


async def test_programs_beside_the_gateway_are_found(tmp_path: Path) -> None:
    name = Path(sys.executable).name
    async with open_processes(service(Launch((name, "-I", "-S", "-c", "import os\n" + ECHO)))) as processes:
        assert await processes.connection("k", ask)


async def test_a_service_without_a_command_has_no_processes() -> None:
    target = HttpTarget("http://localhost/", "http", "localhost", 80, "/")
    with pytest.raises(TypeError, match="has no command"):
        async with open_processes(Service("web", target)):
            pytest.fail("it opened")
