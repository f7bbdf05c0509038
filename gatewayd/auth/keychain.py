"""What the gateway seals for itself and hands out: session ids, the state of parked calls.

Whoever holds such a token can neither read nor change it, nor use it for another purpose, principal or route than it
was made for. All faults look the same: a token opens, or it does not.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE = 12
"""Bytes; random, which AES-GCM bears for four thousand million tokens of one key."""
LONGEST = 8192
"""Characters of a token that anybody looks at: far more than the gateway makes."""
FRESH_KEY = 32
"""Bytes of a key of our own."""


class Keychain:
    """The keys of this gateway: the first one seals, all of them open, so that keys can be rotated.

    Each purpose has a key of its own, derived with HKDF (RFC 5869); AES-256-GCM seals.
    """

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._masters: tuple[bytes, ...] = ()
        self._ciphers: dict[str, tuple[AESGCM, ...]] = {}
        self.use(keys)

    def __repr__(self) -> str:
        return f"<Keychain of {len(self._masters)} keys>"

    def use(self, keys: Iterable[bytes]) -> None:
        """Have these keys from now on. Tokens of keys that are gone open no more. Raises `ValueError` for no key."""
        self._masters = tuple(keys)
        self._ciphers = {}
        if not self._masters:
            raise ValueError("a keychain needs a key")

    def seal(self, purpose: str, payload: bytes, bound_to: str) -> str:
        """A token of URL-safe characters that only `open` with the same purpose and `bound_to` can read."""
        nonce = secrets.token_bytes(NONCE)
        sealed = self._of(purpose)[0].encrypt(nonce, payload, bound_to.encode())
        return urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, purpose: str, token: str, bound_to: str) -> bytes | None:
        """What was sealed; None for anything that was not sealed by one of our keys for just this."""
        raw = _decoded(token)
        if raw is None:
            return None
        for cipher in self._of(purpose):
            try:
                return cipher.decrypt(raw[:NONCE], raw[NONCE:], bound_to.encode())
            except InvalidTag:
                continue
        return None

    def _of(self, purpose: str) -> tuple[AESGCM, ...]:
        ciphers = self._ciphers.get(purpose)
        if ciphers is None:
            ciphers = tuple(AESGCM(_derived(key, purpose)) for key in self._masters)
            self._ciphers[purpose] = ciphers
        return ciphers


def fresh_key() -> bytes:
    """A key for a gateway that was given none."""
    return secrets.token_bytes(FRESH_KEY)


def _derived(master: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=f"gatewayd {purpose}".encode()).derive(master)


def _decoded(token: str) -> bytes | None:
    """The bytes of a token in its one canonical spelling: two spellings would be two sessions."""
    if not token.isascii() or "=" in token or len(token) > LONGEST:
        return None
    padded = token.encode() + b"=" * (-len(token) % 4)
    try:
        raw = urlsafe_b64decode(padded)
    except Base64Error:
        return None
    if len(raw) <= NONCE or urlsafe_b64encode(raw) != padded:
        return None
    return raw
