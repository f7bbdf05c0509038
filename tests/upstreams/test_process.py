from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from gatewayd.routes.secret import Secret
from gatewayd.routes.table import Launch
from gatewayd.upstreams.channel import UpstreamUnreachable
from gatewayd.upstreams.process import EOF_GRACE, KILL_GRACE, TERM_GRACE, environment, open_child
from tests.support.children import STUBBORN, descriptors, eventually, python, running, zombies
from tests.support.processes import ROOT

GATEWAY = """
import sys, trio
from gatewayd.upstreams.process import open_child
from tests.support.children import STUBBORN, python

async def main():
    async with open_child(python(STUBBORN), name="x") as child:
        await child.stdout.receive_some()
        print("pid", child.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def output(launch: Launch) -> str:
    """All that a child prints."""
    data = b""
    with trio.fail_after(10):
        async with open_child(launch, name="x") as child:
            async for chunk in child.stdout:
                data += chunk
    return data.decode()


def test_of_our_environment_a_child_gets_the_harmless_part() -> None:
    ours = {
        "PATH": "/bin",
        "HOME": "/h",
        "TZ": "UTC",
        "CANARY": "key",
        "LD_PRELOAD": "x.so",
        "PYTHONPATH": ".",
    }
    launch = Launch(("x",), env=(("MODE", "fast"), ("TOKEN", Secret("s3cret"))))
    beside = os.path.dirname(sys.executable)
    assert environment(launch, ours) == {
        "PATH": f"/bin:{beside}",
        "HOME": "/h",
        "TZ": "UTC",
        "MODE": "fast",
        "TOKEN": "s3cret",
    }
    assert environment(Launch(("x",), env=(("PATH", "/only"),)), {})["PATH"] == "/only"
    assert environment(Launch(("x",)), {})["PATH"] == f"{os.defpath}:{beside}"


async def test_the_child_itself_sees_no_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "caught")
    assert "caught" not in await output(Launch(("env",)))


async def test_arguments_are_literal(tmp_path: Path) -> None:
    nasty = ("$(touch x)", "`touch x`", "; touch x", "*", "a b", "")
    assert await output(Launch(("printf", "[%s]", *nasty), cwd=str(tmp_path))) == "".join(f"[{a}]" for a in nasty)
    assert os.listdir(tmp_path) == []


async def test_it_runs_where_it_is_told_to_and_leads_its_own_group(tmp_path: Path) -> None:
    leader = "os.getpid() == os.getpgid(0) == os.getsid(0)"
    launch = python(f"print(os.getcwd(), {leader}, sorted(os.listdir('/proc/self/fd')))")
    where, leads, fds = (await output(Launch(launch.command, cwd=str(tmp_path)))).strip().split(" ", 2)
    assert (where, leads) == (str(tmp_path), "True")
    assert fds == "['0', '1', '2', '3']"  # 3 is the one that lists them


@pytest.mark.parametrize(
    ("launch", "reason"),
    [
        (Launch(("no-such-program-anywhere",)), "does not exist"),
        (Launch(("/no/such/program",)), "does not exist"),
        (Launch(("env",), cwd="/no/such/folder"), "does not exist"),
        (Launch(("/etc/passwd",)), "may not be executed"),
        (Launch(("env", "nul\0byte")), "not usable"),
    ],
)
async def test_what_cannot_be_started_is_unreachable_and_leaves_nothing(launch: Launch, reason: str) -> None:
    before = descriptors()
    with pytest.raises(UpstreamUnreachable, match=reason) as caught:
        async with open_child(launch, name="files"):
            pytest.fail("it started")
    assert caught.value.reason.startswith("the service could not be started")
    assert "such" not in caught.value.reason
    assert descriptors() == before
    assert zombies() == []


async def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    with pytest.raises(UpstreamUnreachable, match="not an executable file"):
        async with open_child(Launch((str(program),)), name="x"):
            pytest.fail("it started")


def take_all(taken: list[int]) -> None:
    while True:
        taken.append(os.dup(2))


async def test_running_out_of_descriptors_is_an_error_of_this_start_alone() -> None:
    before = descriptors()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
    taken: list[int] = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            take_all(taken)
        for _ in range(7):
            with pytest.raises(UpstreamUnreachable, match="short of descriptors"):
                async with open_child(Launch(("true",)), name="x"):
                    pytest.fail("it started")
            os.close(taken.pop())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)
    assert descriptors() == before


async def test_a_child_that_could_not_be_watched_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pidfd(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    before = descriptors()
    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    with pytest.raises(UpstreamUnreachable, match="short of descriptors"):
        async with open_child(Launch(("sleep", "600")), name="x"):
            pytest.fail("it started")
    assert zombies() == []
    assert descriptors() == before


async def test_a_child_that_ends_is_reaped_at_once_and_leaves_no_descriptor() -> None:
    before = descriptors()
    async with open_child(python("raise SystemExit(3)"), name="x") as child:
        with trio.fail_after(10):
            assert await child.wait_exited() == 3
        assert zombies() == []
        assert "status=3" in repr(child)
    assert descriptors() == before


async def test_closing_its_input_is_enough_for_a_polite_child() -> None:
    began = trio.current_time()
    async with open_child(python("import sys; sys.stdin.read(); raise SystemExit(7)"), name="x") as child:
        pass
    assert child.status == 7
    assert trio.current_time() - began < EOF_GRACE


async def test_a_child_that_is_stuck_on_its_output_can_still_end_politely() -> None:
    script = "import sys; print('x' * 1_000_000, flush=True); sys.stdin.read(); raise SystemExit(7)"
    async with open_child(python(script), name="x") as child:
        await trio.lowlevel.wait_readable(child.stdout.fileno())
    assert child.status == 7


@pytest.mark.slow
async def test_a_child_that_ignores_everything_is_killed_in_time_even_when_we_are_cancelled() -> None:
    began = trio.current_time()
    with trio.CancelScope() as scope:
        async with open_child(python(STUBBORN), name="x") as child:
            await child.stdout.receive_some()
            scope.cancel()
            await trio.sleep_forever()
    assert child.status == -signal.SIGKILL
    assert EOF_GRACE + TERM_GRACE <= trio.current_time() - began < EOF_GRACE + TERM_GRACE + KILL_GRACE + 1
    assert zombies() == []


@pytest.mark.slow
async def test_sigterm_comes_before_sigkill() -> None:
    handler = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: os._exit(9))"
    script = f"{handler}; print(flush=True); time.sleep(60)"
    async with open_child(python(script), name="x") as child:
        await child.stdout.receive_some()
    assert child.status == 9


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_the_child_started_ends_with_it(cancelled: bool) -> None:
    script = "sleep 600 & echo $!; read line"
    with trio.CancelScope() as scope:
        async with open_child(Launch(("sh", "-c", script)), name="x") as child:
            grandchild = int(await child.stdout.receive_some())
            assert running(grandchild)
            if cancelled:
                scope.cancel()
    await eventually(lambda: not running(grandchild))


async def test_what_the_child_started_ends_with_a_crash_too() -> None:
    async with open_child(Launch(("sh", "-c", "sleep 600 & echo $!; kill -9 $$")), name="x") as child:
        grandchild = int(await child.stdout.receive_some())
        assert await child.wait_exited() == -signal.SIGKILL
        await eventually(lambda: not running(grandchild))


@pytest.mark.slow
async def test_nothing_survives_the_death_of_the_gateway() -> None:
    command = [sys.executable, "-c", GATEWAY]
    gateway = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: ASYNC220
    assert gateway.stdout is not None
    with trio.fail_after(30):
        while True:
            line = await trio.to_thread.run_sync(gateway.stdout.readline)
            assert line
            if line.startswith(b"pid "):
                break
    pid = int(line.split()[1])
    assert running(pid)
    gateway.kill()
    gateway.wait()
    gateway.stdout.close()
    await eventually(lambda: not running(pid))


async def test_standard_error_is_logged_line_by_line_without_our_secrets() -> None:
    script = "import sys; sys.stderr.write('key ' + os.environ['KEY'] + chr(10) + 'a' + chr(27) + 'b')"
    launch = Launch(python(script).command, env=(("KEY", Secret("hunter22")),))
    with capture_logs() as logs:
        async with open_child(launch, name="files") as child:
            await child.wait_exited()
    entries = [entry for entry in logs if entry["event"] == "stderr"]
    assert [entry["line"] for entry in entries] == ["key ***", "a\\x1bb"]
    assert all((entry["service"], entry["pid"]) == ("files", child.pid) for entry in entries)


@pytest.mark.slow
async def test_eight_megabytes_on_standard_error_block_nobody() -> None:
    script = "import sys\nfor _ in range(8192): sys.stderr.write('x' * 1023 + chr(10))\nprint('done', flush=True)"
    with capture_logs() as logs, trio.fail_after(20):
        async with open_child(python(script), name="x") as child:
            assert await child.stdout.receive_some() == b"done\n"
    assert sum(entry["event"] == "stderr" for entry in logs) < 2500
    assert any("suppressed" in entry.get("line", "") for entry in logs)


@pytest.mark.slow
async def test_twenty_crashes_leave_nothing_behind() -> None:
    before = descriptors()
    for _ in range(20):
        async with open_child(Launch(("false",)), name="x") as child:
            await child.wait_exited()
    assert zombies() == []
    assert descriptors() == before
