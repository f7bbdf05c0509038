from __future__ import annotations

import json
import resource
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from gatewayd.protocol.jsonrpc import Message, Notification, Request, Result
from gatewayd.routes.table import Bounds, Launch
from gatewayd.upstreams import outbox
from gatewayd.upstreams.channel import (
    Answer,
    Paused,
    UpstreamDied,
    UpstreamTimedOut,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from gatewayd.upstreams.inbox import MAILBOX
from gatewayd.upstreams.stdio import StdioConnection, open_stdio
from tests.support.children import (
    DEAF,
    ECHO,
    REPORT,
    SCRIPTED,
    descriptors,
    eventually,
    python,
    running,
    zombies,
)

BOUNDS = Bounds(request=100_000, response=1_000_000)
PROGRESS = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$ID,"progress":%d}}'
RESULT = '{"jsonrpc":"2.0","id":$ID,"result":{}}'


def say(ident: int, *lines: str, method: str = "tools/call") -> Request:
    """A request that has `SCRIPTED` say these lines."""
    return Request(ident, method, json.dumps({"say": lines}).encode())


async def final(answer: Answer) -> Message | Paused | None:
    """The last message of an answer."""
    last = None
    with trio.fail_after(10):
        while (message := await answer.receive()) is not None:
            last = message
    return last


async def heard(connection: StdioConnection, ident: int) -> list[dict[str, Any]]:
    """What `REPORT` has heard so far."""
    message = await final(await connection.request(Request(ident, "report")))
    assert isinstance(message, Result)
    told: list[dict[str, Any]] = json.loads(message.result)["heard"]
    return told


async def test_a_hundred_calls_share_a_process() -> None:
    results: dict[int, Message | Paused | None] = {}

    async def call(ident: int) -> None:
        results[ident] = await final(await connection.request(Request(ident, f"m{ident}")))

    async with open_stdio(python(ECHO), name="x", bounds=BOUNDS) as connection:
        async with trio.open_nursery() as nursery:
            for ident in range(100):
                nursery.start_soon(call, ident)
        assert connection.statistics().in_flight == 0
    for ident, result in results.items():
        assert isinstance(result, Result)
        assert result.id == ident
        assert json.loads(result.result)["of"] == f"m{ident}"
    assert len(results) == 100


async def test_progress_comes_before_the_answer_and_then_the_end() -> None:
    async with open_stdio(python(SCRIPTED), name="x", bounds=BOUNDS) as connection:
        answer = await connection.request(say(1, PROGRESS % 1, "noise", PROGRESS % 2, RESULT))
        messages = [await answer.receive() for _ in range(4)]
        await answer.aclose()
        assert connection.statistics().garbage == 1
    assert [type(m) for m in messages] == [Notification, Notification, Result, type(None)]


async def test_server_requests_are_answered_through_send() -> None:
    ask = '{"jsonrpc":"2.0","id":"s","method":"roots/list"}'
    async with open_stdio(python(SCRIPTED), name="x", bounds=BOUNDS) as connection:
        await connection.request(say(1, ask))
        with trio.fail_after(10):
            assert await connection.unattributed.receive() == Request("s", "roots/list")
    async with open_stdio(python(REPORT), name="x", bounds=BOUNDS) as connection:
        await connection.send(Notification("notifications/initialized"))
        await connection.send(Notification("notifications/roots/list_changed", b'{"a":\n1}'))
        methods = [message["method"] for message in await heard(connection, 1)]
    assert methods == ["notifications/initialized", "notifications/roots/list_changed"]


async def test_an_abandoned_call_is_cancelled_within_100_ms() -> None:
    async with open_stdio(python(REPORT), name="x", bounds=BOUNDS) as connection:
        assert await heard(connection, 1) == []
        answer = await connection.request(Request(7, "tools/call", b"{}"))
        with trio.move_on_after(0.01):
            await answer.receive()
        began = trio.current_time()
        await answer.aclose()
        await answer.aclose()
        _, note = await heard(connection, 8)
        assert trio.current_time() - began < 0.1
        assert (note["method"], note["params"]["requestId"]) == ("notifications/cancelled", 7)
        assert connection.in_flight == 0


async def test_initialize_is_never_cancelled() -> None:
    async with open_stdio(python(REPORT), name="x", bounds=BOUNDS) as connection:
        await (await connection.request(Request(7, "initialize", b"{}"))).aclose()
        assert [message["method"] for message in await heard(connection, 8)] == ["initialize"]


