"""How long to wait before something that keeps failing is started again."""

from __future__ import annotations

import math

import attrs

FIRST = 0.2
MOST = 5.0
"""Seconds: short enough that a person who repaired the service does not wait for the gateway."""
QUICK = 10.0
"""Seconds; an end sooner than that after the start is a failure to start, later it is an accident."""


@attrs.define
class Backoff:
    """The failures of one thing in a row. The clock is an argument."""

    failures: int = 0
    retry_at: float = -math.inf

    def ended(self, now: float, lived: float) -> None:
        """It ended without being asked to, `lived` seconds after its start."""
        self.failures = self.failures + 1 if lived < QUICK else 1
        self.retry_at = now + min(MOST, FIRST * 2.0 ** min(self.failures - 1, 16))

    def remaining(self, now: float) -> float:
        """Seconds until the next start may be tried."""
        return max(0.0, self.retry_at - now)

    def forgotten(self, now: float) -> bool:
        """Whether the failures are so long ago that they say nothing any more."""
        return now >= self.retry_at + QUICK
