"""One child process: how it is started, what it inherits, and how it ends.

A child leads a session and process group of its own, so that a terminal's Ctrl-C does not reach it and
everything it starts can be ended with it. The kernel kills it when the gateway dies (`PR_SET_PDEATHSIG`);
because that signal is bound to the *thread* that forked, the fork happens in the thread that runs Trio and
not in a worker.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import NamedTuple

import structlog
import trio
from trio.lowlevel import FdStream

from gatewayd.routes.secret import Secret
from gatewayd.routes.table import Launch
from gatewayd.upstreams.channel import UpstreamUnreachable
from gatewayd.upstreams.loglines import CHUNK, LogLines, log_lines

log = structlog.get_logger("gatewayd.upstreams")

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""All that a child gets to know of our environment, which holds keys and tokens of other services."""

EOF_GRACE = 2.0
"""Seconds between closing the child's standard input, MCP's polite request to end, and SIGTERM."""
TERM_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
KILL_GRACE = 1.0
"""Seconds for the kernel to carry SIGKILL out, and then for the last words on standard error."""

PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


class Pipes(NamedTuple):
    """Our ends of the three pipes, as descriptors."""

    stdin: int
    stdout: int
    stderr: int


def environment(launch: Launch, ours: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the child. Programs installed beside the gateway are on its `PATH`."""
    env = {name: ours[name] for name in INHERITED if name in ours}
    env["PATH"] = f"{env.get('PATH') or os.defpath}{os.pathsep}{os.path.dirname(sys.executable)}"
    for name, value in launch.env:
        env[name] = value.reveal() if isinstance(value, Secret) else value
    return env


class Child:
    """A running child process. Made by `open_child`, which also ends it.

    `stdin` and `stdout` belong to whoever opened the child; `stderr` is read here, into the log.
    """

    def __init__(self, process: subprocess.Popen[bytes], pidfd: int, pipes: Pipes, *, name: str) -> None:
        self.name = name
        self.stdin = FdStream(pipes.stdin)
        self.stdout = FdStream(pipes.stdout)
        self._stderr = FdStream(pipes.stderr)
        self._process = process
        self._pidfd = pidfd
        self._exited = trio.Event()
        self._quiet = trio.Event()
        self._attendance = trio.CancelScope(shield=True)

    def __repr__(self) -> str:
        return f"<Child {self.name!r} pid={self.pid} status={self.status}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait_exited(self) -> int:
        """Wait until the process has ended and was reaped; the exit status. Any number of tasks may wait."""
        await self._exited.wait()
        return self._process.returncode

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and what it started; not once it is reaped, when others may have its number."""
        if self.status is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def attend(self, lines: LogLines) -> None:
        """Reap the child when it ends and log its standard error meanwhile.

        Shielded, because a child needs both most while a cancelled owner shuts it down; the shield ends with
        `dismiss`, which follows the bounded shutdown in any case.
        """
        with self._attendance:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._reap)
                nursery.start_soon(self._log_stderr, lines)

    async def _reap(self) -> None:
        await trio.lowlevel.wait_readable(self._pidfd)
        # As long as the leader is not reaped the group's number cannot be given to anybody else.
        self.signal_group(signal.SIGKILL)
        status = self._process.wait()
        log.info("process ended", service=self.name, pid=self.pid, status=status)
        self._exited.set()

    async def _log_stderr(self, lines: LogLines) -> None:
        entry = log.bind(service=self.name, pid=self.pid)
        await log_lines(self._stderr, lines, lambda text: entry.info("stderr", line=text))
        self._quiet.set()

    async def shut_down(self, eof_grace: float) -> None:
        """Close standard input, then SIGTERM, then SIGKILL to the group, each after its grace. Idempotent.

        Meant to be called under a shield, which has to bound it: not even SIGKILL ends a process at once.
        """
        await self.stdin.aclose()
        async with trio.open_nursery() as nursery:
            # A child that is stuck on a full pipe could neither see the end of its input nor finish its work.
            nursery.start_soon(self._discard_output)
            for grace, number in ((eof_grace, signal.SIGTERM), (TERM_GRACE, signal.SIGKILL)):
                with trio.move_on_after(grace):
                    await self._exited.wait()
                self.signal_group(number)
            await self._exited.wait()
            nursery.cancel_scope.cancel()
        with trio.move_on_after(KILL_GRACE):  # a stranger may hold the other end
            await self._quiet.wait()

    async def _discard_output(self) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while await self.stdout.receive_some(CHUNK):
                pass

    def dismiss(self) -> None:
        """End `attend`: the process is gone, or the kernel will not let it go."""
        self._attendance.cancel()
        if self.status is None:
            log.error("child survives sigkill", service=self.name, pid=self.pid)

    async def close_descriptors(self) -> None:
        """Close our ends of the pipes, also when cancelled: closing a descriptor does not wait."""
        os.close(self._pidfd)
        with trio.move_on_after(KILL_GRACE, shield=True):
            for stream in (self.stdin, self.stdout, self._stderr):
                await stream.aclose()


