from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.routes.table import Launch
from gatewayd.upstreams.supervise import Launched, supervise
from tests.support.children import eventually, python, running, zombies


async def test_the_server_is_started_again_and_its_output_is_logged() -> None:
    script = "import sys; print('out', os.getpid()); sys.stderr.write('err' + chr(10)); sys.exit(1)"
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: supervise(python(script), name="web", launched=Launched()))
            await eventually(lambda: len([e for e in logs if e["event"] == "stdout"]) >= 2)
            nursery.cancel_scope.cancel()
    assert {e["line"] for e in logs if e["event"] == "stderr"} == {"err"}
    assert len({e["line"] for e in logs if e["event"] == "stdout"}) >= 2
    assert [e["retry_in"] for e in logs if e["event"] == "server ended"][:1] == [0.2]
    assert zombies() == []


async def test_cancelling_ends_the_server_without_waiting_for_its_input() -> None:
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: supervise(
                    python("print(flush=True); import time; time.sleep(600)"), name="w", launched=Launched()
                )
            )
            await eventually(lambda: any(e["event"] == "stdout" for e in logs))
            (pid,) = {e["pid"] for e in logs}
            assert running(pid)
            began = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 1.5
    assert not running(pid)


async def test_a_server_that_cannot_be_started_is_tried_again_ever_more_slowly(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs, trio.move_on_after(20):
        await supervise(Launch(("no-such-program-anywhere",)), name="web", launched=Launched())
    waits = [entry["retry_in"] for entry in logs if entry["event"] == "server ended"]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert {e["reason"] for e in logs if e["event"] == "start failed"} == {
        "the service could not be started: the program or its working directory does not exist"
    }


@pytest.mark.slow
async def test_a_stranger_with_the_servers_output_does_not_delay_its_restart() -> None:
    script = "import subprocess; subprocess.Popen(['sleep', '5'], start_new_session=True)"
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: supervise(python(script), name="web", launched=Launched()))
            await eventually(lambda: len([e for e in logs if e["event"] == "process started"]) == 2, 4.5)
            nursery.cancel_scope.cancel()
