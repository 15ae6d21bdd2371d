"""Configuration of call data for external programs."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from gateway.config.values import HostPortValue, Secret, Section, Text

_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""HTTP field name (RFC 9110 section 5.6.2)."""


class CdrConfig(Section):
    """Call detail records: one per call, even across crashes."""

    enabled: bool = False
    """Keep records in `cdr.sqlite` in state_dir; implied by `file` or `webhook`."""
    file: Path | None = None
    """File to which each record is appended as a line of JSON."""
    webhook: Text | None = None
    """URL to which each record is posted, retried until accepted."""
    webhook_secret: Secret | None = None
    """Key of the HMAC-SHA256 in X-Signature-256 of each post."""
    keep: float = Field(default=30 * 86_400.0, ge=0)
    """Time for which records stay in `cdr.sqlite` after delivery to file and webhook (s)."""

    @field_validator("webhook")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        return None if url is None else _http_url(url)

    @property
    def wanted(self) -> bool:
        """Return True if records are kept, including for a file or webhook."""
        return self.enabled or self.file is not None or self.webhook is not None


class HepConfig(Section):
    """Copies of every SIP message, and of call quality, for a Homer collector (HEP3)."""

    collector: HostPortValue | None = None
    """IP address and port of the collector (UDP); only media keys are masked."""
    capture_id: int = Field(default=2001, ge=0, le=0xFFFFFFFF)
    """Number of the gateway at the collector."""
    password: Secret | None = None
    """Authentication key of the collector."""
    report_interval: float = Field(default=10.0, ge=1)
    """Interval between reports of a call's quality (s)."""


class OtelConfig(Section):
    """Traces of calls for an OpenTelemetry collector (OTLP over HTTP); needs the extra `otel`."""

    endpoint: Text | None = None
    """URL of the collector, with or without /v1/traces; default: no traces."""
    headers: Secret | None = None
    """HTTP header fields for the collector, in the form of OTEL_EXPORTER_OTLP_HEADERS: name=value,name=value, values
    percent-encoded."""
    sample: float = Field(default=1.0, ge=0, le=1)
    """Share of calls traced."""
    queue: int = Field(default=10_000, ge=100, le=1_000_000)
    """Spans queued for the collector: a call has three or more, and is queued completely or not at all."""

    @field_validator("endpoint")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).query or urlsplit(url).fragment):
            raise ValueError("must be a URL without ? and #")
        if url is not None and "@" in urlsplit(url).netloc:
            raise ValueError("must hold no password: what the collector wants to hear goes into headers")
        return None if url is None else _http_url(url)

    @field_validator("headers")
    @classmethod
    def _are_fields(cls, headers: Secret | None) -> Secret | None:
        if headers is not None:
            _header_fields(headers.get_secret_value())
        return headers

    @property
    def header_fields(self) -> dict[str, str]:
        """Return the header fields by name; secret."""
        return {} if self.headers is None else _header_fields(self.headers.get_secret_value())


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    if not url.isascii():
        raise ValueError("must be written in ASCII: percent-encode the path, and xn-- the name")
    return url


def _header_fields(text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        value = unquote(value.strip())
        if not equals or not _FIELD_NAME.fullmatch(name.strip()):
            raise ValueError("must be name=value, with commas between several")
        if not value.isascii() or not value.isprintable():
            raise ValueError("a value must be printable ASCII")
        found[name.strip()] = value
    return found
