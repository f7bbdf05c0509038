"""A self-signed certificate, and contexts that trust it."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@attrs.frozen
class Certificate:
    """PEM text of a certificate and its key, and files that hold it."""

    cert: bytes
    key: bytes = attrs.field(repr=False)
    folder: tempfile.TemporaryDirectory[str] = attrs.field(
        factory=lambda: tempfile.TemporaryDirectory(ignore_cleanup_errors=True), repr=False
    )

    def __attrs_post_init__(self) -> None:
        for name, content in (("cert.pem", self.cert), ("key.pem", self.key)):
            (Path(self.folder.name) / name).write_bytes(content)

    @property
    def files(self) -> tuple[str, str]:
        """Paths of the certificate and the key."""
        return f"{self.folder.name}/cert.pem", f"{self.folder.name}/key.pem"

    def client(self, protocols: Sequence[str]) -> ssl.SSLContext:
        """A client's context that trusts this certificate alone and offers `protocols`."""
        context = ssl.create_default_context(cadata=self.cert.decode())
        context.set_alpn_protocols(list(protocols))
        return context

    @staticmethod
    @cache
    def shared(host: str) -> Certificate:
        """One for the whole test run: making it takes a moment."""
        return make_certificate(host)


def make_certificate(host: str) -> Certificate:
    """A certificate for one name, valid from yesterday for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(yesterday)
        .not_valid_after(yesterday + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(made.public_bytes(Encoding.PEM), secret)
