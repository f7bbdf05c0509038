"""The scanner and `tomllib` agree: whatever stands at a span is the value of its path."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, cast

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.dsl.spans import Form, KeyPath, scan

keys = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text(max_size=4))
keys = keys.filter(lambda key: key.isprintable() or "\n" not in key)
scalars = st.one_of(
    st.text(max_size=12).filter(lambda s: "\r" not in s),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.datetimes(),
    st.dates(),
    st.times(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=12,
)
documents = st.dictionaries(keys, values, max_size=4)


def paths(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Every path below a value."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(cast("dict[str | int, object]", value).items())
    elif isinstance(value, list):
        items = list(enumerate(cast("list[object]", value)))
    for step, inner in items:
        yield (*path, step), inner
        yield from paths(inner, (*path, step))


def agree(text: str) -> None:
    """Every path has an entry, and every entry that claims to be a value is that value."""
    layout = scan(text)
    found: dict[KeyPath, Any] = dict(paths(tomllib.loads(text)))
    assert set(layout.entries) == set(found)
    assert layout.repeated == []
    for path, entry in layout.entries.items():
        written = text[entry.value.start : entry.value.end]
        if entry.form is Form.VALUE:
            assert tomllib.loads(f"v = {written}")["v"] == found[path]
        else:
            assert isinstance(found[path], dict | list)
            assert written.startswith("[") == (entry.form is Form.HEADER)
        if isinstance(path[-1], str) and not (entry.form is Form.HEADER and isinstance(found[path], list)):
            assert next(iter(tomllib.loads(f"{text[entry.key.start : entry.key.end]} = 1"))) == path[-1]


@given(documents)
def test_any_document_in_standard_spelling(document: dict[str, Any]) -> None:
    agree(tomli_w.dumps(document).replace("\r\n", "\n"))


@given(documents)
def test_any_document_with_long_strings(document: dict[str, Any]) -> None:
    agree(tomli_w.dumps(document, multiline_strings=True).replace("\r\n", "\n"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "a.b.c = 1\na.b.d = 2\n",
        "a . 'b c' . \"d\\u0041\" = 1",
        '[x."y.z".w]\nk = 1\n[x]\nj = 2\n',
        "[[a]]\nb = 1\n[a.c]\nd = 2\n[[a.e]]\n[[a.e]]\nf.g = 1\n[[a]]\n",
        "[ x . y ] # comment\nk = 1",
        "a = [ # comment ]\n 1, [2, { b = 3 }], # more\n]\n",
        "a = { b.c = 1, b.d = [ 1, 2 ], 'e' = {} }",
        "t = 1979-05-27 07:32:00Z\nu = 07:32:00\nv = [1979-05-27 07:32:00, 1979-05-27]",
        'a = """\nx "quoted" ""y""\\""" z"""""\nb = 1',
        "a = '''\nit''s'''''\nb = ''\nc = \"\"",
        "f = 1e5\ng = -inf\nh = 0x_1\n".replace("_1", "1"),
        "a = [[], {}, [{}]]",
        '"" = 1\n\'=\' = "#"',
    ],
)
def test_documents_in_every_spelling(text: str) -> None:
    agree(text)


@given(st.text(alphabet="ab=.[]{}\"'#, \n1\\", max_size=40))
def test_it_never_raises_nor_hangs(text: str) -> None:
    scan(text)


@pytest.mark.parametrize("text", ["a = [}", "a = {]", "a = [", "a = {", "a", "=", "[", "a = {b = ]}"])
def test_it_gives_up_where_it_must(text: str) -> None:
    assert set(scan(text).entries) <= {("a",), ("a", 0), ("a", "b")}


def test_a_key_with_an_escape_that_does_not_exist_is_taken_as_written() -> None:
    assert set(scan(r'"\1" = 1').entries) == {(r'"\1"',)}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a = 1\na = 2", ("a",)),
        ("[a]\n[a]", ("a",)),
        ("a = { b = 1, b = 2 }", ("a", "b")),
        ("[[a]]\nb = 1\nb = 2", ("a", 0, "b")),
        ("a.b = 1\n[x]\n[x]\na = { c = 1 }\na = { c = 1 }", ("x",)),
    ],
)
def test_what_is_written_twice_is_noticed(text: str, path: KeyPath) -> None:
    layout = scan(text)
    assert layout.repeated[0][0] == path
    assert layout.repeated[0][1] != layout.entries[path]
