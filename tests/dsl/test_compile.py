"""From a file to a table: what the golden cases do not show."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.dsl import compile_file, compile_text, render
from gatewayd.dsl.source import MAX_FILE
from gatewayd.routes.table import HttpTarget, StdioTarget, Table

TEXT = """
[services.web]
url = "https://web.example.com/mcp"
auth = { bearer = { env = "TOKEN" } }

[services.tool]
command = ["./tool", "./argument"]

[routes."/mcp"]
services = ["web"]
auth = "anonymous"

[routes."/tool"]
services = ["tool"]
auth = "anonymous"
"""


def table(text: str = TEXT, token: str = "one") -> Table:
    """The table of a good text."""
    outcome = compile_text(text, environ={"TOKEN": token}, path=Path("/etc/gatewayd/gateway.toml"))
    assert outcome.table is not None
    return outcome.table


def test_equal_texts_give_equal_tables() -> None:
    assert table() == table()
    assert table().digest == table().digest


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("/mcp", "/mcq"),
        TEXT.replace('"anonymous"', '"anonymous"\nerrors = "http"'),
        TEXT + '[log]\nlevel = "error"\n',
    ],
)
def test_any_difference_changes_the_digest(other: str) -> None:
    assert table(other).digest != table().digest
    assert table(other) != table()


def test_what_means_the_same_has_the_same_digest() -> None:
    assert table("# a comment\n" + TEXT + '[gateway]\ndrain = "30s"\n').digest == table().digest


def test_a_changed_secret_changes_the_digest_and_shows_nowhere() -> None:
    assert table(token="two").digest != table().digest
    assert "s3cret" not in repr(table(token="s3cret"))


def test_keys_for_sealing_are_kept_in_their_order_without_space_around_them() -> None:
    text = TEXT + '[gateway.session]\nkeys = [{ env = "NEW" }, { env = "OLD" }]\n'

    def keyed(new: str, old: str) -> Table:
        outcome = compile_text(text, environ={"TOKEN": "one", "NEW": new, "OLD": old})
        assert outcome.table is not None
        return outcome.table

    first = keyed("  " + "n" * 32 + "\r\n", "ö" * 16)
    assert [key.reveal() for key in first.gateway.session.keys] == ["n" * 32, "ö" * 16]
    assert first.digest == keyed("n" * 32, "ö" * 16).digest
    assert first.digest != keyed("ö" * 16, "n" * 32).digest
    assert "nnnn" not in repr(first)


@pytest.mark.parametrize("key", ["n" * 31, "ö" * 15, " " * 40, "n" * 31 + "\n" * 5])
def test_keys_for_sealing_are_not_short(key: str) -> None:
    text = TEXT + '[gateway.session]\nkeys = [{ env = "KEY" }]\n'
    found = compile_text(text, environ={"TOKEN": "one", "KEY": key}).diagnostics
    errors = [(d.code, d.label.text) for d in found if d.severity == "error"]
    assert errors == [("GW134", 'keys = [{ env = "KEY" }]')]


@pytest.mark.parametrize("end", ["", "]", '"', "\n[gateway.session", "\nttl = 5x\n", '\n"resume" = ,'])
@pytest.mark.parametrize("key", ["keys", '"keys"', "session.keys", "key"])
def test_keys_for_sealing_are_not_shown_where_the_text_is_no_toml(key: str, end: str) -> None:
    text = f'[gateway]\n{key} = [\n  {{ env = "NEW" }},\n  "s3cret" "s3cret",\n  "s3cret"{end}'
    outcome = compile_text(text, environ={})
    assert outcome.table is None
    assert "s3cret" not in render(outcome.diagnostics)


def test_paths_are_absolute_and_relative_to_the_file() -> None:
    tool = table().services["tool"].target
    assert isinstance(tool, StdioTarget)
    assert tool.launch.command == ("/etc/gatewayd/tool", "./argument")
    assert tool.launch.cwd == "/etc/gatewayd"
    web = table().services["web"].target
    assert isinstance(web, HttpTarget)
    assert (web.host, web.port, web.path, web.launch) == ("web.example.com", 443, "/mcp", None)


def test_a_missing_file_is_a_diagnostic(tmp_path: Path) -> None:
    outcome = compile_file(tmp_path / "no.toml", environ={})
    assert outcome.table is None
    assert [d.code for d in outcome.diagnostics] == ["GW102"]
    assert "no such file" in render(outcome.diagnostics)


@pytest.mark.parametrize("content", [b"\xff", b"#" * (MAX_FILE + 1)], ids=["not text", "huge"])
def test_a_file_that_is_no_configuration(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(content)
    assert [d.code for d in compile_file(path, environ={}).diagnostics] == ["GW102"]


def test_a_name_that_is_no_file_name() -> None:
    assert [d.code for d in compile_file(Path("a\0b"), environ={}).diagnostics] == ["GW102"]


def test_windows_line_ends_and_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    outcome = compile_file(path, environ={"TOKEN": "one"})
    assert outcome.table is not None
    assert set(outcome.table.routes) == {"/mcp", "/tool"}


def test_absolute_includes(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TEXT, encoding="utf-8")
    outcome = compile_text(f'include = ["{tmp_path}/*.toml"]\n', environ={"TOKEN": "one"})
    assert outcome.table is not None
    assert set(outcome.table.services) == {"web", "tool"}


def test_deep_nesting_is_a_diagnostic() -> None:
    outcome = compile_text("a = " + "[" * 100_000, environ={})
    assert [d.code for d in outcome.diagnostics] == ["GW101"]


def test_file_names_that_are_none() -> None:
    text = TEXT.replace('{ env = "TOKEN" }', '{ file = "a' + "b" * 300 + '" }')
    assert [d.code for d in compile_text(text, environ={}).diagnostics if d.severity == "error"] == ["GW131"]


def test_ten_mistakes_give_ten_diagnostics_in_their_places() -> None:
    path = Path(__file__).parent / "cases/ten_mistakes.toml"
    found = [(d.code, d.label.line, d.label.column) for d in compile_file(path, environ={"PATH": ""}).diagnostics]
    assert found == [
        ("GW124", 3, 11),
        ("GW111", 4, 1),
        ("GW121", 5, 21),
        ("GW114", 8, 9),
        ("GW142", 11, 11),
        ("GW125", 14, 7),
        ("GW122", 15, 20),
        ("GW151", 18, 13),
        ("GW155", 21, 9),
        ("GW153", 25, 1),
    ]


LINES = [
    line for line in (Path(__file__).parent / "cases/good_everything.toml").read_text("utf-8").splitlines() if line
]


@given(st.data())
def test_no_edit_of_a_good_file_breaks_the_compiler(data: st.DataObject) -> None:
    lines = copy.copy(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        start = data.draw(st.integers(0, len(line)))
        end = data.draw(st.integers(start, len(line)))
        put = data.draw(st.sampled_from(["", "5", '"x"', "[]", "{}", "true", "= 1", "\n", '"', "x = {}\n", "é"]))
        lines[index] = line[:start] + put + line[end:]
    text = "\n".join(lines)
    outcome = compile_text(text, environ={}, path=Path("/nowhere/gateway.toml"))
    assert (outcome.table is None) == any(d.severity == "error" for d in outcome.diagnostics)
    for diagnostic in outcome.diagnostics:
        start, length = diagnostic.label.caret
        assert length >= 1
        assert 0 <= start <= len(diagnostic.label.text)
    render(outcome.diagnostics)
