"""Keys and certificates of one session: the broker's, and one of a client that it lets in."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import (
    PKCS12Certificate,
    serialize_java_truststore,
    serialize_key_and_certificates,
)
from headgate.embedded.home import LOOPBACK

STORE_PASSWORD = "changeit"  # noqa: S105 - of keys that are made for one session
CLOSED = BestAvailableEncryption(STORE_PASSWORD.encode())


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate and its key, which is closed by `STORE_PASSWORD`; both PEM."""

    file: Path
    key: Path

    def make(self) -> None:
        """Make both."""
        key, certificate = _pair()
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, CLOSED))


def make_certificate(store: Path, file: Path) -> None:
    """Make a key store with a key and its certificate, and write the certificate as PEM."""
    key, certificate = _pair()
    store.write_bytes(serialize_key_and_certificates(b"one", key, certificate, None, CLOSED))
    file.write_bytes(certificate.public_bytes(Encoding.PEM))


def trust_certificate(store: Path, file: Path) -> None:
    """Make a store that says whose certificate is trusted."""
    trusted = PKCS12Certificate(x509.load_pem_x509_certificate(file.read_bytes()), b"one")
    store.write_bytes(serialize_java_truststore([trusted], CLOSED))


def _pair() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Make a key, and a certificate for this machine that is signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .sign(key, SHA256())
    )
    return key, certificate
