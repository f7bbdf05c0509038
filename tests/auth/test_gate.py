"""Who is let in by the strategies of a route."""

from __future__ import annotations

import pytest

from gatewayd.auth.gate import Gate
from gatewayd.auth.keyring import Keyring, digest
from gatewayd.auth.principal import ANONYMOUS, Principal
from gatewayd.routes.table import ApiKey

ALICE, BOB, TWICE = b"gwk_alice-alice-alice-alice", b"gwk_bob-bob-bob-bob-bob-bob", b"gwk_twice-twice-twice-twice"


def ring(**keys: bytes) -> Keyring:
    return Keyring([ApiKey(name, digest(key.decode())) for name, key in keys.items()])


OPEN = Gate([])
GATE = Gate([("staff", ring(alice=ALICE, twin=TWICE)), ("guests", ring(bob=BOB, alice=TWICE))])


@pytest.mark.parametrize(
    ("authorization", "api_key", "principal"),
    [
        (b"Bearer " + ALICE, None, Principal("alice", "staff")),
        (b"bearer " + ALICE, None, Principal("alice", "staff")),
        (b"BEARER   " + ALICE, None, Principal("alice", "staff")),
        (None, ALICE, Principal("alice", "staff")),
        (None, BOB, Principal("bob", "guests")),
        (None, TWICE, Principal("twin", "staff")),
        (None, None, None),
        (None, b"", None),
        (b"", None, None),
        (b"Bearer", None, None),
        (b"Bearer ", None, None),
        (b"Bearer  ", None, None),
        (b"Basic " + ALICE, None, None),
        (b"Bearer" + ALICE, None, None),
        (ALICE, None, None),
        (None, ALICE + b"x", None),
        (None, ALICE.upper(), None),
        (None, b"Bearer " + ALICE, None),
        (b"Bearer " + ALICE + b" " + BOB, None, None),
        (None, b"\xff\xfe" * 20, None),
    ],
)
def test_a_key_stands_for_its_principal(
    authorization: bytes | None, api_key: bytes | None, principal: Principal | None
) -> None:
    assert GATE.admit(authorization, api_key) == principal


@pytest.mark.parametrize("authorization", [b"Bearer " + ALICE, b"Bearer " + BOB, b"Basic x", b""])
def test_two_credentials_are_refused_whatever_they_are(authorization: bytes) -> None:
    assert GATE.admit(authorization, ALICE) is None


@pytest.mark.parametrize(("authorization", "api_key"), [(None, None), (b"Bearer x", None), (b"Bearer x", b"y")])
def test_an_open_route_asks_nobody(authorization: bytes | None, api_key: bytes | None) -> None:
    assert OPEN.admit(authorization, api_key) == ANONYMOUS


def test_a_strategy_without_keys_lets_nobody_in() -> None:
    assert Gate([("staff", ring())]).admit(None, ALICE) is None
    assert Gate([("staff", ring())]).admit(None, None) is None


def test_a_principal_is_known_while_its_strategy_has_its_key() -> None:
    assert GATE.knows(Principal("alice", "staff"))
    assert GATE.knows(Principal("alice", "guests"))
    assert not GATE.knows(Principal("bob", "staff"))
    assert not GATE.knows(Principal("alice", "elsewhere"))
    assert not GATE.knows(ANONYMOUS)


def test_an_open_route_knows_the_anonymous_only() -> None:
    """Who came in with a key does not go on where none is asked for any more: it would be somebody else."""
    assert OPEN.knows(ANONYMOUS)
    assert not OPEN.knows(Principal("alice", "staff"))


def test_nobody_can_take_the_name_of_the_anonymous() -> None:
    assert Principal("anonymous", "staff") != ANONYMOUS
    assert Principal("anonymous", "staff").key != ANONYMOUS.key
    assert not Principal("anonymous", "staff").anonymous
    assert ANONYMOUS.anonymous


def test_keys_of_different_principals_differ() -> None:
    assert Principal("b", "a").key != Principal("a", "b").key
    assert Principal("x", "staff").key != Principal("x", "guests").key


def test_nothing_of_a_key_is_shown() -> None:
    assert ALICE.decode() not in repr(GATE)
    assert digest(ALICE.decode()).hex() not in repr(GATE)