async def test_an_answer_that_comes_after_its_call_was_given_up_is_dropped() -> None:
    async with open_stdio(python(SCRIPTED), name="x", bounds=BOUNDS) as connection:
        await (await connection.request(say(1, RESULT))).aclose()
        assert isinstance(await final(await connection.request(say(2, RESULT))), Result)
        assert connection.statistics().late == 1


async def test_a_cancelled_request_sends_nothing() -> None:
    async with open_stdio(python(REPORT), name="x", bounds=BOUNDS) as connection:
        with trio.CancelScope() as scope:
            scope.cancel()
            await connection.request(Request(1, "tools/call"))
        assert scope.cancelled_caught
        assert await heard(connection, 2) == []


async def test_a_slow_reader_loses_its_call_and_nobody_elses() -> None:
    async with open_stdio(python(SCRIPTED), name="x", bounds=BOUNDS) as connection:
        slow = await connection.request(say(1, *[PROGRESS % n for n in range(MAILBOX + 1)]))
        assert isinstance(await final(await connection.request(say(2, RESULT))), Result)
        with pytest.raises(UpstreamTooLarge):
            await slow.receive()
        await slow.aclose()
        assert connection.in_flight == 0


async def test_a_crash_fails_every_pending_call_at_once_and_refuses_new_ones() -> None:
    script = "import sys; sys.stdin.readline(); sys.stdin.readline(); sys.exit(3)"
    async with open_stdio(python(script), name="files", bounds=BOUNDS) as connection:
        answers = [await connection.request(Request(n, "tools/call")) for n in (1, 2)]
        for answer in answers:
            with trio.fail_after(5), pytest.raises(UpstreamDied, match="the service ended"):
                await answer.receive()
            await answer.aclose()
        await connection.wait_closed()
        assert connection.closed
        assert "closed" in repr(connection)
        with pytest.raises(UpstreamUnreachable):
            await connection.request(Request(3, "tools/call"))
        with pytest.raises(UpstreamUnreachable):
            await connection.send(Notification("notifications/initialized"))
        assert await connection.unattributed.receive() is None
    assert zombies() == []


async def test_the_last_answer_of_a_process_that_ends_is_delivered() -> None:
    script = """
import sys
sys.stdin.readline()
print('{"jsonrpc":"2.0","id":1,"result":{}}', flush=True)
"""
    async with open_stdio(python(script), name="x", bounds=BOUNDS) as connection:
        assert isinstance(await final(await connection.request(Request(1, "tools/call"))), Result)


@pytest.mark.slow
async def test_a_stranger_that_holds_the_pipe_does_not_keep_calls_waiting() -> None:
    script = "import subprocess; subprocess.Popen(['sleep', '20'], start_new_session=True)"
    async with open_stdio(python(script), name="x", bounds=BOUNDS) as connection:
        with trio.fail_after(5), pytest.raises((UpstreamDied, UpstreamUnreachable)):
            await final(await connection.request(Request(1, "tools/call")))


async def test_a_process_that_closes_its_output_has_ended_for_us() -> None:
    script = "import sys; sys.stdin.readline(); os.close(1); sys.stdin.read()"
    async with open_stdio(python(script), name="x", bounds=BOUNDS) as connection:
        with trio.fail_after(5), pytest.raises(UpstreamDied):
            await final(await connection.request(Request(1, "tools/call")))


async def keep_asking(connection: StdioConnection) -> None:
    for ident in range(2, 1000):
        await (await connection.request(Request(ident, "tools/call"))).aclose()
        await trio.sleep(0.01)


@pytest.mark.slow
async def test_a_process_that_closes_its_input_is_replaced_but_may_finish() -> None:
    script = """
import sys, time
os.read(0, 100)
os.close(0)
time.sleep(0.3)
print('{"jsonrpc":"2.0","id":1,"result":{}}', flush=True)
time.sleep(600)
"""
    async with open_stdio(python(script), name="x", bounds=BOUNDS) as connection:
        first = await connection.request(Request(1, "tools/call"))
        with trio.fail_after(5), pytest.raises(UpstreamUnreachable):
            await keep_asking(connection)
        assert connection.closed
        assert isinstance(await final(first), Result)
        with trio.fail_after(5):
            await connection.wait_closed()


