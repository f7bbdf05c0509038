"""The documentation says what the code does: generated pages, codes, commands, metrics, links."""

from __future__ import annotations

import argparse
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from gatewayd import cli
from gatewayd.dsl import compile_file
from gatewayd.dsl.diagnostics import Code
from gatewayd.observe.metrics import Outcome, Refusal, ReloadResult
from gatewayd.protocol import codes
from tests.architecture.source import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def read(path: Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def page_id(page: Path) -> str:
    """A page's name in the report."""
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What one can link to in a page, as code hosts make it."""
    titles = HEADING.findall(FENCE.sub("", read(page)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def load_generator() -> Any:
    """docs/generate.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date() -> None:
    for path, text in load_generator().pages().items():
        assert read(path) == text, f"{path.name}: run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", read(page))):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page_id(page)} links to {target}"
        assert not anchor or anchor in anchors(path), f"{page_id(page)} links to {target}"


def test_every_page_is_in_the_index() -> None:
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in LINK.findall(read(DOCS / "index.md"))}
    assert {page for page in DOCS.rglob("*.md") if page.name != "index.md"} - linked == set()


def test_every_diagnostic_has_its_section() -> None:
    sections = re.findall(r"^### (GW\d+):", read(DOCS / "reference/diagnostics.md"), re.MULTILINE)
    assert sorted(sections) == sorted(str(code) for code in Code)


def commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command and those below it."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from commands(below, f"{name} {word}")


def test_every_command_and_option_is_documented() -> None:
    page = read(DOCS / "reference/cli.md")
    for name, parser in commands(cli._parser(), "gatewayd"):
        assert f"`{name}" in page
        for action in parser._actions:
            assert all(option in page for option in action.option_strings if option not in ("-h", "--help"))
            if not isinstance(action, argparse._SubParsersAction):
                assert all(f"--format {choice}" in page for choice in action.choices or ())


def test_every_value_of_a_label_is_documented() -> None:
    metrics, errors = read(DOCS / "reference/metrics.md"), read(DOCS / "reference/errors.md")
    for value in (*get_args(Outcome), *get_args(ReloadResult)):
        assert f"`{value}`" in metrics
    for reason in get_args(Refusal):
        assert f"| `{reason}` |" in errors


def test_every_error_code_of_ours_is_documented() -> None:
    page = read(DOCS / "reference/errors.md")
    numbers = [value for name, value in vars(codes).items() if name.isupper() and value in range(-31999, -30999)]
    assert len(numbers) == 9
    assert [number for number in numbers if str(number) not in page] == []


def test_targets_that_are_mentioned_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", read(ROOT / "Makefile"), re.MULTILINE))
    for page in [*PAGES, ROOT / ".ci/run"]:
        fences = "\n".join(FENCE.findall(read(page))) if page.suffix == ".md" else read(page)
        for word in re.findall(r"`make ([a-z]+)", read(page)) + re.findall(r"^make ([a-z]+)", fences, re.MULTILINE):
            assert word in targets, f"{page_id(page)} mentions make {word}"


@pytest.mark.parametrize(
    "page",
    [
        ROOT / "README.md",
        *(DOCS / "how-to" / f"{name}.md" for name in ("api-keys", "many-servers", "sessions", "tool-lock")),
    ],
    ids=page_id,
)
def test_configurations_are_read_by_the_compiler(page: Path, tmp_path: Path) -> None:
    """Names may be missing in an excerpt; words may not be wrong."""
    for number, text in enumerate(re.findall(r"^```toml\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(text, encoding="utf-8")
        found = {str(diagnostic.code) for diagnostic in compile_file(file, environ={"SEARCH_TOKEN": "x"}).diagnostics}
        assert not found & {"GW101", "GW111", "GW112"}, f"{page_id(page)}: {found}"


def test_the_curl_line_is_the_same_everywhere() -> None:
    """What `make run` prints is taken from the example, and the package's own smoke test sends it."""
    lines = re.search(r"^#   (curl .*?)\n#\n", read(ROOT / "gateway.toml.example"), re.MULTILINE | re.DOTALL)
    assert lines is not None
    wanted = re.sub(r"\s+", " ", lines[1].replace("\n#", "\n"))
    assert wanted in re.sub(r"\s+", " ", read(ROOT / "README.md"))
