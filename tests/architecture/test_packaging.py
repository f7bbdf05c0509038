"""What is installed is what is in the tree: setuptools leaves out an unlisted package without a word."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import FOLDERS, ROOT, Module, modules

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS: dict[str, Any] = PROJECT["tool"]["setuptools"]

PACKAGES = [module for module in modules() if module.path.name == "__init__.py"]


def test_the_list_of_packages_is_the_tree() -> None:
    assert SETUPTOOLS["packages"] == sorted(module.name for module in PACKAGES)


def test_every_folder_with_code_is_a_package() -> None:
    folders = {module.path.parent for module in modules()}
    assert folders == {module.path.parent for module in PACKAGES}


def test_the_mapping_leads_to_the_folders() -> None:
    assert {name: ROOT / folder for name, folder in SETUPTOOLS["package-dir"].items()} == FOLDERS


@pytest.mark.parametrize("name", ["dsl", "routes"])
def test_the_links_for_type_checkers_are_relative(name: str) -> None:
    link = ROOT / "gatewayd" / name
    assert link.readlink() == Path("..", name)
    assert (link / "__init__.py").is_file()


@pytest.mark.parametrize("module", PACKAGES, ids=lambda module: module.name)
def test_every_package_says_what_it_owns(module: Module) -> None:
    assert ast.get_docstring(module.tree)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_module_has_a_docstring_and_one_subject(module: Module) -> None:
    assert ast.get_docstring(module.tree) or module.path.name == "__main__.py"
    assert len(module.path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_types_are_shipped() -> None:
    assert (ROOT / "gatewayd/py.typed").is_file()
    assert "py.typed" in SETUPTOOLS["package-data"]["gatewayd"]


def test_every_import_is_declared_as_a_dependency() -> None:
    declared = {name.split(">=")[0].replace("-", "_").lower() for name in PROJECT["project"]["dependencies"]}
    carried = {"pydantic", "anyio", "gatewayd"}  # by the SDK, for the demo server
    found = {name.split(".")[0] for module in modules() for name in module.imports()}
    assert found - sys.stdlib_module_names - declared - carried == set()


def test_every_dependency_is_pinned_for_repeatable_installs() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].replace("_", "-").lower() for line in lines if "==" in line}
    wanted = list(PROJECT["project"]["dependencies"])
    for group in PROJECT["dependency-groups"].values():
        wanted += group
    names = {name.split(">=")[0].split("[")[0].replace("_", "-").lower() for name in wanted}
    assert names - pinned == set()
