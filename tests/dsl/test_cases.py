"""Every file of `cases/` against its `.expect`: rendered diagnostics, or the table where there are none.

To add a case, add a `.toml` file and run with `GATEWAYD_WRITE_EXPECT=1`; then read what was written.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from gatewayd.dsl import compile_file, dump, render

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.stem for path in CASES.glob("*.toml"))
SHOWN = "/etc/gatewayd"
"""Stands for the folder of the configuration in dumps."""


def compiled(name: str, folder: Path) -> str:
    """What the case shows: its diagnostics and whether there is a table, or else the table."""
    environ = {
        "PATH": str(folder / "files/bin"),
        "SEARCH_TOKEN": "t0p-s3cret-from-env",
        "SESSION_KEY": "s3cret-key-from-env-32-characters",
        "EMPTY": "",
        "TWO_LINES": "one\ntwo",
        "NOT_TEXT": "\udcff",
        "CREDENTIALS_DIRECTORY": str(folder / "files/credentials"),
    }
    if name.startswith("no_credentials"):
        del environ["CREDENTIALS_DIRECTORY"]
    outcome = compile_file(Path(f"{name}.toml"), environ=environ)
    assert (outcome.table is None) == any(d.severity == "error" for d in outcome.diagnostics)
    if not outcome.diagnostics:
        assert outcome.table is not None
        text = dump(outcome.table)
    else:
        text = render(outcome.diagnostics) + f"\n{'no table' if outcome.table is None else 'a table'}\n"
    # the digest is over real paths
    return re.sub(r'"digest": "[0-9a-f]{64}"', '"digest": "..."', text).replace(str(folder), SHOWN)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cases with the file modes that matter, as the working directory."""
    place = tmp_path / "cases"
    shutil.copytree(CASES, place)
    for keys in (place / "files").glob("*keys.toml"):
        keys.chmod(0o644 if keys.name == "open-keys.toml" else 0o600)
    (place / "files/bin/tool").chmod(0o755)
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, folder: Path) -> None:
    expected = CASES / f"{name}.expect"
    found = compiled(name, folder)
    if os.environ.get("GATEWAYD_WRITE_EXPECT"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_not_shown(name: str, folder: Path) -> None:
    assert "s3cret" not in compiled(name, folder)


def test_no_expectation_without_case() -> None:
    assert sorted(path.stem for path in CASES.glob("*.expect")) == NAMES
