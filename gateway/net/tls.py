"""TLS for SIP: the gateway's certificate and trusted authorities, read from files and again after renewal."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from cryptography import x509

from gateway.errors import ConfigError
from gateway.net.names import sip_domain

Stamp = tuple[int, int, int]
"""Modification time (ns), size and inode of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files."""

    cert: Path | None = None
    """Certificate chain of the gateway; None for no TLS listener and no client certificate."""
    key: Path | None = None
    ca: Path | None = None
    """Authorities trusted to sign peers' certificates; None for the system's."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Request, or require, a certificate from connecting clients."""
    certificates: tuple[tuple[Path, Path], ...] = ()
    """Further chains and keys, chosen by the server name of the ClientHello (SNI)."""
    wildcards: bool = False
    """True to accept "*.example.com" in a peer's certificate for hosts of the domain."""

    @property
    def named(self) -> tuple[Path | None, ...]:
        """Every configured file, with None for unset ones."""
        return (self.cert, self.key, self.ca, *chain.from_iterable(self.certificates))

    def touch(self) -> None:
        """Read every file and discard the content, so that a file system without response blocks only the calling
        thread.
        """
        for path in self.named:
            with contextlib.suppress(OSError):
                if path is not None:
                    path.read_bytes()


class Tls:
    """TLS contexts: one for all listeners, one for each further certificate, two for clients; TLS 1.2 and later.

    `load` affects later handshakes only; open connections keep their parameters.
    """

    def __init__(self, files: TlsFiles, section: str = "sip.tls") -> None:
        """`section` is the configuration section named in errors."""
        self._files = files
        self.section = section
        self.server: ssl.SSLContext | None = None
        """Context of listeners; None without a certificate."""
        self._client: ssl.SSLContext | None = None
        self._sip_client: ssl.SSLContext | None = None
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._stamps: list[Stamp | None] = []

    @property
    def is_renewed(self) -> bool:
        """True if a file has changed or disappeared since `load`."""
        return self._stamps != self._stamps_now()

    def is_renewed_and_answers(self) -> bool:
        """Return `is_renewed` after reading changed files; may block without limit, so call it from a thread."""
        is_renewed = self.is_renewed
        if is_renewed:
            self._files.touch()
        return is_renewed

    def change(self, files: TlsFiles) -> None:
        """Use new files from now on; raises ConfigError as `load` does and then keeps the previous files."""
        before, self._files = self._files, files
        try:
            self.load()
        except ConfigError:
            self._files = before
            raise

    def load(self) -> None:
        """Read the files, the first time or again; raises ConfigError and then keeps the previous contexts."""
        files, stamps = self._files, self._stamps_now()
        # New files are tried on a separate context: half of a new pair must never reach a context in use.
        self._read(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        by_name: dict[str, ssl.SSLContext] = {}
        for cert, key in files.certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._read(context, cert, key)
            self._ask_for_certificates(context)
            try:
                by_name |= dict.fromkeys(names_of(cert), context)
            except (OSError, ValueError) as error:
                raise ConfigError(self.section, f"the certificate {cert} cannot be read: {error}") from None
        self._by_name = by_name
        if files.cert is not None:
            self.server = self.server or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._read(self.server)
            self._ask_for_certificates(self.server)
            self.server.sni_callback = self._asked_for
        for client in (self._client, self._sip_client):
            if client is not None:
                self._read(client)
        self._stamps = stamps

    def _stamps_now(self) -> list[Stamp | None]:
        """Return the stamp of each file; None for a missing file."""
        found: list[Stamp | None] = []
        for path in self._files.named:
            try:
                found.append(None if path is None else stamp(path))
            except OSError:
                found.append(None)
        return found

    @property
    def wildcards(self) -> bool:
        """True to accept "*.example.com" in a peer's certificate for hosts of the domain."""
        return self._files.wildcards

    @property
    def client(self) -> ssl.SSLContext:
        """Client context: verifies the peer, host name included, and sends our certificate on request."""
        if self._client is None:
            # Loading the system's authorities takes time, and only outgoing TLS needs them.
            self._client = self._new_client()
        return self._client

    @property
    def sip_client(self) -> ssl.SSLContext:
        """Client context without host name check: `names` compares the certificate by the rules of SIP (RFC 5922)."""
        if self._sip_client is None:
            self._sip_client = self._new_client()
            self._sip_client.check_hostname = False
        return self._sip_client

    def _new_client(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._read(context)
        if self._files.ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context

    def _ask_for_certificates(self, context: ssl.SSLContext) -> None:
        modes = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
        context.verify_mode = modes[self._files.client_certificates]
        if self._files.client_certificates != "off" and self._files.ca is None:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)

    def _asked_for(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Choose the certificate for the requested server name (SNI), else the first certificate."""
        wanted = (name or "").lower()
        found = self._by_name.get(wanted) or self._by_name.get(f"*.{wanted.partition('.')[2]}")
        if found is not None:
            connection.context = found

    def _read(self, context: ssl.SSLContext, cert: Path | None = None, key: Path | None = None) -> None:
        files = self._files
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is None:
            cert, key = files.cert, files.key
        try:
            if cert is not None:
                # Without a password, OpenSSL would ask for one at the terminal and block the process.
                context.load_cert_chain(cert, key, password="")
        except OSError as error:
            raise ConfigError(
                self.section, f"the certificate or its key cannot be used: {_why(error, cert, key)}"
            ) from None
        try:
            if files.ca is not None:
                context.load_verify_locations(files.ca)
        except OSError as error:
            raise ConfigError(f"{self.section}.ca", f"the authorities cannot be used: {error}") from None


def _why(error: OSError, *files: Path | None) -> str:
    """Return the name and error of the unreadable file, which OpenSSL leaves out; else OpenSSL's own text."""
    for file in files:
        if file is not None:
            try:
                file.open("rb").close()
            except OSError as refused:
                return f"{file}: {refused.strerror}"
    return str(error)


def stamp(path: Path) -> Stamp:
    """Return the stamp of a file, links followed; raises OSError. Equal stamps mean an unchanged file."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate of a PEM file; raises OSError, or ValueError for malformed data or an unknown
    version.
    """
    try:
        [certificate, *_] = x509.load_pem_x509_certificates(path.read_bytes())
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from None
    return certificate


def names_of(cert: Path) -> set[str]:
    """Return the domains of a certificate file: DNS names and domains of SIP URIs.

    Raises OSError, or ValueError for malformed data.
    """
    try:
        names = read_certificate(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    domains = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return domains | {domain for uri in uris if (domain := sip_domain(uri)) is not None}
