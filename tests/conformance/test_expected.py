"""What turns a run of the suite red: anything that fails without a reason, and a reason that has gone."""

from __future__ import annotations

from pathlib import Path

import cattrs
import pytest

from conformance.cells import CELLS
from conformance.expected import Expected, judge, load
from conformance.suite import Check, Scenario

ENTRY = Expected("modern-legacy", "scenario", "check", "the protocol has no such thing")


def scenario(*statuses: str, name: str = "scenario") -> Scenario:
    """A scenario with checks of one name."""
    return Scenario(name, tuple(Check("check", status, "why") for status in statuses))


def test_a_failure_with_a_reason_is_good() -> None:
    verdict = judge("modern-legacy", [scenario("FAILURE"), scenario("SUCCESS", name="other")], [ENTRY])
    assert verdict.good
    assert (verdict.scenarios, verdict.passed, verdict.checks, verdict.checks_failed) == (2, 1, 2, 1)
    assert [failure.reason for failure in verdict.failures] == [ENTRY.reason]


@pytest.mark.parametrize("run", ["legacy-legacy", "modern-legacy-client", "modern-legacy-direct"])
def test_a_reason_counts_for_its_run_alone(run: str) -> None:
    assert not judge(run, [scenario("FAILURE")], [ENTRY]).good


def test_a_failure_of_another_check_has_no_reason() -> None:
    found = Scenario("scenario", (Check("check", "FAILURE", ""), Check("another", "FAILURE", "")))
    assert not judge("modern-legacy", [found], [ENTRY]).good


def test_an_entry_that_passes_is_out_of_date() -> None:
    verdict = judge("modern-legacy", [scenario("SUCCESS")], [ENTRY])
    assert verdict.stale == (ENTRY,)
    assert not verdict.good


def test_one_of_several_checks_of_a_name_may_pass() -> None:
    assert judge("modern-legacy", [scenario("SUCCESS", "FAILURE")], [ENTRY]).good


@pytest.mark.parametrize("statuses", [(), ("SKIPPED",), ("INFO",)])
def test_an_entry_whose_check_did_not_come_up_is_left_in_peace(statuses: tuple[str, ...]) -> None:
    assert judge("modern-legacy", [scenario(*statuses)], [ENTRY]).good


def test_warnings_are_told_and_forgiven() -> None:
    verdict = judge("modern-legacy", [scenario("WARNING")], [])
    assert verdict.good
    assert [warning.message for warning in verdict.warnings] == ["why"]


def test_a_run_of_nothing_is_not_good() -> None:
    assert not judge("modern-legacy", [], []).good


def test_every_entry_names_a_run_and_a_reason() -> None:
    names = {cell.name + suffix for cell in CELLS for suffix in ("", "-direct", "-client")}
    entries = load()
    assert [entry for entry in entries if entry.run not in names or not entry.reason.strip()] == []
    assert len({(entry.run, entry.scenario, entry.check) for entry in entries}) == len(entries)


def test_an_entry_without_a_reason_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "failures.toml"
    file.write_text('[[failure]]\nrun = "modern-legacy"\nscenario = "s"\ncheck = "c"\n')
    with pytest.raises(cattrs.BaseValidationError):
        load(file)
