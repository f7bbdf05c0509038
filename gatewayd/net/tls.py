"""The server's side of TLS: one context for every listener that has a certificate."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from gatewayd.net.sockets import CannotListen
from gatewayd.routes.table import Listen, Tls

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; forward secrecy and authenticated encryption only, which HTTP/2 demands (RFC 9113, 9.2.2)."""


def server_context(listen: Listen, tls: Tls, protocols: Sequence[str]) -> ssl.SSLContext:
    """A context with the certificate of `tls` that offers `protocols` by ALPN. TLS 1.2 and 1.3.

    Raises `CannotListen` when the files cannot be used. Reads files, so it is for start-up only.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(protocols))
    try:
        for file in (tls.cert, tls.key):
            Path(file).open("rb").close()  # the error of `load_cert_chain` does not say which file it is about
        context.load_cert_chain(tls.cert, tls.key, password=_no_password)
    except OSError as error:  # ssl.SSLError is one
        raise CannotListen(_advice(listen, tls, error)) from error
    return context


def _no_password() -> str:
    """An empty answer: otherwise OpenSSL asks on the terminal, where nobody is."""
    return ""


def _advice(listen: Listen, tls: Tls, error: OSError) -> str:
    match error:
        case ssl.SSLError(reason="KEY_VALUES_MISMATCH"):
            advice = f"{tls.key} is not the key of {tls.cert}"
        case ssl.SSLError(reason="NO_START_LINE" | None):
            advice = f"{tls.cert} and {tls.key} must be PEM files, the key without a passphrase"
        case ssl.SSLError(reason=reason):
            advice = str(reason).lower().replace("_", " ")
        case _:
            advice = f"{error.filename}: {error.strerror}"
    return f"cannot listen on {listen}: the certificate or its key cannot be used: {advice}"
