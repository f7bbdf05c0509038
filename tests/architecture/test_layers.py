"""Imports only point down the house, and each library stays in its room."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.architecture.source import ROOT, Module, modules, users, within

PURE = (
    "gatewayd.protocol",
    "gatewayd.routes",
    "gatewayd.dsl",
    "gatewayd.bridge.asking",
    "gatewayd.bridge.changes",
    "gatewayd.bridge.legacy_client.downgrade",
    "gatewayd.bridge.legacy_client.entries",
    "gatewayd.bridge.legacy_client.envelopes",
    "gatewayd.bridge.legacy_client.rounds",
    "gatewayd.bridge.legacy_client.subscriptions",
    "gatewayd.bridge.modern_client.client_request",
    "gatewayd.bridge.modern_client.filters",
    "gatewayd.bridge.modern_client.questions",
    "gatewayd.bridge.modern_client.states",
    "gatewayd.bridge.modern_client.upgrade",
    "gatewayd.catalog.definitions",
    "gatewayd.catalog.kinds",
    "gatewayd.catalog.listing",
    "gatewayd.catalog.offers",
    "gatewayd.virtual.describing",
    "gatewayd.virtual.merge",
    "gatewayd.virtual.patterns",
    "gatewayd.virtual.places",
    "gatewayd.virtual.reach",
    "gatewayd.virtual.rewriting",
    "gatewayd.virtual.spellings",
    "gatewayd.virtual.uris",
    "gatewayd.virtual.weight",
)
HOUSE = (
    ("cli", "daemon"),
    ("control",),
    ("front",),
    ("exchange",),
    ("sessions",),
    ("virtual",),
    ("catalog",),
    ("bridge",),
    ("upstreams",),
    ("auth",),
    ("observe",),
    ("net",),
    ("protocol",),
)
"""From the roof down. Whoever is below knows nobody above."""

NO_IO = {"trio", "asyncio", "socket", "subprocess", "ssl", "threading", "time", "random", "secrets", "select"}


@pytest.mark.parametrize("module", within(*PURE), ids=lambda module: module.name)
def test_the_pure_folders_have_no_tasks_clocks_or_sockets(module: Module) -> None:
    assert {name.split(".")[0] for name in module.imports()} & NO_IO == set()
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(module.tree) if isinstance(node, waiting)]


def test_what_is_pure_uses_only_what_is_pure() -> None:
    for module in within(*PURE):
        own = {name for name in module.imports() if name.startswith("gatewayd.")} - {"gatewayd.__version__"}
        pure = tuple(f"{name}." for name in PURE)
        assert not [name for name in own if not f"{name}.".startswith(pure)], module.name


def test_the_directions_of_the_bridge_do_not_know_each_other() -> None:
    directions = ("gatewayd.bridge.legacy_client", "gatewayd.bridge.modern_client")
    for module in within("gatewayd.bridge"):
        known = {name for name in module.imports() if name.startswith(directions)}
        own = tuple(name for name in directions if module.name.startswith(name))
        assert module.name == "gatewayd.bridge.service" or all(name.startswith(own) for name in known), module.name


def test_the_floors_know_nobody() -> None:
    for floor in ("gatewayd.protocol", "gatewayd.routes"):
        for module in within(floor):
            above = [name for name in module.imports() if name.startswith("gatewayd.")]
            assert [name for name in above if not name.startswith(floor)] == [], module.name


def test_the_dsl_knows_only_the_routes() -> None:
    for module in within("gatewayd.dsl"):
        known = {name.split(".")[1] for name in module.imports() if name.startswith("gatewayd.")}
        assert known <= {"dsl", "routes"}, module.name


@pytest.mark.parametrize("floor", range(len(HOUSE)), ids=lambda floor: "-".join(HOUSE[floor]))
def test_imports_point_down(floor: int) -> None:
    above = {f"gatewayd.{name}" for names in HOUSE[:floor] for name in names}
    for module in within(*(f"gatewayd.{name}" for name in HOUSE[floor])):
        found = {".".join(name.split(".")[:2]) for name in module.imports()} & above
        assert not found, f"{module.name} imports {found}, which is above it"


def test_only_the_command_line_and_the_daemon_know_the_dsl() -> None:
    for module in modules():
        if any(name.startswith("gatewayd.dsl") for name in module.imports()):
            assert module.name.split(".")[1] in ("cli", "daemon", "dsl"), module.name


def test_every_package_has_a_floor() -> None:
    named = {name for names in HOUSE for name in names} | {"dsl", "routes"}
    ground = {"gatewayd", "gatewayd.__main__", "gatewayd.demo"}
    for module in modules():
        assert module.name in ground or module.name.split(".")[1] in named, module.name


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("hypercorn", ("gatewayd.front.hyper", "gatewayd.control.serve", "gatewayd.demo")),
        ("starlette", ("gatewayd.control.",)),
        ("cattrs", ("gatewayd.dsl.structure",)),
        ("httptools", ("gatewayd.protocol.",)),
        ("prometheus_client", ("gatewayd.observe.exposition",)),
        ("argparse", ("gatewayd.cli", "gatewayd.demo")),
        ("mcp", ("gatewayd.demo",)),
        ("pydantic", ("gatewayd.demo",)),
        ("anyio", ("gatewayd.demo",)),
        ("httpx", ()),
        ("asyncio", ()),
        ("threading", ()),
        ("pickle", ()),
        ("sqlite3", ("gatewayd.sessions.ledger_file", "gatewayd.virtual.search")),
    ],
)
def test_a_library_stays_in_its_room(library: str, rooms: tuple[str, ...]) -> None:
    strays = {name for name in users(library) if not name.startswith(rooms or ("nowhere",))}
    assert strays == set()


def test_imports_are_absolute_and_never_of_the_bare_folders() -> None:
    for module in modules():
        for name in module.imports():
            assert name.split(".")[0] not in ("", "dsl", "routes"), f"{module.name}: {name}"


def test_importing_the_command_line_imports_no_sdk() -> None:
    """`gatewayd check` is a command that people and units run often."""
    heavy = ("mcp", "pydantic", "httpx", "uvicorn")
    code = f"import sys, gatewayd.cli; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.slow
def test_the_contracts_of_the_import_linter_are_kept() -> None:
    pytest.importorskip("importlinter", reason="part of `make lint`; the other tests here say the same")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout
