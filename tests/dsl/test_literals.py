"""Durations and sizes: read, refused with a suggestion, and spelt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.dsl.diagnostics import Fault
from gatewayd.dsl.literals import duration, size, spell_duration, spell_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172800),
        ("0s", 0),
        ("1d1h1m1s1ms", 90061.001),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("value", "guess"),
    [
        (30, "30s"),
        (1.5, "1s500ms"),
        ("30", "30s"),
        ("5min", "5m"),
        ("10 s", "10s"),
        ("3 Minutes", "3m"),
        ("100msecs", "100ms"),
        ("1.5h", "1h30m"),
        ("1m1h", None),
        ("1h1h", None),
        ("", None),
        ("soon", None),
        ("5 weeks", None),
        ("-5s", None),
        ("٣s", None),
        (True, None),
        ([], None),
    ],
)
def test_what_is_no_duration(value: object, guess: str | None) -> None:
    with pytest.raises(Fault) as caught:
        duration(value)
    assert caught.value.hint == (f'did you mean "{guess}"?' if guess else None)


@pytest.mark.parametrize(
    ("text", "count"),
    [("512B", 512), ("64KiB", 65536), ("64KB", 64000), ("10MiB", 10485760), ("1GB", 10**9), ("0B", 0)],
)
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(
    ("value", "guess"),
    [
        (1048576, "1MiB"),
        (1000, "1000B"),
        ("10mb", "10MB"),
        ("10 MiB", "10MiB"),
        ("10M", "10MiB"),
        ("7 bytes", "7B"),
        ("1.5KiB", "1536B"),
        ("big", None),
        ("3 TB", None),
        (None, None),
    ],
)
def test_what_is_no_size(value: object, guess: str | None) -> None:
    with pytest.raises(Fault) as caught:
        size(value)
    assert caught.value.hint == (f'did you mean "{guess}"?' if guess else None)


@given(st.integers(0, 10**12))
def test_spelling_is_reading_backwards(number: int) -> None:
    assert duration(spell_duration(number / 1000)) == number / 1000
    assert size(spell_size(number)) == number
