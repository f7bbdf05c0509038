"""The lock file: what is written can be read, by the compiler and by people, and shows what was hidden."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.dsl import compile_file
from gatewayd.dsl.lockfile import BrokenLock, Lock, load_lock
from gatewayd.dsl.locktext import entry, render_lock
from gatewayd.routes.lock import drift, pin
from gatewayd.routes.suspicion import hidden
from tests.dsl.lock_entries import described

SEARCH: dict[str, Any] = {
    "name": "search",
    "description": 'Search "issues".\nEverywhere.\u200b',
    "inputSchema": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": ["integer", "null"]}, "x": True},
        "required": ["query"],
    },
    "annotations": {"title": "S", "readOnlyHint": True},
}
CONFIG = """
[services.github]
url = "https://github.example.com/mcp"

[routes."/mcp"]
services = ["github"]
auth = "anonymous"
lock = "enforce"
"""

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
schemas = values | st.fixed_dictionaries(
    {"properties": st.dictionaries(texts, st.fixed_dictionaries({"type": values}) | values), "required": values}
)
tools = st.fixed_dictionaries(
    {}, optional={"title": values, "description": texts | values, "inputSchema": schemas, "annotations": values}
)
listings = st.dictionaries(texts, st.dictionaries(texts, tools, min_size=1, max_size=3), max_size=3)


def test_it_is_readable() -> None:
    lines = render_lock(
        described({"github": {"search": SEARCH, "get.é": {}}, "files": {"b": {}, "a": {}}})
    ).splitlines()
    assert lines[0].startswith("# What the tools of each service looked like")
    assert [line for line in lines if line.startswith("[")] == [
        "[services.files.tools.a]",
        "[services.files.tools.b]",
        r'[services.github.tools."get.\U000000e9"]',
        "[services.github.tools.search]",
    ]
    assert lines[-3:] == [
        r'text        = "Search \"issues\".\nEverywhere.\u200b"',
        'arguments   = ["query: string", "limit?: integer | null", "x?: any"]',
        r'hints       = ["readOnlyHint = true", "title = \"S\""]',
    ]


@given(listings)
def test_what_is_written_is_read_back(listed: dict[str, dict[str, dict[str, Any]]]) -> None:
    text = render_lock(described(listed))
    assert hidden(text) == ()
    assert text == render_lock(described(dict(reversed(listed.items()))))
    assert all(line == "" or line[0] in "#[vdsath" for line in text.split("\n"))
    raw = tomllib.loads(text)
    found = {name: sorted(service["tools"]) for name, service in raw.get("services", {}).items()}
    assert found == {name: sorted(service) for name, service in listed.items()}


@given(listings)
def test_pins_are_those_of_the_tools(listed: dict[str, dict[str, dict[str, Any]]]) -> None:
    pins = Lock(described(listed)).pins()
    assert {service: set(named) for service, named in pins.items()} == {s: set(named) for s, named in listed.items()}
    for service, named in listed.items():
        assert [drift(pins, service, name, pin(tool)) for name, tool in named.items()] == [None] * len(named)


def test_the_compiler_takes_what_was_written(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG, encoding="utf-8")
    outcome = compile_file(config, environ={})
    assert [d.code for d in outcome.diagnostics] == ["GW913"]
    assert outcome.lock == tmp_path / "tools.lock"
    before = outcome.table
    outcome.lock.write_text(render_lock(described({"github": {"search": SEARCH}})), encoding="utf-8")
    outcome = compile_file(config, environ={})
    assert outcome.diagnostics == ()
    assert outcome.table is not None
    assert before is not None
    assert drift(outcome.table.pins, "github", "search", pin(SEARCH)) is None
    assert outcome.table.digest != before.digest
    assert load_lock(outcome.lock or tmp_path) == {"github": {"search": entry(SEARCH)}}


def test_the_lock_is_where_the_configuration_says(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "part.toml").write_text('[gateway]\nlock_file = "my.lock"\n', encoding="utf-8")
    config = tmp_path / "gateway.toml"
    config.write_text('include = ["conf.d/*.toml"]\n' + CONFIG, encoding="utf-8")
    assert compile_file(config, environ={}).lock == folder / "my.lock"
    assert compile_file(tmp_path / "no.toml", environ={}).lock is None


def test_entries_that_were_read_are_written_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "tools.lock"
    text = render_lock(described({"github": {"search": SEARCH}, "files": {"read": {"description": "Read."}}}))
    path.write_text(text, encoding="utf-8")
    assert render_lock(load_lock(path)) == text


def test_no_file_is_an_empty_lock(tmp_path: Path) -> None:
    assert load_lock(tmp_path / "tools.lock") == {}
    assert load_lock(tmp_path / ("x" * 300)) == {}


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        (b"version = 2\n", ["GW173"]),
        (b"version = \n", ["GW101"]),
        (b"version = 1\nx = 1\n[services.a]\ny = 1\n", ["GW111", "GW111"]),
        (b"\xff", ["GW102"]),
    ],
)
def test_a_broken_lock_is_refused(content: bytes, codes: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tools.lock"
    path.write_bytes(content)
    with pytest.raises(BrokenLock) as caught:
        load_lock(path)
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == codes
    assert {diagnostic.label.file for diagnostic in caught.value.diagnostics} == {str(path)}