@asynccontextmanager
async def open_child(launch: Launch, *, name: str, eof_grace: float = EOF_GRACE) -> AsyncGenerator[Child]:
    """Start a process for the service `name`, and shut it down at the end, whatever ends the block.

    Leaving takes at most `eof_grace + TERM_GRACE + KILL_GRACE` seconds, also when cancelled. Exceptions of
    the block leave in an exception group, as from any nursery.

    Raises:
        UpstreamUnreachable: the process could not be started.
    """
    child = spawn(launch, name=name)
    secrets = [value.reveal() for _, value in launch.env if isinstance(value, Secret)]
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.attend, LogLines(secrets))
            try:
                yield child
            finally:
                with trio.move_on_after(eof_grace + TERM_GRACE + KILL_GRACE, shield=True):
                    await child.shut_down(eof_grace)
                child.dismiss()
    finally:
        await child.close_descriptors()


def spawn(launch: Launch, *, name: str) -> Child:
    """Fork and exec. Blocks for the few milliseconds that takes. Raises `UpstreamUnreachable`."""
    try:
        with ExitStack() as theirs, ExitStack() as ours:
            stdin = _pipe(theirs, ours, child_reads=True)
            stdout = _pipe(theirs, ours, child_reads=False)
            stderr = _pipe(theirs, ours, child_reads=False)
            process = subprocess.Popen(
                launch.command,
                stdin=stdin[0],
                stdout=stdout[0],
                stderr=stderr[0],
                cwd=launch.cwd,
                env=environment(launch, os.environ),
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509
            )
            pidfd = _pidfd(process)
            ours.pop_all()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = f"the service could not be started: {_why(error)}"
        raise UpstreamUnreachable(reason, str(error)) from error
    log.info("process started", service=name, pid=process.pid)
    return Child(process, pidfd, Pipes(stdin[1], stdout[1], stderr[1]), name=name)


def _pipe(theirs: ExitStack, ours: ExitStack, *, child_reads: bool) -> tuple[int, int]:
    """The child's end and our end of a new pipe, each closed by its stack."""
    read, write = os.pipe()
    child, parent = (read, write) if child_reads else (write, read)
    theirs.callback(os.close, child)
    ours.callback(os.close, parent)
    return child, parent


def _pidfd(process: subprocess.Popen[bytes]) -> int:
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise


def _die_with(parent: int) -> Callable[[], None]:
    """What the child does between fork and exec: ask to be killed when its parent, process `parent`, dies."""

    def prepare() -> None:
        _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return prepare


def _why(error: Exception) -> str:
    """For the client: what is wrong in general, without a path or an argument of the command."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "the program or its working directory does not exist"
        case PermissionError():
            return "the program may not be executed"
        case OSError(errno=errno.ENOEXEC):
            return "the program is not an executable file"
        case OSError(errno=errno.EMFILE | errno.ENFILE | errno.EAGAIN | errno.ENOMEM):
            return "the gateway is short of descriptors, processes or memory"
        case _:
            return "its command is not usable"
