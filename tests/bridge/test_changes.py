"""Which updates are about a subscribed resource."""

from __future__ import annotations

import pytest

from gatewayd.bridge.changes import covers


@pytest.mark.parametrize(
    ("subscribed", "uri", "covered"),
    [
        ("file:///a", "file:///a", True),
        ("file:///a", "file:///a/b", True),
        ("file:///a", "file:///a#b", True),
        ("file:///a", "file:///a?b", True),
        ("file:///a/", "file:///a/b", True),
        ("file:///a", "file:///ab", False),
        ("file:///a/b", "file:///a", False),
        ("file:///b", "file:///a", False),
    ],
)
def test_parts_of_a_resource(subscribed: str, uri: str, covered: bool) -> None:
    assert covers(subscribed, uri) is covered
