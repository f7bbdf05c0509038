"""API keys: made, kept as hashes in a key file, and recognised when a client presents one.

A key carries at least 128 bits from the system's generator (or from its owner, who is trusted to have done
the same), so a single SHA-256 is the right hash: there is no dictionary to try.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import attrs
import tomli_w

from gatewayd.routes.table import ApiKey

PREFIX = "gwk_"
"""Lets secret scanners, and people, recognise a key of ours."""
MIN_LENGTH = 20
MAX_LENGTH = 512
"""Characters of a key; more would not fit comfortably into a header."""

_KEY = re.compile(rf"[!-~]{{{MIN_LENGTH},{MAX_LENGTH}}}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_NOBODY = b"\0" * 32


class KeyFileError(Exception):
    """A key file cannot be used as asked; the message says why, without any key."""


@attrs.frozen
class KeyEntry:
    """One line of `list_keys`."""

    id: str
    created: datetime | None
    note: str | None


class Keyring:
    """The keys of one strategy, ready to be asked. Immutable."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_digest = {key.digest: key for key in keys}
        self._nobody = ApiKey("", _NOBODY)
        self._principals = frozenset(key.id for key in self._by_digest.values())

    def __len__(self) -> int:
        return len(self._by_digest)

    def __contains__(self, principal: str) -> bool:
        """Whether the principal has a key."""
        return principal in self._principals

    def __repr__(self) -> str:
        return f"<Keyring of {len(self)} keys>"

    def authenticate(self, key: str) -> str | None:
        """The principal whose key this is, or None. The work does not depend on whether there is one.

        What a lookup by hash gives away in time are bits of the hash of a guess: no key follows from them.
        """
        presented = digest(key)
        found = self._by_digest.get(presented, self._nobody)
        same = hmac.compare_digest(found.digest, presented)
        return found.id if same and found is not self._nobody else None


def new_key() -> str:
    """A key of 256 random bits: `gwk_` and 43 URL-safe characters."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """What is kept of a key: its SHA-256. Any string has one, also one that could not be a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def add_key(path: Path, principal: str, key: str, *, now: datetime) -> None:
    """Put the hash of `key` for the `principal` into the file, which is made if it does not exist.

    Raises `KeyFileError` for a weak key, a malformed or taken id, a key that is in the file, or a file
    that is not a key file; the file is untouched then. Two writers at once: the later one wins.
    """
    if not _ID.fullmatch(principal):
        raise KeyFileError("an id has letters, digits, '.', '_', '@' and '-', and begins with a letter or digit")
    if not _KEY.fullmatch(key):
        raise KeyFileError(f"a key has {MIN_LENGTH} to {MAX_LENGTH} printable ASCII characters and no spaces")
    document = _read(path) if path.exists() else {}
    keys = _keys(document)
    if principal in keys:
        raise KeyFileError(f"{path} has a key for {principal} already: remove it first")
    written = f"sha256:{digest(key).hex()}"
    for other, entry in keys.items():
        if isinstance(entry, dict) and cast("dict[str, Any]", entry).get("hash") == written:
            raise KeyFileError(f"this is the key of {other}")
    keys[principal] = {"hash": written, "created": now.replace(microsecond=0)}
    _write(path, document)


def remove_key(path: Path, principal: str) -> None:
    """Take the key of `principal` out of the file. Raises `KeyFileError` if there is none."""
    document = _read(path)
    if _keys(document).pop(principal, None) is None:
        raise KeyFileError(f"{path} has no key for {principal}")
    _write(path, document)


def list_keys(path: Path) -> tuple[KeyEntry, ...]:
    """The keys of the file in its order, without their hashes. Raises `KeyFileError`."""
    entries: list[KeyEntry] = []
    for name, entry in _keys(_read(path)).items():
        fields = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
        created, note = fields.get("created"), fields.get("note")
        entries.append(
            KeyEntry(
                name,
                created if isinstance(created, datetime) else None,
                note if isinstance(note, str) else None,
            )
        )
    return tuple(entries)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise KeyFileError(f"{path} is not a key file: `gatewayd check` says where it is broken") from None


def _keys(document: dict[str, Any]) -> dict[str, Any]:
    keys: object = document.setdefault("keys", {})
    if not isinstance(keys, dict):
        raise KeyFileError("`keys` is not a table: this is not a key file")
    return cast("dict[str, Any]", keys)


def _write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file in one step: a reader sees the old content or the new one, also after a power cut."""
    text = tomli_w.dumps(document)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    except OSError as error:
        raise KeyFileError(f"cannot write in {path.parent}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
