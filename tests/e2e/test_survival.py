"""Sessions of real clients through restarts and reloads of the gateway, and through upstreams that die or forget."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.survival import survive

pytestmark = pytest.mark.slow


async def test_no_client_has_to_begin_again_and_no_call_is_repeated(tmp_path: Path) -> None:
    seen = await survive(tmp_path, 20)
    assert seen.bad == []
    assert seen.whole + seen.unknown == seen.calls
    assert seen.unknown <= 10  # the calls that ran in the process when it was killed
    assert seen.executed <= seen.calls
