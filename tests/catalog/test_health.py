"""Whether a service is waited for."""

from __future__ import annotations

from structlog.testing import capture_logs

from gatewayd.catalog.health import Health


def test_a_service_that_fails_is_not_waited_for() -> None:
    health = Health("a")
    assert (health.hopeful("tools"), health.state) == (True, "not asked yet")
    health.failed("gone", "detail")
    assert (health.hopeful("tools"), health.state, health.trouble) == (False, "failing", "gone")
    health.failed("still gone", "")
    assert health.trouble == "still gone"
    health.answered(None)
    assert (health.hopeful("tools"), health.state) == (True, "ready")


def test_a_list_that_came_late_is_not_waited_for_and_others_are() -> None:
    health = Health("a")
    health.is_late("tools")
    assert (health.hopeful("tools"), health.hopeful("prompts"), health.state) == (False, True, "late")
    health.answered("prompts")
    assert not health.hopeful("tools")
    health.answered("tools")
    assert (health.hopeful("tools"), health.state) == (True, "ready")


def test_of_a_service_that_does_not_say_what_it_is_nothing_is_waited_for() -> None:
    health = Health("a")
    health.is_late(None)
    assert not health.hopeful("tools")
    assert not health.hopeful(None)
    health.answered("tools")
    assert health.hopeful(None)


def test_administrators_are_told_more_of_a_failure_than_clients() -> None:
    health = Health("a")
    health.failed("no connection", "10.0.0.7: refused")
    assert health.trouble == "no connection"
    assert health.cause == "no connection (10.0.0.7: refused)"
    health.failed("no connection", "")
    assert health.cause == "no connection"
    health.answered(None)
    assert not health.cause


def test_it_is_logged_once_that_a_service_fails_or_is_late() -> None:
    health = Health("a")
    with capture_logs() as logged:
        health.is_late("tools")
        health.is_late("tools")
        health.failed("gone", "detail")
        health.failed("gone", "detail")
        health.is_late("prompts")
        health.answered("tools")
        health.answered("tools")
    assert [(line["event"], line.get("kind"), line.get("detail")) for line in logged] == [
        ("service left out", "tools", None),
        ("service left out", None, "detail"),
        ("service is back", "tools", None),
    ]
