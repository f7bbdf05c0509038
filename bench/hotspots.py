"""Where the gateway spends its CPU: `python -m bench.hotspots [--era modern] [--calls 20000]`.

The gateway runs under a sampler that looks at its stack every few milliseconds of CPU (SIGPROF), so that
idle time does not count and the figures are nearly undisturbed. Printed are shares of all samples: `own`
for the function that was running, `all` for every function that was on the stack.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import trio

from bench.load import Spec
from bench.run import load
from tests.support.gateway import http_service, route, running_gateway
from tests.support.processes import port_of

EVERY = 0.001
"""Seconds of CPU between two samples; the kernel's clock may make it several times that."""

OURSELVES = ("<frozen", "bench/", "gatewayd/__main__")
"""What is on every stack and tells nothing."""

VARIABLE = "BENCH_HOTSPOTS"
"""Environment variable with the file that a sampled gateway writes its counts to."""


class Sampler:
    """Counts what is on the stack of the main thread."""

    def __init__(self) -> None:
        self.samples = 0
        self.own: Counter[str] = Counter()
        self.all: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to sample this process."""
        signal.signal(signal.SIGPROF, self.sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)

    def sample(self, signum: int, frame: FrameType | None) -> None:
        """One sample; a signal handler."""
        self.samples += 1
        top, seen = frame, set[str]()
        while frame is not None:
            name = place(frame)
            if frame is top:
                self.own[name] += 1
            if not name.startswith(OURSELVES):
                seen.add(name)
            frame = frame.f_back
        self.all.update(seen)

    def save(self, path: Path) -> None:
        """Stop, and write the counts as JSON."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.write_text(
            json.dumps({"cpu": time.process_time(), "samples": self.samples, "own": self.own, "all": self.all})
        )


def place(frame: FrameType) -> str:
    """`folder/file.py:function` of a frame."""
    code = frame.f_code
    return f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_qualname}"


def sampled_gateway() -> None:
    """Be the gateway, and sample oneself; what follows `sampled` on the command line are its arguments."""
    sampler = Sampler()
    sys.argv[0:2] = ["gatewayd"]
    sampler.start()
    try:
        runpy.run_module("gatewayd", run_name="__main__", alter_sys=True)
    finally:
        sampler.save(Path(os.environ[VARIABLE]))


def print_top(path: Path, calls: int, most: int) -> None:
    """The functions with the largest shares."""
    counts = json.loads(path.read_text())
    total = counts["samples"] or 1
    print(f"{total} samples, {counts['cpu'] * 1e6 / calls:.0f} µs of CPU per call, start included\n")
    for kind in ("own", "all"):
        print(f"{kind:>6}")
        for name, count in Counter[str](counts[kind]).most_common(most):
            print(f"{count / total:6.1%}  {name}")
        print()


async def profile(options: argparse.Namespace, counts: Path, folder: Path) -> None:
    """Run the calls through a sampled gateway."""
    command = (sys.executable, "-m", "bench.hotspots", "sampled")
    async with port_of("bench.upstream") as (port, _):
        text = http_service("bench", port) + route("/mcp", "bench")
        async with running_gateway(text, folder, command=command, env={VARIABLE: str(counts)}) as gateway:
            await load(Spec(gateway.port, options.era, connections=16, calls=options.calls, seconds=300))
            await gateway.stop()


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser("bench.hotspots", description="Sample the gateway under load.")
    parser.add_argument("--era", choices=("modern", "legacy"), default="modern")
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--most", type=int, default=40, help="lines per list (40)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.json"
        trio.run(profile, options, counts, Path(folder))
        print_top(counts, options.calls, options.most)


if __name__ == "__main__":
    if sys.argv[1:2] == ["sampled"]:
        sampled_gateway()
    else:
        main()
