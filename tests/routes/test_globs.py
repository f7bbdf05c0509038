"""Patterns: `*` and nothing else, all of the text, and no pattern that takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.routes.globs import any_matches, matches


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("delete", "delete", True),
        ("delete", "delete_all", False),
        ("delete_*", "delete_", True),
        ("delete_*", "delete", False),
        ("*_all", "delete_all", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*", "abc", True),
        ("*b*c*", "acb", False),
        ("*", "", True),
        ("**", "x", True),
        ("", "", True),
        ("", "x", False),
        ("Get", "get", False),
        ("a?c", "abc", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("a*", "a\nb", True),
    ],
)
def test_patterns(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=10))
def test_patterns_mean_what_regular_expressions_say(pattern: str, text: str) -> None:
    wanted = re.fullmatch(pattern.replace("*", ".*"), text) if "**" not in pattern else None
    assert matches(pattern, text) is (wanted is not None) or "**" in pattern
    assert matches(re.sub(r"\*+", "*", pattern), text) is matches(pattern, text)


def test_a_pattern_with_many_stars_is_quick() -> None:
    assert not matches("*a" * 500 + "b", "a" * 20_000)


def test_one_of_several_is_enough() -> None:
    assert any_matches(("x", "a*"), "abc")
    assert not any_matches((), "abc")
