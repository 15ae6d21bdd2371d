"""Timers and limits of the transaction layer."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.sip.message.parser import Limits
from gateway.sip.transactions import Timers
from gateway.sip.transactions.admission import AdmissionLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """Timers and limits of one stack."""

    timers: Timers = field(default_factory=Timers)
    parser: Limits = field(default_factory=Limits)
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    transactions: int = 20_000
    """Client and server transactions together; beyond the limit new calls get a stateless 503. Finished transactions
    stay for 32 s, so the sustained rate of calls is about a sixty-fourth of the limit per second."""
    retry_after: int = 5
    """Retry-After of the 503, in seconds."""
    alias: bool = False
    """True if peers may reuse our TLS connections for requests to us (RFC 5923), as we have a certificate."""
