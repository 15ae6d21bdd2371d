"""Certificates as browsers judge them: by name and by authority."""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from gateway.config.values import ip_version
from gateway.net.tls import names_of, read_certificate

_TAKE = "Take one of a public authority (certbot gets it for nothing), with its whole chain."


def refusals(path: Path, hosts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each reason for which a browser that opens `hosts` refuses the certificate, and the remedy."""
    certificate = read_certificate(path)
    if is_self_signed(certificate):
        yield f"The certificate {path} has signed itself: browsers refuse it.", _TAKE
    names, wanted = names_and_addresses(path), list(dict.fromkeys(hosts))
    if not any(is_among(host.lower(), names, wildcards=True) for host in wanted):
        listed = ", ".join(sorted(names)) or "no name at all"
        opened = " or ".join(wanted[:3])
        yield (
            f"The certificate {path} is of {listed}, not of {opened}: browsers that open that refuse it.",
            f"Take a certificate that names {wanted[0]} (subjectAltName), or set web.public_url to how people open it.",
        )


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Return True for a certificate signed by its own key."""
    if certificate.issuer != certificate.subject:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def is_of_known_authority(path: Path) -> bool:
    """Verify the chain against the authorities of this machine; True where it has none."""
    known = _known()
    if not known:
        return True
    names = sorted(names_and_addresses(path))
    try:
        leaf, *between = x509.load_pem_x509_certificates(path.read_bytes())
        subject = _subject(names[0]) if names else x509.DNSName("none.invalid")
        PolicyBuilder().store(Store(known)).build_server_verifier(subject).verify(leaf, between)
    except (VerificationError, ValueError):
        return False
    return True


def _subject(name: str) -> x509.DNSName | x509.IPAddress:
    if ip_version(name):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name.replace("*", "any", 1))


@cache
def _known() -> list[x509.Certificate]:
    """The authorities of this machine."""
    found = []
    with warnings.catch_warnings():
        # Old authorities have serial numbers that standards forbid, which cryptography will refuse in future.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for der in ssl.create_default_context().get_ca_certs(binary_form=True):
            with contextlib.suppress(ValueError):
                found.append(x509.load_der_x509_certificate(der))
    return found


def names_and_addresses(path: Path) -> set[str]:
    """Names and IP addresses that it is of."""
    certificate = read_certificate(path)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set(names_of(path))
    return names_of(path) | {str(address) for address in names.get_values_for_type(x509.IPAddress)}


def is_among(name: str, names: set[str], *, wildcards: bool) -> bool:
    """Match a host name with the names of a certificate."""
    return name in names or (wildcards and f"*.{name.partition('.')[2]}" in names)
