"""Every code is explained, and the explanation's examples are true."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from gatewayd.dsl import Code, Diagnostic, compile_file
from gatewayd.dsl.diagnostics import quote

PAGE = (Path(__file__).parents[2] / "docs/reference/diagnostics.md").read_text(encoding="utf-8")
FILES = Path(__file__).parent / "cases/files"
SECTIONS = dict(re.findall(r"^### (GW\d+): (.*?)(?=^##)", PAGE + "\n##", re.MULTILINE | re.DOTALL))
NOT_TOML = {Code.OPEN_KEY_FILE}

SERVICE = '\n[services.web]\nurl = "https://web.example.com/mcp"\n'
ROUTE = '\n[routes."/mcp"]\nservices = ["web"]\nauth = "anonymous"\n'
KEYED = '\n[routes."/mcp"]\nservices = ["web"]\nauth = ["keys"]\n'
STRATEGY = '\n[auth.keys]\ntype = "api_key"\nfile = "keys.toml"\n'


def diagnose(example: str, folder: Path) -> tuple[Diagnostic, ...]:
    """Compile an example, after adding the tables that it leaves out because they do not matter."""
    shutil.copytree(FILES, folder, dirs_exist_ok=True)
    (folder / "bin/tool").chmod(0o755)
    keys = folder / "keys.toml"
    text = example
    if example.startswith("# keys.toml"):
        keys.write_text(example, encoding="utf-8")
        text = SERVICE + KEYED + STRATEGY
    if example.startswith("# tools.lock"):
        (folder / "tools.lock").write_text(example, encoding="utf-8")
        text = SERVICE + ROUTE + 'lock = "enforce"\n'
    keys.chmod(0o600)
    if "[services." not in text or "[services.finder]" in text or "[services.search]" in text:
        text += SERVICE
    if '[routes."/mcp"]' not in text and "[routes]" not in text and '"/web"' not in text:
        named = re.search(r'^\[services\.("?)([\w -]+)\1\]', text, re.MULTILINE)
        assert named is not None
        text += KEYED if "[auth.keys]" in text else ROUTE
        if named[2] not in ("finder", "search"):
            text = text.replace('services = ["web"]', f'services = ["{named[2]}"]')
    config = folder / "gateway.toml"
    config.write_text(text, encoding="utf-8")
    return compile_file(config, environ={"PATH": str(folder / "bin"), "SEARCH_TOKEN": "x"}).diagnostics


def test_every_code_is_explained_once() -> None:
    assert re.findall(r"^### (GW\d+)", PAGE, re.MULTILINE) == [code.value for code in Code]


@pytest.mark.parametrize("code", [code for code in Code if code not in NOT_TOML], ids=lambda code: code.value)
def test_the_examples_are_true(code: Code, tmp_path: Path) -> None:
    bad, good = re.findall(r"```toml\n(.*?)```", SECTIONS[code.value], re.DOTALL)
    found = diagnose(bad, tmp_path / "bad")
    assert code in {d.code for d in found}
    assert "hunter2" not in str(found)
    assert diagnose(good, tmp_path / "good") == ()


def test_warnings_have_codes_of_their_own() -> None:
    assert {code.severity for code in Code if code.value < "GW900"} == {"error"}
    assert {code.severity for code in Code if code.value > "GW900"} == {"warning"}


def test_quoted_values_are_short_tame_and_without_passwords() -> None:
    assert quote("a\x1b[31m\nb") == "`a\\x1b[31m\\x0ab`"
    assert quote("x" * 100) == "`" + "x" * 59 + "…`"
    assert quote("https://user:secret@host/") == "`https://***@host/`"
