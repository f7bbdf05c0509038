"""Runs a fuzz target: over its corpus, then over mutations of it.

With `atheris` installed the mutations are guided by coverage; without it they come from
`random.Random(seed)`, so that a run can be repeated. A target raises whatever it likes when its invariant is
broken; the input is then added to the corpus, where the ordinary test run replays it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Target = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"
MAX_INPUT = 64 * 1024
SPLICES = (
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
)


def corpus(name: str) -> list[bytes]:
    """The inputs of a target, in a stable order."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutate(rng: random.Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """One to eight small damages to a seed."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 8)):
        at = rng.randint(0, len(data))
        match rng.randrange(7):
            case 0:
                data[at:at] = rng.choice(tokens)
            case 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                del data[at : at + rng.randint(1, 8)]
            case 3:
                data[at : at + rng.randint(0, 4)] = rng.choice(SPLICES)
            case 4:
                end = min(len(data), at + rng.randint(1, 32))
                data[at:at] = data[at:end] * rng.randint(1, 4)
            case 5:
                other = rng.choice(seeds)
                start = rng.randint(0, len(other))
                data[at:] = other[start:]
            case _:
                data[at : at + 1] = rng.choice(tokens)
    return bytes(data[:MAX_INPUT])


def run(name: str, target: Target, tokens: Sequence[bytes]) -> int:
    """Parse the command line and fuzz. Returns the exit code: 1 when the invariant was broken."""
    parser = argparse.ArgumentParser(description=f"Fuzz the {name} target.")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the mutations, where atheris is not installed")
    options = parser.parse_args()
    seeds = corpus(name)
    for data in seeds:
        if not _survives(name, target, data):
            return 1
    if importlib.util.find_spec("atheris") is not None:
        return _guided(name, target, options.seconds)
    rng = random.Random(options.seed)
    start = time.monotonic()
    executions = 0
    while time.monotonic() - start < options.seconds:
        if not _survives(name, target, mutate(rng, seeds, tokens)):
            return 1
        executions += 1
    _report(name, executions, time.monotonic() - start)
    return 0


def _survives(name: str, target: Target, data: bytes) -> bool:
    try:
        target(data)
    except Exception:  # noqa: BLE001 (to be reported with its input, whatever it is)
        traceback.print_exc()
        path = CORPUS / name / f"crash-{hashlib.sha256(data).hexdigest()[:16]}"
        path.write_bytes(data)
        print(f"{name}: invariant broken, input saved as {path.name}", file=sys.stderr)
        return False
    return True


def _guided(name: str, target: Target, seconds: float) -> int:
    atheris: Any = importlib.import_module("atheris")
    start = time.monotonic()
    executions = 0

    def one(data: bytes) -> None:
        nonlocal executions
        executions += 1
        if not _survives(name, target, data):
            raise SystemExit(1)
        if time.monotonic() - start >= seconds:
            _report(name, executions, time.monotonic() - start)
            raise SystemExit(0)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_len={MAX_INPUT}", str(CORPUS / name)], one)
    atheris.Fuzz()
    return 0


def _report(name: str, executions: int, seconds: float) -> None:
    print(f"{name}: {executions} executions in {seconds:.1f} s, {executions / seconds:.0f} per second")