@pytest.mark.slow
async def test_a_line_of_128_megabytes_costs_little_and_fails_its_call() -> None:
    script = """
import sys
sys.stdin.readline()
for _ in range(128): sys.stdout.write('x' * 1048576)
sys.stdout.write(chr(10))
sys.stdout.flush()
sys.stdin.read()
"""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with open_stdio(python(script), name="x", bounds=Bounds()) as connection:
        with trio.fail_after(30), pytest.raises(UpstreamTooLarge):
            await final(await connection.request(Request(1, "tools/call")))
        assert not connection.closed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.slow
async def test_who_never_reads_fails_calls_and_stalls_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WRITE_DEADLINE", 0.3)
    big = b'{"x":"' + b"x" * 90_000 + b'"}'
    async with (
        open_stdio(python(DEAF), name="deaf", bounds=BOUNDS) as deaf,
        open_stdio(python(ECHO), name="x", bounds=BOUNDS) as other,
    ):
        answers = [await deaf.request(Request(n, "tools/call", big)) for n in range(4)]
        began = trio.current_time()
        assert isinstance(await final(await other.request(Request(1, "tools/call", big))), Result)
        for answer in answers:
            with pytest.raises(UpstreamTimedOut):
                await answer.receive()
            await answer.aclose()
        assert 0.2 < trio.current_time() - began < 2
        assert deaf.statistics().waiting < 100_000


@pytest.mark.slow
async def test_what_waits_for_who_never_reads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WRITE_DEADLINE", 0.3)
    big = b'{"x":"' + b"x" * 90_000 + b'"}'
    async with open_stdio(python(DEAF), name="deaf", bounds=BOUNDS) as deaf:
        refused = 0
        async with trio.open_nursery() as nursery:

            async def call(ident: int) -> None:
                nonlocal refused
                try:
                    await deaf.request(Request(ident, "tools/call", big))
                except UpstreamTimedOut:
                    refused += 1
                assert deaf.statistics().waiting <= 400_000

            for ident in range(50):
                nursery.start_soon(call, ident)
        assert refused > 30


@pytest.mark.slow
async def test_a_call_that_was_never_written_is_taken_back_without_a_word() -> None:
    big = b'{"x":"' + b"x" * 90_000 + b'"}'
    async with open_stdio(python(DEAF), name="deaf", bounds=BOUNDS) as deaf:
        first = await deaf.request(Request(1, "tools/call", big))
        second = await deaf.request(Request(2, "tools/call", big))
        waiting = deaf.statistics().waiting
        await second.aclose()
        assert waiting - deaf.statistics().waiting > 90_000
        await first.aclose()
        assert deaf.in_flight == 0


async def test_leaving_ends_the_process_and_what_is_pending() -> None:
    before = descriptors()
    async with open_stdio(python(ECHO), name="x", bounds=BOUNDS) as connection:
        await final(await connection.request(Request(1, "a")))
        pid = connection.pid
        connection_answer = await connection.request(Request(2, "a"))
    assert not running(pid)
    await connection_answer.aclose()
    assert descriptors() == before


async def test_kill_from_outside_is_noticed() -> None:
    async with open_stdio(Launch(("sleep", "600")), name="x", bounds=BOUNDS) as connection:
        answer = await connection.request(Request(1, "tools/call"))
        async with open_stdio(python(f"os.kill({connection.pid}, 9)"), name="y", bounds=BOUNDS):
            with trio.fail_after(5), pytest.raises(UpstreamDied):
                await answer.receive()


async def test_nothing_that_is_said_reaches_the_log() -> None:
    with capture_logs() as logs:
        async with open_stdio(python(SCRIPTED), name="x", bounds=BOUNDS) as connection:
            await final(await connection.request(say(1, "canary", '{"canary":1}', RESULT)))
        await eventually(lambda: connection.closed)
    assert "canary" not in str(logs)


@pytest.mark.slow
async def test_a_flood_of_garbage_leaves_turns_for_the_neighbours() -> None:
    script = "import sys\nwhile True: sys.stdout.write('x\\n' * 30000)"
    worst = 0.0
    async with (
        open_stdio(python(script), name="flood", bounds=BOUNDS) as flood,
        open_stdio(python(ECHO), name="x", bounds=BOUNDS) as other,
    ):
        await final(await other.request(Request(0, "ping")))
        for ident in range(1, 50):
            began = trio.current_time()
            await final(await other.request(Request(ident, "ping")))
            worst = max(worst, trio.current_time() - began)
        assert flood.statistics().garbage > 1000
    assert worst < 0.25
