"""Configuration of several gateways that share one store."""

from __future__ import annotations

import ipaddress
import re

from pydantic import Field, field_validator

from gateway.config.values import REDIS, Secret, Section, SipUriValue, Text

_PLACE = re.compile(r"sips?:(?P<host>\[[^\]]+\]|[^:;?@]+)(?::(?P<port>[0-9]{1,5}))?(?:;transport=(?:udp|tcp|tls))?")
_KEY = 32


class ClusterConfig(Section):
    """Several gateways with one identity.store: a call for somebody who is at another of them goes there."""

    node: SipUriValue | None = None
    """Where the others reach this gateway: "sip:10.0.0.1:5060" (an IP address); default: it is alone."""
    key: Secret | None = None
    """Secret of at least 32 characters that all of them share, by which they know each other, and what one of them
    has signed: nonces, the page's tokens, temporary GRUUs. Better set by environment than here."""
    mutual_tls: bool = False
    """Believe another gateway only by TLS, where it has shown a certificate of the address in its `node`, signed by
    `sip.tls.ca`; needs that, `sip.tls.cert`, `sip.tls.client_certificates` and ";transport=tls" in `node`."""
    journal: Text | None = Field(default=None, repr=False)
    """Where the others find the calls of this gateway and go on with them when it is gone for good, sealed by `key`:
    "redis://host:6379/0", the same for all, as identity.store has it; default: they end with it."""
    interval: float = Field(default=5.0, ge=0.2, le=60)
    """How often each writes down that it is there; after three such times without a word it is gone (s)."""

    @field_validator("node")
    @classmethod
    def _is_address(cls, node: str | None) -> str | None:
        if node is None:
            return None
        found = _PLACE.fullmatch(node)
        if found is None or int(found["port"] or 5060) > 65_535:
            raise ValueError(f'{node!r} is not written as "sip:ADDRESS:PORT", with ;transport=tcp or ;transport=tls')
        try:
            ipaddress.ip_address(found["host"].strip("[]"))
        except ValueError:
            raise ValueError(f"{node!r} names no IP address") from None
        return node

    @field_validator("journal")
    @classmethod
    def _is_redis(cls, journal: str | None) -> str | None:
        scheme, _, rest = (journal or "").partition(":")
        if journal is not None and not (scheme in REDIS and rest.startswith("//") and len(rest) > 2):
            # The URL may hold a password, so it is not repeated.
            raise ValueError('must be "redis://HOST:PORT/DATABASE"')
        return journal

    @field_validator("key")
    @classmethod
    def _is_long(cls, key: Secret | None) -> Secret | None:
        if key is not None and len(key.get_secret_value()) < _KEY:
            raise ValueError(f"has fewer than {_KEY} characters")
        return key
