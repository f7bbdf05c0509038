"""Texts speak of the project alone, and of no machine that it was written on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

FOLDERS = (".ci", "bench", "conformance", "deploy", "docs", "dsl", "fuzz", "gatewayd", "routes", "tests")
KINDS = {".py", ".md", ".toml", ".txt", ".service", ".example", ".expect", ".json", ""}

MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+|tmp/bash_jobs)/")
LEFT_OVER = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def texts() -> Iterator[Path]:
    """Every text of the repository that people wrote."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in {*KINDS, ".toml"})
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT)
            if not {"corpus", "__pycache__", "node_modules"}.isdisjoint(inside.parts):
                continue
            if inside.parts[:2] in (("gatewayd", "dsl"), ("gatewayd", "routes")):
                continue  # the links
            if path.is_file() and path.suffix in KINDS:
                yield path


def read(path: Path) -> str:
    """As far as it is text."""
    return path.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("pattern", [MACHINE, LEFT_OVER], ids=["no paths of a machine", "nothing is left for later"])
def test_what_no_text_says(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts()
        for number, line in enumerate(read(path).splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_texts_end_with_one_line_end_and_have_no_blanks_before_one() -> None:
    """Cases of the compiler may be as odd as they need to be."""
    for path in texts():
        if path.suffix in (".py", ".md", ".service") and path.name not in (".coverage",):
            text = read(path)
            assert not text or text.endswith("\n"), path
            assert not text.endswith("\n\n"), path
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), path
