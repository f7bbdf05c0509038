"""Durations and sizes: strings with units to seconds and bytes, and back."""

from __future__ import annotations

import re

from gatewayd.dsl.diagnostics import Code, Fault, quote

_SECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}  # in milliseconds, falling
_BYTES = {
    "B": 1,
    "KB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}
_PARTS = re.compile(r"([0-9]{1,12})(ms|[smhd])")
_DURATION = re.compile(r"(?:[0-9]{1,12}d)?(?:[0-9]{1,12}h)?(?:[0-9]{1,12}m)?(?:[0-9]{1,12}s)?(?:[0-9]{1,12}ms)?")
_SIZE = re.compile(r"([0-9]{1,15})(B|KB|KiB|MB|MiB|GB|GiB)")
_LOOSE = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([A-Za-zµ]*)\s*")

_DURATION_WORDS = {
    "": "s",
    "sec": "s",
    "second": "s",
    "min": "m",
    "minute": "m",
    "hr": "h",
    "hour": "h",
    "day": "d",
    "msec": "ms",
    "millisecond": "ms",
    **{unit: unit for unit in _SECONDS},
}
_SIZE_WORDS = {
    "": "B",
    "b": "B",
    "byte": "B",
    "k": "KiB",
    "m": "MiB",
    "g": "GiB",
    **{unit.lower(): unit for unit in _BYTES},
}


def duration(value: object) -> float:
    """Seconds of a duration such as `"30s"` or `"1h30m"`. Raises `Fault`."""
    if isinstance(value, str) and value and _DURATION.fullmatch(value):
        return sum(int(n) * _SECONDS[unit] for n, unit in _PARTS.findall(value)) / 1000
    raise _bad(value, Code.DURATION, "duration", 'a string such as "30s", "5m" or "1h30m"', _guess_duration(value))


def size(value: object) -> int:
    """Bytes of a size such as `"10MiB"` or `"64KB"`. Raises `Fault`."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES[match[2]]
    raise _bad(value, Code.SIZE, "size", 'a string such as "512B", "64KiB" or "10MiB"', _guess_size(value))


def spell_duration(seconds: float) -> str:
    """The shortest way to write a duration."""
    rest = round(seconds * 1000)
    parts: list[str] = []
    for unit, factor in _SECONDS.items():
        count, rest = divmod(rest, factor)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def spell_size(count: int) -> str:
    """The shortest way to write a size in binary units."""
    for unit in ("GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


def _bad(value: object, code: Code, what: str, expected: str, guess: str | None) -> Fault:
    found = quote(value) if isinstance(value, str | int | float) else f"a value of type {type(value).__name__}"
    return Fault(code, f"{found} is not a {what}: expected {expected}", f'did you mean "{guess}"?' if guess else None)


def _loose(value: object) -> tuple[float, str] | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _LOOSE.fullmatch(str(value))
    return (float(match[1]), match[2].lower()) if match else None


def _guess_duration(value: object) -> str | None:
    if loose := _loose(value):
        number, word = loose
        if unit := _DURATION_WORDS.get(word) or _DURATION_WORDS.get(word.removesuffix("s")):
            return spell_duration(number * _SECONDS[unit] / 1000) if number % 1 else f"{number:.0f}{unit}"
    return None


def _guess_size(value: object) -> str | None:
    if loose := _loose(value):
        number, word = loose
        if unit := _SIZE_WORDS.get(word) or _SIZE_WORDS.get(word.removesuffix("s")):
            exact = number * _BYTES[unit]
            return f"{number:.0f}{unit}" if not (number % 1 or unit == "B") else spell_size(round(exact))
    return None
