"""One log entry as one line: of bounded size, and without characters that could forge another line."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from gatewayd.routes.secret import Secret

MOST_CHARACTERS = 2048
"""Of one value. Longer ones are cut, and say so."""
MOST_TRACE_CHARACTERS = 16_384
"""Of one traceback, whose end tells most."""
MOST_ITEMS = 64
"""Of one list or mapping."""
MOST_DEPTH = 4

_SAFE_INTEGER = 2**63
"""Readers of JSON lose larger numbers, and Python refuses to print very large ones."""

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}

Entry = Mapping[str, Any]
"""What a line says, in order: `timestamp`, `level`, `logger`, `event`, then the rest, all out of `plain`."""


def plain(value: object, depth: int = 0) -> Any:
    """The value as something that JSON can say, within the bounds above. Never raises, never reveals."""
    match value:
        case None | bool():
            return value
        case str():
            return _cut(value)
        case Secret():
            return "***"
        case int():
            return int(value) if abs(value) < _SAFE_INTEGER else f"<integer of {value.bit_length()} bits>"
        case float():
            return float(value) if math.isfinite(value) else str(value)
        case bytes() | bytearray():
            return _cut(value[: MOST_CHARACTERS + 1].decode("utf-8", "backslashreplace"))
        case BaseException():
            return _cut(f"{type(value).__name__}: {_text(value, str)}")
        case dict() | list() | tuple() | set() | frozenset() if depth < MOST_DEPTH:
            return _plain_items(cast("Collection[Any]", value), depth + 1)
        case _:
            return _cut(_text(value, repr))


def _plain_items(value: Collection[Any], depth: int) -> Any:
    shown = [item for item, _ in zip(value, range(MOST_ITEMS), strict=False)]
    left_out = len(value) - len(shown)
    if isinstance(value, dict):
        return _plain_mapping(cast("Mapping[Any, Any]", value), shown, left_out, depth)
    items = [plain(item, depth) for item in shown]
    return [*items, f"... {left_out} more"] if left_out else items


def _plain_mapping(value: Mapping[Any, Any], keys: list[Any], left_out: int, depth: int) -> dict[str, Any]:
    entries = {_cut(_text(key, str)): plain(value[key], depth) for key in keys}
    return entries | {"...": left_out} if left_out else entries


def _text(value: object, describe: Callable[[object], str]) -> str:
    try:
        return describe(value)
    except Exception as error:  # noqa: BLE001  whatever a foreign __repr__ raises must not cost the log line
        return f"<{type(value).__name__} without text: {type(error).__name__}>"


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}... ({len(text)} characters)"


def trace(error: BaseException) -> str:
    """The traceback of an exception, without the values of its variables; of a long one, the end."""
    text = "".join(traceback.format_exception(error))
    return text if len(text) <= MOST_TRACE_CHARACTERS else f"...{text[-MOST_TRACE_CHARACTERS:]}"


def json_line(entry: Entry) -> str:
    """A JSON object in ASCII: controls, DEL, ESC, NEL, U+2028 and U+2029 appear as escapes only."""
    return json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n"


def console_line(entry: Entry, colour: bool) -> str:
    """For people: time, level, logger, event, then `key=value`. What does not print is escaped as in JSON."""
    rest = dict(entry)
    clock = rest.pop("timestamp")[11:23]
    level = rest.pop("level")
    painted = f"\x1b[{_COLOURS.get(level, '0')}m{level:<8}\x1b[0m" if colour else f"{level:<8}"
    exception = rest.pop("exception", None)
    words = [clock, painted, _word(rest.pop("logger")), _phrase(rest.pop("event"))]
    words += [f"{_word(key)}={_word(value)}" for key, value in rest.items()]
    line = " ".join(words) + "\n"
    if exception is not None:
        line += "".join(f"    {_phrase(part)}\n" for part in str(exception).splitlines())
    return line


def _phrase(value: object) -> str:
    """A text of our own, mostly: blanks do no harm."""
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


def _word(value: object) -> str:
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(" \"'=\\"):
        return value
    return json.dumps(value)
