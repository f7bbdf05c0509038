"""The gateway's own modules, as text and as syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]

FOLDERS = {"gatewayd": ROOT / "gatewayd", "gatewayd.dsl": ROOT / "dsl", "gatewayd.routes": ROOT / "routes"}
"""Packages that are not where their name says, and their parent."""


@attrs.frozen(eq=False)
class Module:
    """One file of the package."""

    name: str
    path: Path
    tree: ast.Module = attrs.field(repr=False)

    def imports(self) -> Iterator[str]:
        """Every module that it names in an import, in full; `.` before relative ones."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield "." * node.level + (node.module or "")
                yield from (f"{node.module}.{alias.name}" for alias in node.names if not node.level)

    def uses(self, library: str) -> bool:
        """Whether it imports a top-level library, or anything in it."""
        return any(name.split(".")[0] == library for name in self.imports())


@cache
def modules() -> tuple[Module, ...]:
    """All of them, by name."""
    found = [module for package, folder in FOLDERS.items() for module in _in(package, folder)]
    return tuple(sorted(found, key=lambda module: module.name))


def _in(package: str, folder: Path) -> Iterator[Module]:
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        if package == "gatewayd" and parts[0] in ("dsl", "routes"):
            continue  # the links; some versions of rglob follow them
        name = ".".join((package, *parts)).removesuffix(".__init__")
        yield Module(name, path, ast.parse(path.read_text(encoding="utf-8")))


def within(*packages: str) -> list[Module]:
    """The modules of some packages."""
    return [module for module in modules() if any(f"{module.name}.".startswith(f"{name}.") for name in packages)]


def users(library: str) -> set[str]:
    """The names of the modules that import a library."""
    return {module.name for module in modules() if module.uses(library)}
