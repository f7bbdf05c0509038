"""Where log entries go: those of `structlog` and of `logging`, to one stream, in one format."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog

from gatewayd.observe.lines import Entry, console_line, json_line, plain, trace
from gatewayd.routes.table import Log

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_LEVEL_NAMES = {"warn": "warning", "exception": "error", "fatal": "critical"}


def configure(settings: Log, stream: TextIO) -> None:
    """Send entries of `settings.level` and above to `stream`, one line each; may be called again at any time.

    Loggers that were fetched before (`structlog.get_logger`) follow; those made with `bind` keep the settings
    that they were made under. Libraries are heard from warning upwards. A line that cannot be written is
    dropped: the daemon does not end because nobody reads its log.
    """
    entries = _Entries(_line_format(settings, stream))

    def output(name: str = "") -> _Output:
        return _Output(name, stream)

    structlog.configure(
        processors=[entries],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=output,
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Bridge)]
    root.addHandler(_Bridge(entries, stream))
    root.setLevel(max(logging.WARNING, _LEVELS[settings.level]))
    logging.raiseExceptions = False  # or a library's bad call prints its arguments past all our rules
    logging.captureWarnings(True)


def _line_format(settings: Log, stream: TextIO) -> Callable[[Entry], str]:
    if settings.format == "json":
        return json_line
    colour = stream.isatty() and not os.environ.get("NO_COLOR")
    return lambda entry: console_line(entry, colour)


class _Entries:
    """The only processor: event and keys to one line of text."""

    def __init__(self, to_line: Callable[[Entry], str]) -> None:
        self._to_line = to_line

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return self.line(logger.name, method, event)

    def line(self, logger: str, level: str, event: Mapping[str, Any]) -> str:
        entry: dict[str, Any] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": _LEVEL_NAMES.get(level, level),
            "logger": logger,
            "event": plain(event.get("event", "")),
        }
        for key, value in event.items():
            if key == "exc_info":
                error = _exception(value)
                if error is not None:
                    entry["exception"] = trace(error)
            elif key not in entry:
                entry[key] = plain(value)
        return self._to_line(entry)


def _exception(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case tuple():
            return cast("tuple[Any, BaseException | None, Any]", exc_info)[1]
        case True:
            return sys.exc_info()[1]
        case _:
            return None


class _Output:
    """What structlog hands finished lines to; one per logger, for its name."""

    __slots__ = ("_stream", "name")

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self._stream = stream

    def write(self, line: str) -> None:
        _write(self._stream, line)

    debug = info = warning = warn = error = exception = critical = fatal = msg = log = write


class _Bridge(logging.Handler):
    """Entries of the standard library's `logging`."""

    def __init__(self, entries: _Entries, stream: TextIO) -> None:
        super().__init__()
        self._entries = entries
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a message whose arguments do not fit it
            message = str(record.msg)
        event = {"event": message, "exc_info": record.exc_info}
        _write(self._stream, self._entries.line(record.name, record.levelname.lower(), event))


def _write(stream: TextIO, line: str) -> None:
    try:
        stream.write(line)
        stream.flush()
    except (OSError, ValueError):  # nobody reads, the stream is closed, or it cannot say a character
        return
