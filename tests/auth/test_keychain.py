"""Sealed tokens: nobody but us makes one, and each is good for one purpose and one holder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.auth.keychain import LONGEST, Keychain, fresh_key

KEY, OTHER = b"k" * 32, b"o" * 32


@given(st.binary(max_size=300), st.text(max_size=30))
def test_what_is_sealed_opens_again(payload: bytes, holder: str) -> None:
    chain = Keychain([KEY])

    assert chain.open("session", chain.seal("session", payload, holder), holder) == payload


def test_a_token_says_nothing_and_never_looks_the_same() -> None:
    chain = Keychain([KEY])
    tokens = {chain.seal("session", b"upstream-id", "alice") for _ in range(50)}

    assert len(tokens) == 50
    assert not any("upstream" in token or "alice" in token for token in tokens)


@pytest.mark.parametrize(("purpose", "holder"), [("state", "alice"), ("session", "bob"), ("session", "")])
def test_another_purpose_or_holder_opens_nothing(purpose: str, holder: str) -> None:
    chain = Keychain([KEY])

    assert chain.open(purpose, chain.seal("session", b"x", "alice"), holder) is None


def test_no_changed_character_passes() -> None:
    chain = Keychain([KEY])
    token = chain.seal("session", b"payload", "alice")

    for place, was in enumerate(token):
        for now in "A-_z\u00e9= ":
            if now != was:
                assert chain.open("session", token[:place] + now + token[place + 1 :], "alice") is None


@pytest.mark.parametrize(
    "token", ["", "A", "AAAA", "=", "\u00e9", "A" * LONGEST, "A" * (LONGEST + 4), "%%%%", "\ud800"]
)
def test_what_is_no_token_opens_nothing(token: str) -> None:
    assert Keychain([KEY]).open("session", token, "alice") is None


def test_truncated_and_extended_tokens_open_nothing() -> None:
    chain = Keychain([KEY])
    token = chain.seal("session", b"payload", "alice")

    assert not any(chain.open("session", token[:length], "alice") for length in range(len(token)))
    assert chain.open("session", token + "A", "alice") is None
    assert chain.open("session", token + "=", "alice") is None


def test_keys_are_rotated() -> None:
    chain = Keychain([KEY])
    old = chain.seal("session", b"x", "alice")

    chain.use([OTHER, KEY])
    new = chain.seal("session", b"y", "alice")
    assert chain.open("session", old, "alice") == b"x"

    chain.use([OTHER])
    assert chain.open("session", old, "alice") is None
    assert chain.open("session", new, "alice") == b"y"


def test_there_is_no_keychain_without_a_key_and_none_that_shows_it() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        Keychain([])
    assert KEY.decode() not in repr(Keychain([KEY]))
    assert len({fresh_key() for _ in range(20)}) == 20
