""" "Did you mean": helpful when it can be, silent when it cannot."""

from __future__ import annotations

import pytest

from gatewayd.dsl.suggest import closest, did_you_mean, one_of


@pytest.mark.parametrize(
    ("word", "meant"),
    [("lisen", "listen"), ("LISTEN", "listen"), ("keep-alive", "keepalive"), ("zzz", None), ("", None)],
)
def test_the_closest_choice(word: str, meant: str | None) -> None:
    assert closest(word, ["listen", "admin", "keepalive"]) == meant
    assert did_you_mean(word, ["listen", "admin", "keepalive"]) == (f"did you mean `{meant}`?" if meant else None)


def test_nothing_to_choose_from() -> None:
    assert did_you_mean("a", []) is None


def test_lists_of_choices() -> None:
    assert one_of(["a"]) == "`a`"
    assert one_of(["a", "b", "c"]) == "`a`, `b` or `c`"
