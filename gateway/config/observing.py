"""Sections of the configuration: what of the calls is told to programs elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from gateway.config.values import HostPortValue, Secret, Section, Text

_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""Of an HTTP header field (RFC 9110 section 5.6.2)."""


class CdrConfig(Section):
    """Call detail records: one for every call, whatever dies in between."""

    enabled: bool = False
    """Keep them in `cdr.sqlite` in state_dir; with `file` or `webhook` they are in any case."""
    file: Path | None = None
    """Append each to this file too, one JSON object a line."""
    webhook: Text | None = None
    """Post each to this URL too, again and again until it is taken."""
    webhook_secret: Secret | None = None
    """Key of the HMAC-SHA256 that each post carries in X-Signature-256."""
    keep: float = Field(default=30 * 86_400.0, ge=0)
    """How long records stay in `cdr.sqlite` once file and webhook have them (s)."""

    @field_validator("webhook")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        return None if url is None else _http_url(url)

    @property
    def wanted(self) -> bool:
        """Whether records are kept: those that are sent somewhere are."""
        return self.enabled or self.file is not None or self.webhook is not None


class HepConfig(Section):
    """A copy of every SIP message, and of each call's quality, for a Homer collector (HEP3)."""

    collector: HostPortValue | None = None
    """IP address and port of the collector (UDP); media keys and nothing else are starred out on the way."""
    capture_id: int = Field(default=2001, ge=0, le=0xFFFFFFFF)
    """Number by which the collector knows this gateway."""
    password: Secret | None = None
    """What the collector wants to hear."""
    report_interval: float = Field(default=10.0, ge=1)
    """Time between two reports of a call's quality (s)."""


class OtelConfig(Section):
    """A trace of every call for an OpenTelemetry collector (OTLP over HTTP); needs the extra `otel`."""

    endpoint: Text | None = None
    """URL of the collector, without /v1/traces or with it; none: nothing is traced."""
    headers: Secret | None = None
    """Header fields for it, as OTEL_EXPORTER_OTLP_HEADERS has them: name=value,name=value, values percent-encoded."""
    sample: float = Field(default=1.0, ge=0, le=1)
    """Share of the calls that are traced."""
    queue: int = Field(default=10_000, ge=100, le=1_000_000)
    """Spans that wait for the collector, at most: a call has three or more, and all of them come, or none."""

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
        """The header fields by their names; secret."""
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
