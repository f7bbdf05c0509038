"""Secret references -> secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from gatewayd.dsl import source as disk
from gatewayd.dsl.diagnostics import Code, Fault, quote
from gatewayd.dsl.source import Source
from gatewayd.dsl.terms import SecretRef
from gatewayd.routes.secret import Secret

SHORTEST_KEY = 32
"""Bytes of a key to seal with: 256 bits, when they are random."""
_BEARER = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1: b68token


def resolve(ref: SecretRef, source: Source, environ: Mapping[str, str]) -> Secret:
    """The secret that a reference in `source` stands for. Raises `Fault`, which does not show the value."""
    if ref.kind == "clear":
        return Secret(ref.value)
    if ref.kind == "env":
        value = environ.get(ref.value)
        if value is None:
            raise Fault(Code.SECRET_MISSING, f"the environment variable {quote(ref.value)} is not set")
    elif ref.kind == "file":
        value = _read(source.resolve(ref.value), f"the secret file {quote(ref.value)}")
    else:
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if folder is None:
            hint = f"have systemd pass it: `LoadCredential={ref.value}:/path`"
            raise Fault(Code.SECRET_MISSING, "no credentials were passed: $CREDENTIALS_DIRECTORY is not set", hint)
        value = _read(Path(folder) / ref.value, f"the credential {quote(ref.value)}")
    if not value:
        raise Fault(Code.SECRET_UNUSABLE, f"the secret from {quote(ref.value)} is empty")
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise Fault(Code.SECRET_UNUSABLE, f"the secret from {quote(ref.value)} is not text")
    return Secret(value)


def bearer(ref: SecretRef, source: Source, environ: Mapping[str, str]) -> Secret:
    """The same for a bearer token, which has to fit into a header. Raises `Fault`."""
    secret = resolve(ref, source, environ)
    if not _BEARER.fullmatch(secret.reveal()):
        hint = "a token alone, on one line: letters, digits and `-._~+/`, `=` at the end; no `Bearer ` before it"
        raise Fault(Code.SECRET_UNUSABLE, "the secret cannot be sent as a bearer token", hint)
    return secret


def sealing_key(ref: SecretRef, source: Source, environ: Mapping[str, str]) -> Secret:
    """The same for a key to seal with: long enough, and without white space around it. Raises `Fault`."""
    key = Secret(resolve(ref, source, environ).reveal().strip())
    length = len(key.reveal().encode())
    if length < SHORTEST_KEY:
        hint = "`openssl rand -base64 32` makes a good one"
        raise Fault(Code.SHORT_KEY, f"a key needs at least {SHORTEST_KEY} bytes, this one has {length}", hint)
    return key


def _read(path: Path, what: str) -> str:
    try:
        return disk.read_secret(path)
    except disk.Unreadable as error:
        raise Fault(Code.SECRET_MISSING, f"cannot read {what}: {error}") from None
