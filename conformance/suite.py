"""The suite: what it is told, and what it found."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import attrs
import trio

from tests.support.processes import ROOT

MODULES = ROOT / "conformance/node_modules"
NODE = MODULES / ".bin/node"
SUITE = MODULES / "@modelcontextprotocol/conformance/dist/index.js"

TIMEOUT = "30000"
"""Milliseconds for one scenario; it takes a second or two."""

RUN_TIME = 600.0
"""Seconds for all scenarios of a revision; they take less than one minute."""

FOLDER = re.compile(r"(?:server-)?(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")
SKIPPED = "SKIPPED: scenario"
"""How the suite begins to say that a scenario does not belong to the revision."""

UNFINISHED = "did-not-finish"
"""The check of a scenario that left no results."""


@attrs.frozen
class Check:
    """A verdict of a scenario. `status` is SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""

    identity: str
    status: str
    message: str


@attrs.frozen
class Scenario:
    """A scenario that ran."""

    name: str
    checks: tuple[Check, ...]

    def having(self, status: str) -> list[Check]:
        """The checks with that verdict."""
        return [check for check in self.checks if check.status == status]

    @property
    def passed(self) -> bool:
        """As the suite sees it: nothing failed. A warning is a SHOULD that was not followed."""
        return not self.having("FAILURE")


class NotInstalled(Exception):
    """There is no suite to run: `make conformance` installs it."""


async def serve(url: str, revision: str, names: list[str], folder: Path) -> list[Scenario]:
    """Let the suite be a client of `url`, with these scenarios or, if there are none, all of the revision.

    Its results are kept in `folder`, which exists, and so is what it printed.
    """
    common = ["server", "--url", url, "--spec-version", revision, "--timeout", TIMEOUT, "-o", str(folder)]
    if not names:
        log = await _run([*common, "--suite", "all"], folder)
        return [_read(folder, name) for name in re.findall(r"=== Running scenario: (\S+) ===", log)]
    found: list[Scenario] = []
    for name in names:
        log = await _run([*common, "--scenario", name], folder)
        found += [] if SKIPPED in log else [_read(folder, name)]
    return found


async def challenge(command: str, revision: str, name: str, folder: Path) -> Scenario:
    """Let the suite be the server of a client: `command` is run with its URL as the last argument."""
    options = ["--command", command, "--scenario", name, "--spec-version", revision]
    log = await _run(["client", *options, "--timeout", TIMEOUT, "-o", str(folder)], folder)
    scenario = _read(folder, name)
    if "CLIENT TIMED OUT" in log or "CLIENT EXITED WITH ERROR" in log:
        said = _newest(folder, name, "stderr.txt").read_text().strip() or "it did not end in time"
        command_check = Check("client-command", "FAILURE", said.splitlines()[-1])
        return attrs.evolve(scenario, checks=(*scenario.checks, command_check))
    return scenario


async def _run(arguments: list[str], folder: Path) -> str:
    if not SUITE.exists():
        raise NotInstalled(f"the suite is not installed in {MODULES.relative_to(ROOT)}; run `make conformance`")
    with trio.fail_after(RUN_TIME):
        finished = await trio.run_process(
            [str(NODE), str(SUITE), *arguments],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1"},
        )
    with (folder / "suite.log").open("ab") as log:
        log.write(finished.stdout)
    return finished.stdout.decode(errors="replace")


def _newest(folder: Path, name: str, file: str) -> Path:
    """A file of the newest results of a scenario; it need not exist."""
    found = [
        path
        for path in sorted(folder.iterdir())
        if (match := FOLDER.fullmatch(path.name)) and match["scenario"] == name.replace("/", "-")
    ]
    return (found[-1] if found else folder) / file


def _read(folder: Path, name: str) -> Scenario:
    file = _newest(folder, name, "checks.json")
    if not file.exists():
        return Scenario(name, (Check(UNFINISHED, "FAILURE", "the scenario left no results"),))
    checks = [
        Check(check["id"], check["status"], check.get("errorMessage") or check.get("description", ""))
        for check in json.loads(file.read_text())
    ]
    return Scenario(name, tuple(checks))
