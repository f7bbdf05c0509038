from __future__ import annotations

from gatewayd.protocol import codes, limits, versions
from gatewayd.protocol.versions import LEGACY, MODERN, NAMED, NOTIFICATIONS, REPEATABLE, REQUESTS, SUPPORTED


def test_modern_revisions_are_listed_first_and_newest_first() -> None:
    assert SUPPORTED == MODERN + LEGACY
    assert list(MODERN) == sorted(MODERN, reverse=True)
    assert list(LEGACY) == sorted(LEGACY, reverse=True)


def test_what_was_removed_is_not_modern() -> None:
    removed = {
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/result",
    }
    assert removed <= REQUESTS["legacy"]
    assert not removed & REQUESTS["modern"]
    assert not {"server/discover", "subscriptions/listen", "tasks/update"} & REQUESTS["legacy"]


def test_only_requests_that_exist_have_names_or_may_be_repeated() -> None:
    every = REQUESTS["legacy"] | REQUESTS["modern"]
    assert NAMED.keys() <= REQUESTS["modern"]
    assert every >= REPEATABLE
    assert not {"tools/call", "initialize", "tasks/update", "tasks/cancel", "subscriptions/listen"} & REPEATABLE
    assert not (NOTIFICATIONS["legacy"] | NOTIFICATIONS["modern"]) & every


def test_methods_fit_their_limit() -> None:
    names = REQUESTS["legacy"] | REQUESTS["modern"] | NOTIFICATIONS["legacy"]
    assert max(map(len, names)) < limits.METHOD_CHARS


def test_own_codes_are_outside_of_the_reserved_range() -> None:
    values = [value for name, value in vars(codes).items() if name.isupper()]
    assert len(values) == len(set(values)) == 19
    own = [value for value in values if not -32768 <= value <= -32000]
    assert sorted(own) == list(range(-31009, -31000))


def test_meta_keys_are_reserved_ones() -> None:
    keys = [value for name, value in vars(versions).items() if name.startswith("META_")]
    assert len(keys) == 7
    assert all(key.startswith("io.modelcontextprotocol/") for key in keys)
