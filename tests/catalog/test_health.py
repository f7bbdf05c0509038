"""Whether a service is waited for."""

from __future__ import annotations

from gatewayd.catalog.health import Health


def test_a_service_is_waited_for_until_it_was_late_or_failed() -> None:
    health = Health("a")
    assert (health.good, health.state) == (True, "not asked yet")
    health.answered()
    assert (health.good, health.state) == (True, "ready")
    health.is_late()
    assert (health.good, health.state) == (False, "late")
    health.failed("gone", "detail")
    assert (health.good, health.state, health.trouble) == (False, "failing", "gone")
    health.is_late()
    health.failed("still gone", "")
    assert health.trouble == "still gone"
    health.answered()
    assert (health.good, health.state, health.trouble) == (True, "ready", None)
