"""A secret shows itself to nobody who does not ask for it by name."""

from __future__ import annotations

from gatewayd.routes.secret import Secret


def test_only_reveal_reveals() -> None:
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    for shown in (repr(secret), str(secret), f"{secret}", f"{[secret]}"):
        assert "hunter2" not in shown


def test_secrets_compare_by_value_and_with_secrets_only() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("é")}) == 2
