"""About how much a list of tools costs a model."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.virtual.weight import tokens, weight


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("word", 1), ("internationalization", 4), ("12345", 2), ("a b c", 3), ('{"a":1}', 5), ("größer", 3)],
)
def test_tokens(text: str, count: int) -> None:
    assert tokens(text) == count


@given(st.text(), st.text())
def test_more_text_takes_no_fewer_tokens(one: str, other: str) -> None:
    assert max(tokens(one), tokens(other)) <= tokens(f"{one} {other}") <= tokens(one) + tokens(other)


def definition(**parts: object) -> bytes:
    return json.dumps(parts).encode()


def test_only_what_a_model_reads_counts() -> None:
    read = definition(name="a", description="what it does", inputSchema={"type": "object"})
    more = definition(
        name="a", description="what it does", inputSchema={"type": "object"}, outputSchema={"x": 1}, annotations={}
    )
    assert weight([read]) == weight([more]) > 0
    assert weight([read, more]) == 2 * weight([read])
    assert weight([]) == 0
