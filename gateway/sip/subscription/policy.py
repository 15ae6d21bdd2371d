"""Limits of a notifier (RFC 6665 section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionPolicy:
    """Limits of subscriptions outside calls; times in seconds."""

    min_expires: int = 60
    """Shortest expiry accepted; shorter requests are rejected with 423."""
    max_expires: int = 3_600
    """Longest expiry granted; longer requests are shortened."""
    total: int = 10_000
    """Concurrent subscriptions; further ones are answered 503."""
    per_subscriber: int = 200
    """Concurrent subscriptions of one user or trunk."""
    interval: float = 1.0
    """Seconds between NOTIFYs of one subscription; of faster changes only the last is sent."""
