"""An authority for TLS tests, and the certificates it signs."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.net.tls import TlsFiles

_FOR_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)
"""What Python wants of an authority from 3.13 on (RFC 5280 section 4.2.1.3)."""


class Authority:
    """Signs certificates and writes them, their keys and its own certificate into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of a test")])
        self.file = folder / "authority.pem"
        self.file.write_bytes(_pem(self._sign(self._name, self._key, None)))

    def issue(self, *names: str, days: int = 1, ended: bool = False) -> tuple[Path, Path]:
        """Certificate and key of a peer with these host names, addresses or URIs; the first is the file's.

        It holds for `days`; `ended`: its time is over.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
        certificate, private = self._folder / f"{names[0]}.pem", self._folder / f"{names[0]}.key"
        certificate.write_bytes(_pem(self._sign(subject, key, [_general(name) for name in names], days, ended)))
        pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        private.write_bytes(key.private_bytes(pem, plain, serialization.NoEncryption()))
        return certificate, private

    def files(self, *names: str, client_certificates: str = "off", ended: bool = False) -> TlsFiles:
        """The same as `UserAgentConfig.tls`, trusting this authority."""
        cert, key = self.issue(*names, ended=ended)
        return TlsFiles(cert=cert, key=key, ca=self.file, client_certificates=client_certificates)  # type: ignore[arg-type]

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: list[x509.GeneralName] | None,
        days: int = 1,
        ended: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + (datetime.timedelta(minutes=-1) if ended else datetime.timedelta(days=days)))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        else:
            builder = builder.add_extension(_FOR_CERTIFICATES, critical=True)
        return builder.sign(self._key, hashes.SHA256())


async def shown_by(port: int, name: str = "127.0.0.1") -> bytes | None:
    """The certificate that a server on loopback shows to who connects now and asks for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    seen: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return seen.getpeercert(binary_form=True)


def _general(name: str) -> x509.GeneralName:
    if ":" in name and name.startswith("sip"):
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """As `openssl req -x509` makes one."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "self.pem", folder / "self.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return cert, private
