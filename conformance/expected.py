"""Failures that nobody can avoid, each with its reason; everything else that fails is an error, and so is a reason
that has gone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path

import attrs
import cattrs

from conformance.suite import Scenario

FILE = Path(__file__).with_name("expected-failures.toml")


@attrs.frozen
class Expected:
    """An entry of the file: a check of a scenario that fails in a run, whatever the transport."""

    run: str
    scenario: str
    check: str
    reason: str


@attrs.frozen
class Failure:
    """A check that failed."""

    scenario: str
    check: str
    message: str
    reason: str = ""
    """Why that was to be expected; empty if it was not."""


@attrs.frozen
class Verdict:
    """What a run comes to."""

    scenarios: int
    passed: int
    checks: int
    checks_failed: int
    failures: tuple[Failure, ...]
    warnings: tuple[Failure, ...]
    stale: tuple[Expected, ...]
    """Entries whose check passes."""

    @property
    def good(self) -> bool:
        """Something ran, and nothing failed but what must, and all of that."""
        return self.scenarios > 0 and not self.stale and all(failure.reason for failure in self.failures)


def load(file: Path = FILE) -> tuple[Expected, ...]:
    """All entries. Raises `cattrs.BaseValidationError` for one that has too little, or too much."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    return tuple(converter.structure(tomllib.loads(file.read_text()).get("failure", []), list[Expected]))


def judge(run: str, scenarios: Iterable[Scenario], entries: Iterable[Expected]) -> Verdict:
    """Compare what a run found with what the file says about it.

    Checks have the same name when a scenario makes several of a kind, and one entry covers them all. An entry whose
    check did not come up is left in peace: a scenario ends where it cannot go on.
    """
    ran = list(scenarios)
    mine = [entry for entry in entries if entry.run == run]
    reasons = {(entry.scenario, entry.check): entry.reason for entry in mine}
    failures = [
        Failure(scenario.name, check.identity, check.message, reasons.get((scenario.name, check.identity), ""))
        for scenario in ran
        for check in scenario.having("FAILURE")
    ]
    warnings = [
        Failure(scenario.name, check.identity, check.message)
        for scenario in ran
        for check in scenario.having("WARNING")
    ]
    failed = {(failure.scenario, failure.check) for failure in failures}
    succeeded = {(scenario.name, check.identity) for scenario in ran for check in scenario.having("SUCCESS")}
    return Verdict(
        scenarios=len(ran),
        passed=sum(scenario.passed for scenario in ran),
        checks=sum(len(scenario.having("SUCCESS")) for scenario in ran) + len(failures),
        checks_failed=len(failures),
        failures=tuple(failures),
        warnings=tuple(warnings),
        stale=tuple(
            entry
            for entry in mine
            if (entry.scenario, entry.check) in succeeded and (entry.scenario, entry.check) not in failed
        ),
    )
