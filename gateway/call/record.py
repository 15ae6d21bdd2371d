"""What is kept of a call: its limits, its history, its record."""

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
    """How long one side may take to answer an offer; SIP's own limit is 32 (RFC 3261 timer B)."""
    max_diversions: int = 5
    """How often the call may go on to somebody else than who was called."""
    reattach_time: float = 30.0
    """How long a client that vanished may take to come back before its call ends."""
    park_timeout: float = 0.0
    """How long a call is parked before it goes back to who parked it; 0: for as long as it likes."""
    early_silence: float = 5.0
    """Silence after which the early media of one callee gives way to that of another: ringing tones pause for four."""
    service_max_duration: float = 600.0
    """The same for a call to a built-in service, which nobody would end who has forgotten it."""


@filled_at_once
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a call's history: one row of a table, done."""

    at: float
    """Seconds since the call began."""
    input: Input
    state: State
    """The state after it."""
    leg: str | None = None
    """Tag of the leg it came from."""
    references: tuple[str, ...] = ()
    """What the leg's own protocol calls the call: its SIP Call-IDs; the caller's for a step of no leg."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Who has parked a call, where, and when it goes back."""

    by: Caller
    place: str
    due: float
    """Seconds since the call began."""


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
    longest: float | None = None
    """Seconds that it may be up, since it was answered."""
    parked: Parked | None = None
    """Where it was parked last; who waits there may have been taken since."""
    cause: Cause | None = None
    elsewhere: bool = False
    """Whether another gateway goes on with it."""
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """SIP Call-IDs of each leg, by its tag."""
    statistics: CallStatistics = field(default_factory=CallStatistics)
