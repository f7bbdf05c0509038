"""What tests of the daemon need around them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from tests.support.counting_server import CountingServer, open_counting_server


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A reload that is applied configures the log of this process."""
    root = logging.getLogger()
    handlers, level, loud = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers, logging.raiseExceptions = handlers, loud
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
async def server() -> AsyncIterator[CountingServer]:
    """An upstream over HTTP that counts."""
    async with open_counting_server() as opened:
        yield opened
