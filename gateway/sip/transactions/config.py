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
    """Client and server transactions together; beyond it new calls get 503 without any state. A finished one
    stays for 32 s, so that this many allow about a sixty-fourth as many calls a second for ever."""
    retry_after: int = 5
    """Seconds that such a 503 asks to wait."""
    alias: bool = False
    """Whether peers may send us requests by our TLS connections to them (RFC 5923): we have a certificate to show."""
