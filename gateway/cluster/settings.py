"""What the gateways of a cluster are told: where this one is, and the keys that all of them have."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from gateway.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """One gateway among several; without `node` it is alone."""

    node: str
    """Its own SIP URI."""
    mutual_tls: bool
    """Whether the others prove who they are by certificates as well."""
    interval: float
    """Seconds between two words that it is there."""
    journal: str | None = field(repr=False)
    """Where the others find its calls; None: nowhere."""
    key: bytes | None = field(repr=False)
    """Seals what the gateways send each other."""


def cluster(config: Config) -> ClusterSettings:
    """Of a gateway that is alone the node is ""."""
    told = config.cluster
    key = shared_key(config, "requests")
    return ClusterSettings(
        node=told.node or "", mutual_tls=told.mutual_tls, interval=told.interval, journal=told.journal, key=key
    )


def shared_key(config: Config, purpose: str) -> bytes | None:
    """32 bytes for one purpose, the same at every gateway of the cluster; None where this one is alone."""
    if config.cluster.key is None:
        return None
    key = config.cluster.key.get_secret_value()
    return hmac.digest(key.encode(), f"gateway cluster: {purpose}".encode(), "sha256")
