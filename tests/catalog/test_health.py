"""Whether a service is waited for."""

from __future__ import annotations

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
