"""TLS of SIP: our certificate and whom we trust, read from files and read again when they were renewed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.errors import ConfigError


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


class Tls:
    """One context for all listeners, one for all connections of ours; TLS 1.2 and later.

    A context is never replaced, so what `load` reads again counts for every handshake after it, and connections
    that are up stay as they are.
    """

    def __init__(self, files: TlsFiles, section: str = "sip.tls") -> None:
        """`section` of the configuration is named where a file cannot be used."""
        self._files = files
        self.section = section
        self.server: ssl.SSLContext | None = None
        """For listeners; None without a certificate."""
        self._client: ssl.SSLContext | None = None

    def load(self) -> None:
        """Read the files, for the first time or again; raises ConfigError, and then what was read before stays."""
        files = self._files
        # Tried on contexts of their own: half of a new pair must not end up in those in use.
        self._read(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        if files.cert is not None:
            self.server = self.server or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._read(self.server)
            modes = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
            self.server.verify_mode = modes[files.client_certificates]
            if files.client_certificates != "off" and files.ca is None:
                self.server.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        if self._client is not None:
            self._read(self._client)

    @property
    def client(self) -> ssl.SSLContext:
        """For connections of ours: the peer is verified (RFC 5922), and shown our certificate where it asks."""
        if self._client is None:
            # Reading the system's authorities takes a while; only who calls by TLS needs them.
            self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._read(self._client)
            if self._files.ca is None:
                self._client.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return self._client

    def _read(self, context: ssl.SSLContext) -> None:
        files = self._files
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if files.cert is not None:
                context.load_cert_chain(files.cert, files.key)
        except OSError as error:
            raise ConfigError(self.section, f"the certificate or its key cannot be used: {error}") from None
        try:
            if files.ca is not None:
                context.load_verify_locations(files.ca)
        except OSError as error:
            raise ConfigError(f"{self.section}.ca", f"the authorities cannot be used: {error}") from None
