"""What is kept of a call: its limits, its history, its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.call.leg import Address
from gateway.call.state import Input, State
from gateway.call.status import Cause
from gateway.media.engine import CallStatistics


@dataclass(frozen=True, slots=True)
class CallSettings:
    """Limits of one call, in seconds."""

    ring_timeout: float = 60.0
    max_duration: float = 4 * 3600.0
    update_timeout: float = 35.0
    """How long one side may take to answer the other's re-offer; SIP's own limit is 32 (RFC 3261 timer B)."""
    service_max_duration: float = 600.0
    """The same for a call to a built-in service, which nobody would end who has forgotten it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a call's history."""

    at: float
    """Seconds since the call began."""
    input: Input
    state: State
    """The state after it."""


@dataclass(slots=True)
class CallRecord:
    """What is known of a call, for metrics, the log and the call list."""

    id: str
    caller: Address
    dialled: str
    started_at: float
    """Time of the Timers clock, seconds."""
    ringing_after_ms: float | None = None
    answered_after_ms: float | None = None
    media_after_ms: float | None = None
    """From the start to media being up on both sides."""
    ended_after_ms: float | None = None
    cause: Cause | None = None
    statistics: CallStatistics = field(default_factory=CallStatistics)
