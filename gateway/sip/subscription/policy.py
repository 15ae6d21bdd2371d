"""What a notifier grants (RFC 6665 section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionPolicy:
    """Limits of subscriptions outside calls; times in seconds."""

    min_expires: int = 60
    """Shorter wishes are refused with 423."""
    max_expires: int = 3_600
    """Longer wishes are shortened."""
    total: int = 10_000
    """Subscriptions at once; more are answered 503."""
    per_subscriber: int = 200
    """Of one user or trunk."""
    interval: float = 1.0
    """Between two NOTIFYs of one subscription; of what changes faster only the last is told."""
