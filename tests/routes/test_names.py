"""Names with prefixes: usable everywhere, always the same, and never those of another service."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gatewayd.routes.names import LONGEST, LONGEST_PREFIX, SEPARATOR, exposed, prefix_fault

prefixes = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", fullmatch=True).filter(lambda p: prefix_fault(p) is None)


def test_short_names_are_put_together() -> None:
    assert exposed("github", "search_issues") == "github__search_issues"
    assert exposed("a", "_x__y") == "a___x__y"


def test_without_a_prefix_a_name_stays_as_it_is() -> None:
    assert exposed("", "what/ever é" + "x" * 100) == "what/ever é" + "x" * 100


def test_other_names_are_spelled_out_and_end_with_a_hash() -> None:
    assert exposed("gh", "read.file") == "gh__read_file-a72c801e"
    long = exposed("github", "x" * 128)
    assert long == "github__" + "x" * 47 + "-" + long[-8:]
    assert len(long) == LONGEST


@given(prefixes, st.text(min_size=1, max_size=128))
def test_every_name_can_be_used_and_has_its_prefix(prefix: str, name: str) -> None:
    made = exposed(prefix, name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", made)
    assert made.partition(SEPARATOR)[0] == prefix
    assert len(made) > len(prefix + SEPARATOR)


@given(prefixes, st.text(min_size=1), prefixes, st.text(min_size=1))
def test_two_things_do_not_have_one_name(prefix: str, name: str, other_prefix: str, other_name: str) -> None:
    assume((prefix, name) != (other_prefix, other_name))
    assert exposed(prefix, name) != exposed(other_prefix, other_name)


@pytest.mark.parametrize("prefix", ["a", "git-hub", "my_files", "0", "a-", "x" * LONGEST_PREFIX])
def test_good_prefixes(prefix: str) -> None:
    assert prefix_fault(prefix) is None


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("", "begins with"),
        ("_a", "begins with"),
        ("-a", "begins with"),
        ("a.b", "has letters"),
        ("é", "has letters"),
        ("a\n", "has letters"),
        ("a__b", "no `__`"),
        ("a_", "no `_` at its end"),
        ("x" * (LONGEST_PREFIX + 1), "at most 32"),
    ],
)
def test_bad_prefixes(prefix: str, why: str) -> None:
    fault = prefix_fault(prefix)
    assert fault is not None
    assert why in fault
