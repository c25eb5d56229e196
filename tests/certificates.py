"""Keys and certificates of one session: the broker's, and one of a client that it lets in."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from worker.embedded.home import LOOPBACK

STORE_PASSWORD = "changeit"  # noqa: S105 - of keys that are made for one session


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate and its key, which is closed by `STORE_PASSWORD`; both PEM."""

    file: Path
    key: Path

    def make(self, store: Path) -> None:
        """Make both, by way of a key store."""
        make_certificate(store, self.file)
        password = STORE_PASSWORD.encode()
        key, _, _ = load_key_and_certificates(store.read_bytes(), password)
        assert key is not None
        closed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
        self.key.write_bytes(closed)


def make_certificate(store: Path, file: Path) -> None:
    """Make a key store with a key and its certificate, and write the certificate as PEM."""
    names = ("-dname", "CN=localhost", "-ext", f"san=ip:{LOOPBACK}")
    _keytool(store, "-genkeypair", "-keyalg", "EC", *names)
    _keytool(store, "-exportcert", "-rfc", "-file", str(file))


def trust_certificate(store: Path, file: Path) -> None:
    """Make a store that says whose certificate is trusted."""
    _keytool(store, "-importcert", "-noprompt", "-file", str(file))


def _keytool(store: Path, *arguments: str) -> None:
    where = ("-keystore", str(store), "-storepass", STORE_PASSWORD, "-alias", "one")
    subprocess.run(["keytool", *arguments, *where], check=True, capture_output=True)
