"""200 legacy sessions over an HTTP and a stdio upstream, through restarts, reloads, deaths and forgetting.

`python -m bench.survival` prints what the clients saw. Exit code 1 when one of them saw a 404 or anything else that
it should not, or a call was carried out twice.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trio

from tests.support.survival import survive


async def run(sessions: int) -> int:
    """Exit code."""
    with tempfile.TemporaryDirectory() as folder:
        seen = await survive(Path(folder), sessions)
    print(f"{sessions} sessions: {seen.whole} of {seen.calls} calls answered, {seen.unknown} reported as unknown")
    print(f"  carried out upstream: {seen.executed}")
    for bad in seen.bad[:5]:
        print(f"  bad: {bad}")
    repeated = seen.executed > seen.calls
    return int(bool(seen.bad) or repeated or seen.whole + seen.unknown != seen.calls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser("bench.survival")
    parser.add_argument("--sessions", type=int, default=200)
    sys.exit(trio.run(run, parser.parse_args().sessions))
