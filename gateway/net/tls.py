"""TLS of SIP: our certificate and whom we trust, read from files and read again when they were renewed."""

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
"""When a file was written (ns), octets, inode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files."""

    cert: Path | None = None
    """Our certificate chain; None: no listeners for TLS, and no certificate for peers that ask for one."""
    key: Path | None = None
    ca: Path | None = None
    """Authorities that sign the certificates of peers; None: those of the system."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Whether who connects to us is asked for a certificate."""
    certificates: tuple[tuple[Path, Path], ...] = ()
    """Further chains and keys, shown to those who ask for a name of theirs (SNI)."""
    wildcards: bool = False
    """Whether "*.example.com" in a peer's certificate stands for hosts of that domain."""

    @property
    def named(self) -> tuple[Path | None, ...]:
        """Every file, and None for those that there are not to be."""
        return (self.cert, self.key, self.ca, *chain.from_iterable(self.certificates))

    def touch(self) -> None:
        """Read each, for nothing: a thread is held up where one does not answer, and who reads them next is not."""
        for path in self.named:
            with contextlib.suppress(OSError):
                if path is not None:
                    path.read_bytes()


class Tls:
    """One context for all listeners, one for each further certificate, two for connections of ours; TLS 1.2 and later.

    What `load` reads again counts for every handshake after it, and connections that are up stay as they are.
    """

    def __init__(self, files: TlsFiles, section: str = "sip.tls") -> None:
        """`section` of the configuration is named where a file cannot be used."""
        self._files = files
        self.section = section
        self.server: ssl.SSLContext | None = None
        """For listeners; None without a certificate."""
        self._client: ssl.SSLContext | None = None
        self._sip_client: ssl.SSLContext | None = None
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._stamps: list[Stamp | None] = []

    @property
    def is_renewed(self) -> bool:
        """Whether a file is another than the one that was read, or is gone."""
        return self._stamps != self._stamps_now()

    def is_renewed_and_answers(self) -> bool:
        """`is_renewed`, where that can take for ever: for a thread."""
        is_renewed = self.is_renewed
        if is_renewed:
            self._files.touch()
        return is_renewed

    def change(self, files: TlsFiles) -> None:
        """Use these files from now on; raises ConfigError as `load` does, and then those before stay."""
        before, self._files = self._files, files
        try:
            self.load()
        except ConfigError:
            self._files = before
            raise

    def load(self) -> None:
        """Read the files, for the first time or again; raises ConfigError, and then what was read before stays."""
        files, stamps = self._files, self._stamps_now()
        # Tried on contexts of their own: half of a new pair must not end up in those in use.
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
        """Of each file; None for one that is not there."""
        found: list[Stamp | None] = []
        for path in self._files.named:
            try:
                found.append(None if path is None else stamp(path))
            except OSError:
                found.append(None)
        return found

    @property
    def wildcards(self) -> bool:
        """Whether "*.example.com" in a peer's certificate stands for hosts of that domain."""
        return self._files.wildcards

    @property
    def client(self) -> ssl.SSLContext:
        """For connections of ours: the peer is verified (RFC 5922), and shown our certificate where it asks."""
        if self._client is None:
            # Reading the system's authorities takes a while; only who calls by TLS needs them.
            self._client = self._new_client()
        return self._client

    @property
    def sip_client(self) -> ssl.SSLContext:
        """As `client`, but whose the peer's certificate is has yet to be looked at, in the way of SIP (`names`)."""
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
        """A peer asks for a name (SNI): it is shown the certificate of that name, else the first."""
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
                # Without a password OpenSSL asks for that of an encrypted key at the terminal, and everything waits.
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
    """Name the unreadable file of the two, as OpenSSL does not; else quote OpenSSL."""
    for file in files:
        if file is not None:
            try:
                file.open("rb").close()
            except OSError as refused:
                return f"{file}: {refused.strerror}"
    return str(error)


def stamp(path: Path) -> Stamp:
    """By what a file is known from the one that takes its place, links followed; raises OSError."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_certificate(path: Path) -> x509.Certificate:
    """The first one in a file (PEM). Raises OSError, and ValueError for what is none or of a version that is none."""
    try:
        [certificate, *_] = x509.load_pem_x509_certificates(path.read_bytes())
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from None
    return certificate


def names_of(cert: Path) -> set[str]:
    """The domains that the certificate in a file is for: its DNS names, and those of its SIP URIs.

    Raises OSError, and ValueError for what is none.
    """
    try:
        names = read_certificate(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    domains = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return domains | {domain for uri in uris if (domain := sip_domain(uri)) is not None}
