"""A command line, and servers that start at once and offer what a file says."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from gatewayd import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command: its exit code, what it printed, and what it complained about."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Commands that ask services say where the log goes: for good, as it should be in a process of their own."""
    root, handlers = logging.getLogger(), list(logging.getLogger().handlers)
    level, raising, interrupt = root.level, logging.raiseExceptions, signal.getsignal(signal.SIGINT)
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    assert signal.getsignal(signal.SIGINT) is interrupt
