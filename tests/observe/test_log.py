"""The log as an operator sees it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gatewayd.observe.log import configure
from gatewayd.routes.secret import Secret
from gatewayd.routes.table import Log

log = structlog.get_logger("gatewayd.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, loud = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers, logging.raiseExceptions = handlers, loud
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def _entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_entry_has_time_level_logger_event_then_its_keys() -> None:
    stream = io.StringIO()
    configure(Log(), stream)
    log.info("started", port=8080, key=Secret("hunter2"))
    (entry,) = _entries(stream)
    assert list(entry) == ["timestamp", "level", "logger", "event", "port", "key"]
    assert entry["timestamp"].endswith("Z")
    assert len(entry["timestamp"]) == len("2026-01-02T03:04:05.678Z")
    assert (entry["level"], entry["logger"], entry["event"]) == ("info", "gatewayd.test", "started")
    assert (entry["port"], entry["key"]) == (8080, "***")


def test_keys_cannot_replace_what_we_say() -> None:
    stream = io.StringIO()
    configure(Log(), stream)
    log.warning("real", level="info", timestamp="0", logger="forged")
    (entry,) = _entries(stream)
    assert (entry["level"], entry["logger"]) == ("warning", "gatewayd.test")
    assert entry["timestamp"] != "0"


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels_filter(level: Any, heard: list[str]) -> None:
    stream = io.StringIO()
    configure(Log(level=level), stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("hello")
    assert [entry["level"] for entry in _entries(stream)] == heard


def test_a_reload_changes_level_format_and_stream_of_known_loggers() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(Log(level="error"), first)
    log.info("unheard")
    configure(Log(level="debug", format="console"), second)
    log.debug("heard", key="value")
    logging.getLogger("hypercorn.error").warning("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("heard key=value") == 1
    assert second.getvalue().count("once") == 1


def test_an_exception_is_logged_with_its_traceback() -> None:
    stream = io.StringIO()
    configure(Log(), stream)
    try:
        raise RuntimeError("boom\nforged")
    except RuntimeError as error:
        log.exception("failed")
        log.error("failed", exc_info=error)
        log.error("failed", exc_info=(RuntimeError, error, None))
    log.error("fine", exc_info=None)
    entries = _entries(stream)
    assert [entry["level"] for entry in entries] == ["error"] * 4
    assert all(entry["exception"].endswith("RuntimeError: boom\nforged\n") for entry in entries[:3])
    assert "exception" not in entries[3]


def test_libraries_are_heard_from_warning_upwards_in_our_format() -> None:
    stream = io.StringIO()
    configure(Log(level="debug"), stream)
    library = logging.getLogger("hypercorn.error")
    library.info("chatter")
    library.warning("bad %s", "peer\n{}")
    library.error("%d arguments missing %d", 1)
    entries = _entries(stream)
    assert [entry["event"] for entry in entries] == ["bad peer\n{}", "%d arguments missing %d"]
    assert [entry["logger"] for entry in entries] == ["hypercorn.error"] * 2


def test_warnings_of_python_are_heard_too() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure(Log(), stream)
        warnings.warn("old", UserWarning, stacklevel=1)
    assert "UserWarning: old" in _entries(stream)[0]["event"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch, no_colour: str, coloured: bool) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    stream = Terminal()
    configure(Log(format="console"), stream)
    log.info("hello")
    assert ("\x1b[" in stream.getvalue()) == coloured


def test_a_log_that_nobody_reads_does_not_stop_us() -> None:
    stream = io.StringIO()
    configure(Log(), stream)
    stream.close()
    log.info("lost")
