"""What is counted while we serve: plain integers, because they are touched by every call.

Every label has a bounded set of values: routes and services come from the table, methods from a given set,
all others from the `Literal` types here. Nothing that a client chose can make a new series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from typing import Literal, get_args

import attrs

Outcome = Literal["ok", "error", "refused", "cancelled", "timeout", "upstream_error"]
"""How a call ended: a result; a JSON-RPC error of the upstream's own; refused by us; given up by the client
or by our shutdown; a deadline passed; the upstream could not be reached, died or broke the protocol."""

Refusal = Literal[
    "bad_request",
    "unauthorized",
    "forbidden_host",
    "forbidden_origin",
    "not_found",
    "method_not_allowed",
    "unsupported_media_type",
    "unsupported_version",
    "too_large",
    "too_slow",
    "busy",
    "draining",
]
"""Why a request was turned away before it became a call to an upstream."""

ReloadResult = Literal["applied", "unchanged", "rejected"]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the duration histogram, in seconds; one more bucket holds what took longer."""

OTHER = "other"
"""The `method` label of every method that the protocol does not define."""


class Cell:
    """What is known of all calls with the same labels."""

    __slots__ = ("buckets", "count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS) + 1)
        """Not cumulative: each call is counted once, in the first bucket that it fits."""


@attrs.define
class Processes:
    """The child processes of one service: how many run, and how many replaced one that had ended by itself."""

    running: int = 0
    restarts: int = 0


class Metrics:
    """The counters of one gateway. Not shared between threads; each instance is on its own."""

    def __init__(self, methods: Collection[str], *, started: float, version: str = "") -> None:
        """`methods`: those with a label value of their own. `started`: the Trio time when uptime was zero."""
        self.methods = frozenset(methods)
        self.started = started
        self.version = version
        self.calls: dict[tuple[str, str, str, Outcome], Cell] = {}
        """By route, service, method and outcome."""
        self.in_flight = 0
        """Calls being processed. Owners keep this and the next three: `+= 1`, and `-= 1` in a `finally`."""
        self.streams = 0
        """Event streams open towards clients."""
        self.sessions = 0
        """Live legacy sessions."""
        self.connections = 0
        """Open client connections."""
        self.reloads: dict[ReloadResult, int] = dict.fromkeys(get_args(ReloadResult), 0)
        self.refusals: dict[Refusal, int] = dict.fromkeys(get_args(Refusal), 0)
        self.processes: dict[str, Processes] = {}
        """By service; brought up to date by who shows the metrics."""
        self.generation = 0
        self.digest = ""

    def call(self, route: str, service: str, method: str, outcome: Outcome, seconds: float) -> None:
        """Count one finished call. `route` and `service` are names of the table, never what a client sent."""
        key = (route, service, method if method in self.methods else OTHER, outcome)
        cell = self.calls.get(key)
        if cell is None:
            cell = self.calls[key] = Cell()
        cell.count += 1
        cell.seconds += seconds
        cell.buckets[bisect_left(BUCKETS, seconds)] += 1

    def refuse(self, reason: Refusal) -> None:
        """Count a request that was turned away."""
        self.refusals[reason] += 1

    def reload(self, result: ReloadResult) -> None:
        """Count an attempt to load the configuration again."""
        self.reloads[result] += 1

    def use_table(self, generation: int, digest: str) -> None:
        """Say which table is in force."""
        self.generation = generation
        self.digest = digest
