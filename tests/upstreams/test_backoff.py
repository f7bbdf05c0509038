from __future__ import annotations

from gatewayd.upstreams.backoff import MOST, QUICK, Backoff


def test_quick_ends_double_the_wait_up_to_a_bound() -> None:
    backoff = Backoff()
    waits: list[float] = []
    for _ in range(8):
        backoff.ended(100.0, lived=1.0)
        waits.append(round(backoff.remaining(100.0), 3))
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, MOST, MOST, MOST]
    backoff.failures = 100_000
    backoff.ended(100.0, lived=1.0)
    assert backoff.remaining(100.0) == MOST


def test_an_end_after_a_long_life_is_the_first_again() -> None:
    backoff = Backoff()
    for lived in (0, 0, 0, QUICK):
        backoff.ended(50.0, lived)
    assert (backoff.failures, round(backoff.remaining(50.1), 3)) == (1, 0.1)


def test_failures_are_forgotten_in_time() -> None:
    backoff = Backoff()
    assert backoff.remaining(0.0) == 0.0
    backoff.ended(0.0, lived=0.0)
    assert not backoff.forgotten(QUICK)
    assert backoff.forgotten(QUICK + 0.2)
