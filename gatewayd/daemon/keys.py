"""What the gateway seals with where the configuration has no keys: one of its own, in a file that outlives it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

import structlog

from gatewayd.auth.keychain import fresh_key
from gatewayd.routes.table import SessionLife
from gatewayd.sessions.ledger_file import fault_of

log = structlog.get_logger("gatewayd.daemon")

SHORTEST = 32
"""Bytes of a key file without the white space around them."""
LONGEST = 4096
"""Bytes of a key file; a longer one is something else."""


class KeyFileUnusable(Exception):
    """The key file cannot be trusted, read or made; the message is the reason, for people."""


class SealingKeys:
    """The keys of one daemon, as long as it runs.

    A key that it once made or read for itself stays the same until its end, whatever becomes of the file: a reload
    must not end sessions. Every method blocks on the disk.
    """

    def __init__(self, environ: Mapping[str, str], config_path: Path) -> None:
        self._environ = environ
        self._config_path = config_path
        self._kept: bytes | None = None
        self._spare = _made()
        """For a run that can keep none."""

    def __repr__(self) -> str:
        return "<SealingKeys>"

    def of(self, life: SessionLife) -> tuple[bytes, ...]:
        """The keys for a table, the one that seals first.

        Those of the configuration; where it has none, the kept one, made if there is none yet; where that cannot be,
        one that ends with this run, and a warning. Never raises.
        """
        if life.keys:
            return tuple(key.reveal().encode() for key in life.keys)
        if self._kept is None:
            path = key_file(self._environ, self._config_path)
            try:
                self._kept = kept_key(path)
            except KeyFileUnusable as error:
                shown = str(path) if path is not None else None
                log.warning("sessions will not survive a restart", path=shown, reason=str(error))
                return (self._spare,)
        return (self._kept, self._spare)


def key_file(environ: Mapping[str, str], config_path: Path) -> Path | None:
    """Where the key is kept; None where nobody says where state belongs.

    systemd.exec(5): `$STATE_DIRECTORY` is the service's own. Elsewhere (XDG Base Directory Specification) all programs
    of the user share a folder, so that the name tells our configurations apart; symbolic links are not followed,
    because they are how configurations are exchanged.
    """
    own = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if os.path.isabs(own):
        return Path(own, "session.key")
    shared, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    if not os.path.isabs(shared):
        if not os.path.isabs(home):
            return None
        shared = os.path.join(home, ".local", "state")
    name = hashlib.sha256(os.fsencode(os.path.abspath(config_path))).hexdigest()[:16]
    return Path(shared, "gatewayd", f"{name}.key")


def ledger_file(environ: Mapping[str, str], config_path: Path) -> Path | None:
    """Where it is kept what became of sessions: beside the key, also when the configuration has keys of its own."""
    path = key_file(environ, config_path)
    return None if path is None else path.with_suffix(".ledger")


def kept_key(path: Path | None) -> bytes:
    """The key in a file, which is made if there is none. Who comes at the same time gets the same one.

    Raises `KeyFileUnusable`.
    """
    if path is None:
        raise KeyFileUnusable("none of $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME is set")
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path)
        return _read(path)
    except OSError as error:
        raise KeyFileUnusable((error.strerror or "cannot be used").lower()) from None


def _made() -> bytes:
    """A new key, as the text that a file has of it: the same file serves as a key in the configuration."""
    return urlsafe_b64encode(fresh_key())


def _make(path: Path) -> None:
    """Put a new key there in one step, unless another daemon was faster."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_made() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        return
    finally:
        os.unlink(name)
    log.info("session key made", path=str(path))


def _read(path: Path) -> bytes:
    """The key. Like ssh with its keys, nothing that somebody else may know. Raises `OSError`, `KeyFileUnusable`."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would keep us waiting
    try:
        found = os.fstat(opened)
        if (fault := fault_of(found)) is not None:
            raise KeyFileUnusable(fault)
        text = os.read(opened, LONGEST + 1)
    finally:
        os.close(opened)
    key = text.strip()
    if not SHORTEST <= len(key) <= len(text) <= LONGEST:
        raise KeyFileUnusable("the content is no key: delete the file")
    return key
