"""The DTLS certificate of this process: one ECDSA P-256 key, made at start, never written anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

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

    def fingerprint(self, algorithm: str = "sha-256") -> str:
        """Colon-separated upper-case digest, as `a=fingerprint` writes it."""
        return fingerprint(self.certificate, algorithm)


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
