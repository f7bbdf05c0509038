"""Certificates that cannot be used are explained."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gatewayd.net.sockets import CannotListen
from gatewayd.net.tls import server_context
from gatewayd.routes.table import Listen, Tls
from tests.support.certificate import Certificate, make_certificate

HOST = "gateway.test"


def made(tls: Tls) -> ssl.SSLContext:
    return server_context(Listen("127.0.0.1", 8443, tls), tls, ["http/1.1"])


def test_a_context_is_modern() -> None:
    context = made(Tls(*Certificate.shared(HOST).files))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert all("GCM" in cipher["name"] or "CHACHA20" in cipher["name"] for cipher in context.get_ciphers())


@pytest.mark.parametrize("missing", ["cert", "key"])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    cert, key = Certificate.shared(HOST).files
    gone = str(tmp_path / "gone.pem")
    with pytest.raises(CannotListen, match=r"https://127\.0\.0\.1:8443: .*/gone\.pem: No such file"):
        made(Tls(gone, key) if missing == "cert" else Tls(cert, gone))


def test_the_key_of_another_certificate_is_recognised() -> None:
    cert, _ = Certificate.shared(HOST).files
    _, key = (other := make_certificate("other.test")).files
    with pytest.raises(CannotListen, match=r"is not the key of"):
        made(Tls(cert, key))
    other.folder.cleanup()


def test_what_is_no_certificate_is_said(tmp_path: Path) -> None:
    pem = tmp_path / "cert.pem"
    pem.write_text("not a certificate")
    with pytest.raises(CannotListen, match="must be PEM files"):
        made(Tls(str(pem), str(pem)))


def test_a_key_with_a_passphrase_is_refused_without_asking(tmp_path: Path) -> None:
    certificate = Certificate.shared(HOST)
    locked = tmp_path / "key.pem"
    key = load_pem_private_key(certificate.key, None)
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame")))
    with pytest.raises(CannotListen, match="the certificate or its key cannot be used"):
        made(Tls(certificate.files[0], str(locked)))
