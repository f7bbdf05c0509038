"""The fuzz targets hold on their whole corpus, what earlier runs have found included."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
TARGETS = ("eventstream", "jsonrpc")
CASES = [(name, path) for name in TARGETS for path in sorted((FUZZ / "corpus" / name).iterdir())]


def load(name: str) -> ModuleType:
    """A module of `fuzz/`, which is no package: its files are programs."""
    spec = importlib.util.spec_from_file_location(f"fuzz_files_{name}", FUZZ / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "path"), CASES, ids=[f"{name}-{path.name}" for name, path in CASES])
def test_the_invariant_holds(name: str, path: Path) -> None:
    load(f"fuzz_{name}").target(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds_on_some_mutations(name: str) -> None:
    driver, module = load("driver"), load(f"fuzz_{name}")
    assert module.__doc__ is not None
    assert module.__doc__.startswith("Invariant:")
    seeds = driver.corpus(name)
    assert len(seeds) >= 10
    rng = random.Random(1)
    for _ in range(200):
        module.target(driver.mutate(rng, seeds, module.TOKENS))
