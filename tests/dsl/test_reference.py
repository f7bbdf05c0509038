"""The reference page and the schema say what the compiler does."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import attrs
import jsonschema  # type: ignore[import-untyped]
import pytest

from gatewayd.dsl import compile_file
from gatewayd.dsl.model import TABLES
from gatewayd.dsl.reference import reference, schema

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"


def test_the_committed_page_is_the_generated_one() -> None:
    """Write it with: python -c 'from gatewayd.dsl.reference import reference; print(reference(), end="")'"""
    assert (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8") == reference()


def test_every_key_is_on_the_page() -> None:
    page = reference()
    for table in TABLES:
        for field in attrs.fields(table):
            assert f"| `{field.name}` |" in page


@pytest.mark.parametrize("file", [ROOT / "gateway.toml.example", CASES / "good_everything.toml"])
def test_the_schema_takes_good_files(file: Path) -> None:
    validator: Any = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    assert list(validator.iter_errors(tomllib.loads(file.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("name", ["unknown_keys", "wrong_types", "durations", "sizes", "later_keys", "no_auth"])
def test_the_schema_refuses_what_has_the_wrong_shape(name: str) -> None:
    validator: Any = jsonschema.Draft202012Validator(schema())
    raw = tomllib.loads((CASES / f"{name}.toml").read_text(encoding="utf-8"))
    assert list(validator.iter_errors(raw))


def test_the_schema_is_json() -> None:
    assert json.loads(json.dumps(schema())) == schema()


def test_the_example_compiles_without_a_word() -> None:
    outcome = compile_file(ROOT / "gateway.toml.example", environ={"PATH": ""})
    assert outcome.diagnostics == ()
    assert outcome.table is not None
    assert set(outcome.table.routes) == {"/mcp", "/http/mcp", "/all/mcp"}
