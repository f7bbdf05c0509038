from __future__ import annotations

import pytest
import trio

from tests.sessions.fakes import Houses


@pytest.fixture
def house(nursery: trio.Nursery) -> Houses:
    """Makes a registry with what surrounds it. Must be used inside of Trio."""
    return Houses(nursery)
