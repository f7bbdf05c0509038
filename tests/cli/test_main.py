"""The command line as its user meets it: words in, text and exit code out."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from gatewayd import __version__
from gatewayd.auth.keyring import digest
from tests.architecture.source import ROOT
from tests.cli.conftest import Run

GOOD = """\
[services.search]
url = "http://127.0.0.1:9000/mcp"

[routes."/mcp"]
services = ["search"]
auth = "anonymous"
"""

BAD = GOOD.replace('"search"]', '"serch"]').replace("auth", "aut")

FULL = """\
error[GW111]: unknown key `aut`
 --> {file}:6:1
  |
6 | aut = "anonymous"
  | ^^^
  = hint: did you mean `auth`?
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A configuration without fault."""
    return _write(tmp_path / "good.toml", GOOD)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """One with three: a service that nobody knows, a key that nobody knows, a key that is missing."""
    return _write(tmp_path / "bad.toml", BAD)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_check_of_a_good_file_says_what_is_in_it(run: Run, good: Path) -> None:
    status, out, complaints = run("check", good)
    assert (status, complaints) == (0, "")
    assert out.startswith(f"{good}: 1 route, 1 service, digest ")


def test_check_shows_the_place_of_every_fault(run: Run, bad: Path) -> None:
    status, out, complaints = run("check", bad)
    assert (status, out) == (1, "")
    assert FULL.format(file=bad) in complaints
    assert "hint: did you mean `search`?" in complaints
    assert "\x1b" not in complaints  # no colours where nobody sees them


def test_check_concise_has_one_line_for_each_fault(run: Run, bad: Path) -> None:
    status, _, complaints = run("check", "--format", "concise", bad)
    assert status == 1
    places = [line.split(": ")[:2] for line in complaints.splitlines() if line.startswith(str(bad))]
    assert places == [
        [f"{bad}:1:1", "GW902"],
        [f"{bad}:4:1", "GW153"],
        [f"{bad}:5:13", "GW151"],
        [f"{bad}:6:1", "GW111"],
    ]


def test_check_json_is_for_tools(run: Run, bad: Path, good: Path) -> None:
    status, out, complaints = run("check", "--format", "json", bad)
    assert (status, complaints) == (1, "")
    found = json.loads(out)
    assert {(item["severity"], item["line"], item["column"]) for item in found} >= {("error", 4, 1), ("error", 6, 1)}
    status, out, _ = run("check", "--format", "json", good)
    assert (status, json.loads(out)) == (0, [])


def test_a_warning_does_not_fail_a_check(run: Run, tmp_path: Path) -> None:
    text = GOOD + '[services.spare]\nurl = "http://127.0.0.1:9001/mcp"\n'
    status, out, complaints = run("check", _write(tmp_path / "gateway.toml", text))
    assert status == 0
    assert "2 services" in out
    assert complaints.startswith("warning[GW902]: no route leads to the service `spare`")


def test_check_of_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    status, _, complaints = run("check", tmp_path / "nothing.toml")
    assert status == 1
    assert "no such file" in complaints


def test_a_key_is_shown_once_and_kept_as_a_hash(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    status, out, told = run("keys", "add", "alice", "--file", file)
    key = out.strip()
    assert (status, key[:4]) == (0, "gwk_")
    assert "SIGHUP" in told
    assert key not in told
    assert key not in file.read_text()
    assert tomllib.loads(file.read_text())["keys"]["alice"]["hash"] == f"sha256:{digest(key).hex()}"
    assert file.stat().st_mode & 0o077 == 0
    assert run("keys", "list", "--file", file)[:2] == (0, "alice\n")


def test_a_key_that_exists_is_read_and_not_printed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, key = tmp_path / "keys.toml", "correct-horse-battery-staple"
    monkeypatch.setattr(sys, "stdin", io.StringIO(key + "\n"))
    status, out, told = run("keys", "add", "bob", "--stdin", "--file", file)
    assert (status, out) == (0, "")
    assert key not in told + file.read_text()
    assert digest(key).hex() in file.read_text()


def test_a_weak_key_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hunter2\n"))
    status, _, complaints = run("keys", "add", "bob", "--stdin", "--file", tmp_path / "keys.toml")
    assert status == 1
    assert "20 to 512" in complaints
    assert "hunter2" not in complaints
    assert not (tmp_path / "keys.toml").exists()


def test_a_key_is_removed_and_missed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    run("keys", "add", "alice", "--file", file)
    assert run("keys", "add", "alice", "--file", file)[0] == 1
    assert run("keys", "remove", "alice", "--file", file)[0] == 0
    assert run("keys", "list", "--file", file)[:2] == (0, "")
    status, _, complaints = run("keys", "remove", "alice", "--file", file)
    assert (status, "has no key for alice" in complaints) == (1, True)


def test_a_key_file_that_is_not_there_is_one_line(run: Run, tmp_path: Path) -> None:
    status, _, complaints = run("keys", "list", "--file", tmp_path / "nothing.toml")
    assert (status, len(complaints.splitlines())) == (1, 1)


def test_the_schema_is_one_that_editors_can_use(run: Run) -> None:
    status, out, _ = run("schema")
    assert status == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(out))


def test_the_example_passes_its_own_check(run: Run) -> None:
    assert run("check", ROOT / "gateway.toml.example")[0] == 0


def test_help_names_every_command(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    for command in ("check", "lock", "keys", "schema", "demo", "--config FILE"):
        assert f"  {command}" in out
    assert run("--version")[1] == f"gatewayd {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["chek"],
        ["check"],
        ["lock"],
        ["lock", "gateway.toml", "--timeout", "soon"],
        ["check", "gateway.toml", "--live", "--timeout", "0s"],
        ["keys"],
        ["keys", "add"],
        ["--confg", "x"],
    ],
)
def test_a_wrong_question_gets_the_usage_and_2(run: Run, words: list[str]) -> None:
    status, out, complaints = run(*words)
    assert (status, out) == (2, "")
    assert complaints.startswith("usage: gatewayd")


def _start(config: Path) -> subprocess.CompletedProcess[str]:
    """Start the gateway where it cannot: it has to end by itself."""
    command = [sys.executable, "-m", "gatewayd", "--config", str(config)]
    environ = {**os.environ, "XDG_STATE_HOME": str(config.parent)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=30, env=environ)


@pytest.mark.slow
def test_a_bad_file_is_explained_at_start(bad: Path) -> None:
    done = _start(bad)
    assert done.returncode == 2  # which tells systemd not to try again
    assert FULL.format(file=bad) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("listener", ["listen", "admin"])
def test_an_address_in_use_is_one_helpful_line(tmp_path: Path, listener: str) -> None:
    other = {"listen": "admin", "admin": "listen"}[listener]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = f'[gateway]\n{listener} = "{address}"\n{other} = "127.0.0.1:0"\n{GOOD}'
        done = _start(_write(tmp_path / "gateway.toml", text))
    complaints = [line for line in done.stderr.splitlines() if line.startswith("gatewayd:")]
    assert done.returncode == 1
    assert len(complaints) == 1
    assert address in complaints[0]
    assert "another process listens there already" in complaints[0]
    assert "Traceback" not in done.stderr
