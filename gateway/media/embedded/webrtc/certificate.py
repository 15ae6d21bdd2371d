"""The DTLS certificate of this process: one ECDSA P-256 key.

A file keeps it as long as the packet plane lives: peers of calls that outlive the gateway know its fingerprint, and may
begin another handshake under it. New associations have a certificate of their own process, because browsers take the
fingerprint of before for the association of before (RFC 8842 section 5.1).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.files import write_whole

logger = logging.getLogger("gateway.media")

_MOST_KEPT = 8
_PAIR = re.compile(
    rb"(-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n)"
    rb"(-----BEGIN PRIVATE KEY-----.+?-----END PRIVATE KEY-----\n)",
    re.DOTALL,
)

DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    "sha-512": hashes.SHA512,
    "sha-384": hashes.SHA384,
    "sha-256": hashes.SHA256,
}
"""Hash functions of `a=fingerprint` that are understood, strongest first (RFC 8122 section 5)."""


@dataclass(frozen=True, slots=True)
class DtlsCertificate:
    """A self-signed certificate and its private key, for every leg of this process."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls, not_before: datetime, lifetime: timedelta, name: str) -> DtlsCertificate:
        """Make a key and a certificate valid from a day before `not_before` (clocks differ)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before - timedelta(days=1))
            .not_valid_after(not_before + lifetime)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def left(cls, path: Path | None) -> tuple[DtlsCertificate, ...]:
        """Return the valid certificates that former processes have kept, the newest first. Blocks."""
        if path is None:
            return ()
        try:
            pairs = [cls._read(*each) for each in _PAIR.findall(path.read_bytes())]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError) as error:
            logger.warning("the DTLS certificates in %s cannot be used: %s", path, error)
            return ()
        return tuple([each for each in pairs if each is not None])[:_MOST_KEPT]

    @classmethod
    def _read(cls, certificate_pem: bytes, key_pem: bytes) -> DtlsCertificate | None:
        certificate, key = x509.load_pem_x509_certificate(certificate_pem), load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.not_valid_after_utc <= datetime.now(UTC):
            return None
        return cls(certificate, key) if certificate.public_key() == key.public_key() else None

    @property
    def pem(self) -> bytes:
        """Certificate and key as the file of kept ones has them."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.certificate.public_bytes(Encoding.PEM) + key

    def fingerprint(self, algorithm: str = "sha-256") -> str:
        """Colon-separated upper-case digest, as `a=fingerprint` writes it."""
        return fingerprint(self.certificate, algorithm)


def keep(certificates: Sequence[DtlsCertificate], path: Path | None) -> None:
    """Write certificates and keys for the next process, for this user only. Blocks; a full disk ends no start."""
    if path is None:
        return
    try:
        write_whole(path, b"".join([each.pem for each in certificates[:_MOST_KEPT]]))
    except OSError as error:
        logger.warning("the DTLS certificates cannot be kept in %s: %s", path, error)


def fingerprint(certificate: x509.Certificate, algorithm: str) -> str:
    """The digest of `certificate` as in RFC 8122 section 5; KeyError for a function not in DIGESTS."""
    return certificate.fingerprint(DIGESTS[algorithm]()).hex(":").upper()


def usable_fingerprints(fingerprints: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Those of the strongest hash function present, normalised; empty when none is understood.

    RFC 8122 section 5: the certificate must match one of the set for the function chosen.
    """
    normal = [(algorithm.strip().lower(), value.strip().upper()) for algorithm, value in fingerprints]
    for algorithm, digest in DIGESTS.items():
        chosen = tuple(sorted({f for f in normal if f[0] == algorithm and len(f[1]) == digest().digest_size * 3 - 1}))
        if chosen:
            return chosen
    return ()
