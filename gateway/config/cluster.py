"""Configuration of several gateways with a common store."""

from __future__ import annotations

import ipaddress
import re

from pydantic import Field, field_validator

from gateway.config.values import REDIS, Secret, Section, SipUriValue, Text

_PLACE = re.compile(r"sips?:(?P<host>\[[^\]]+\]|[^:;?@]+)(?::(?P<port>[0-9]{1,5}))?(?:;transport=(?:udp|tcp|tls))?")
_KEY = 32


class ClusterConfig(Section):
    """Several gateways with a common identity.store: a call for a user at another gateway goes there."""

    node: SipUriValue | None = None
    """SIP URI at which other gateways reach this gateway: "sip:10.0.0.1:5060" (an IP address); default: a single
    gateway."""
    key: Secret | None = None
    """Secret of at least 32 characters, equal at all gateways. Authenticates the gateways to each other, and signs
    nonces, page tokens and temporary GRUUs. Better set by environment than here."""
    mutual_tls: bool = False
    """Trust another gateway only over TLS, with a certificate for the address in its `node`, signed by `sip.tls.ca`.
    Needs `sip.tls.ca`, `sip.tls.cert`, `sip.tls.client_certificates` and ";transport=tls" in `node`."""
    journal: Text | None = Field(default=None, repr=False)
    """Store from which other gateways resume the calls of a lost gateway, sealed by `key`: "redis://host:6379/0",
    equal at all gateways, in the form of identity.store; default: calls end with their gateway."""
    interval: float = Field(default=5.0, ge=0.2, le=60)
    """Interval between signs of life of each gateway; three missed intervals mean a lost gateway (s)."""

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
            # The URL may hold a password, so the error does not repeat it.
            raise ValueError('must be "redis://HOST:PORT/DATABASE"')
        return journal

    @field_validator("key")
    @classmethod
    def _is_long(cls, key: Secret | None) -> Secret | None:
        if key is not None and len(key.get_secret_value()) < _KEY:
            raise ValueError(f"has fewer than {_KEY} characters")
        return key
