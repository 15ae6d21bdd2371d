"""Sections of the configuration: what of the calls is told to programs elsewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from gateway.config.values import HostPortValue, Secret, Section, Text


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
        if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("must be a URL that begins with http:// or https://")
        if url is not None and not url.isascii():
            raise ValueError("must be written in ASCII: percent-encode the path, and xn-- the name")
        return url

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
