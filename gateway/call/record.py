"""Settings, history and record of a call."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.call.leg import Address
from gateway.call.routing import Caller
from gateway.call.state import Input, State
from gateway.call.status import Cause
from gateway.media.engine import CallStatistics
from sdp.frozen import filled_at_once


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """Limits of one call; times in seconds."""

    ring_timeout: float = 60.0
    max_duration: float = 4 * 3600.0
    offer_timeout: float = 35.0
    """Time for a leg to answer an offer; SIP's own limit is 32 (RFC 3261 timer B)."""
    max_diversions: int = 5
    """Largest number of diversions of a call."""
    reattach_time: float = 30.0
    """Time for a vanished client to return before its call ends."""
    park_timeout: float = 0.0
    """Parking time before the call is returned to the parker; 0 for no limit."""
    early_silence: float = 5.0
    """Silence after which the next callee's early media is heard; longer than the four-second pause of a
    ringing tone.
    """
    service_max_duration: float = 600.0
    """Longest call to a built-in service, which never hangs up by itself."""


@filled_at_once
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a call's history: one executed row of a table."""

    at: float
    """Seconds since the start of the call."""
    input: Input
    state: State
    """State after the step."""
    leg: str | None = None
    """Tag of the leg behind the input."""
    references: tuple[str, ...] = ()
    """SIP Call-IDs of the leg, or of the caller for a step without a leg."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Parking state: the parker, the place, and the time of the recall."""

    by: Caller
    place: str
    due: float
    """Seconds since the start of the call."""


@dataclass(slots=True)
class CallRecord:
    """Facts about a call for metrics, log and call list."""

    id: str
    caller: Address
    dialled: str
    started_at: float
    """Start time on the Timers clock, in seconds."""
    ringing_after_ms: float | None = None
    answered_after_ms: float | None = None
    media_after_ms: float | None = None
    """Milliseconds from the start until media is up on both legs."""
    ended_after_ms: float | None = None
    longest: float | None = None
    """Longest duration after the answer, in seconds."""
    parked: Parked | None = None
    """Latest parking state; the call may have been retrieved since."""
    cause: Cause | None = None
    elsewhere: bool = False
    """True if a second gateway continues the call."""
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """SIP Call-IDs of each leg, by tag."""
    statistics: CallStatistics = field(default_factory=CallStatistics)
