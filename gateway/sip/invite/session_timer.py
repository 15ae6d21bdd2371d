"""Session timers: a call ends by itself after its peer vanished (RFC 4028)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gateway.sip.errors import DialogError
from gateway.sip.message.build import Fields
from gateway.sip.message.message import Request, Response
from gateway.sip.message.values import SessionExpires

OPTION = "timer"
SMALLEST = 90
"""Lowest Min-SE allowed, in seconds (RFC 4028 section 5)."""

SHORTEST_WAIT = 1.0
LONGEST_WAIT = 10.0
"""Bounds in seconds of the delay before retrying a failed refresh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerPolicy:
    """Session timer settings, in seconds."""

    interval: int = 1800
    """Session-Expires in our requests; 0 disables session timers on our side."""
    minimum: int = SMALLEST
    """Smallest interval accepted; requests below get 422."""

    def __post_init__(self) -> None:
        if self.minimum < SMALLEST or (self.interval and self.interval < self.minimum):
            raise ValueError("session interval needs interval >= minimum >= 90")


class TimerAction(Enum):
    """Action required by an expired timer."""

    REFRESH = "send a re-INVITE or UPDATE"
    EXPIRED = "send BYE with Reason: SIP;cause=408"


class SessionTimer:
    """Session timer of one dialog: pass every 2xx of INVITE and UPDATE, read `deadline`, call `tick`.

    The refresher acts at half the interval; the other side gives up min(32 s, a third) before the end (section 10).
    """

    __slots__ = ("_expires_at", "_minimum", "_policy", "_refresh_at", "_refreshing", "interval", "is_refresher")

    def __init__(self, policy: TimerPolicy) -> None:
        self._policy = policy
        self._minimum = policy.minimum
        self._refresh_at: float | None = None
        self._expires_at: float | None = None
        self._refreshing = False
        self.interval = 0
        """Agreed interval in seconds; 0 without a session timer."""
        self.is_refresher = False

    def request_headers(self) -> Fields:
        """Return the fields of our INVITE, re-INVITE and UPDATE (section 7.1, 7.4); the caller merges Supported."""
        if not self._policy.interval and not self.interval:
            return []
        wanted = self.interval or max(self._policy.interval, self._minimum)
        # A refresh keeps the roles: the UAC of a transaction is its sender.
        refresher = None if not self.interval else ("uac" if self.is_refresher else "uas")
        fields: list[tuple[str, object]] = [("Session-Expires", SessionExpires(max(wanted, self._minimum), refresher))]
        if self._minimum > SMALLEST:
            fields.append(("Min-SE", self._minimum))
        return fields

    def too_small(self, response: Response) -> bool:
        """Process the Min-SE of a 422; return True if a retry with `request_headers` may succeed."""
        min_se = response.min_se
        if min_se is None or min_se.seconds <= max(self._minimum, self.interval):
            return False
        self._minimum = min_se.seconds
        if self.interval:
            self.interval = max(self.interval, min_se.seconds)
        return True

    def check(self, request: Request) -> None:
        """Check a received INVITE or UPDATE; raise DialogError (422) for an interval below our minimum.

        The response names our minimum in Min-SE. Only peers that support session timers are rejected (section 8.1).
        """
        asked = request.session_expires
        if asked is not None and asked.seconds < self._policy.minimum and OPTION in request.supported:
            raise DialogError("session interval is too small", status=422)

    def accept(self, request: Request, now: float) -> Fields:
        """Start the timer for a request answered 2xx; return the fields of the 2xx (section 9)."""
        asked = request.session_expires
        supported = OPTION in request.supported
        floor = max(request.min_se.seconds if request.min_se else 0, self._policy.minimum)
        if asked is None and (not self._policy.interval or not supported):
            # The peer does not ask, and our timers are off or unsupported by the peer: no timer.
            self.stop()
            return []
        wanted = asked.seconds if asked is not None else self._policy.interval
        if asked is not None and self._policy.interval:
            wanted = min(wanted, self._policy.interval)
        interval = max(wanted, floor)
        asked_refresher = asked.refresher if asked is not None else None
        refresher = asked_refresher or "uac" if supported else "uas"
        self._start(interval, refresher == "uas", now)
        fields: list[tuple[str, object]] = [("Session-Expires", SessionExpires(interval, refresher))]
        if refresher == "uac":
            fields.append(("Require", OPTION))
        return fields

    def accepted(self, response: Response, now: float) -> None:
        """Process the interval of a 2xx to our request (section 7.2); without an interval only we refresh."""
        agreed = response.session_expires
        if agreed is not None:
            interval = max(agreed.seconds, SMALLEST)
            self._start(interval, agreed.refresher != "uas", now)
        elif self._policy.interval:
            self._start(max(self._policy.interval, self._minimum), True, now)
        else:
            self.stop()

    def _start(self, interval: int, is_refresher: bool, now: float) -> None:
        self.interval = interval
        self.is_refresher = is_refresher
        self._refreshing = False
        self._refresh_at = now + interval / 2 if is_refresher else None
        self._expires_at = now + interval - min(32.0, interval / 3)

    def postpone(self, now: float, delay: float = 0.0) -> None:
        """Schedule a failed or delayed refresh again in `delay` seconds, or well before the interval ends."""
        if self._refreshing and self._expires_at is not None:
            left = max(self._expires_at - now, 0.0)
            self._refreshing = False
            self._refresh_at = now + (delay or min(LONGEST_WAIT, max(left / 8, SHORTEST_WAIT)))

    def values(self, now: float) -> dict[str, Any]:
        """Return the values for `resume`; times in seconds from `now`."""
        return {
            "interval": self.interval,
            "minimum": self._minimum,
            "is_refresher": self.is_refresher,
            "refresh_in": None if self._refresh_at is None else self._refresh_at - now,
            "expires_in": None if self._expires_at is None else self._expires_at - now,
        }

    def resume(self, values: Mapping[str, Any], now: float, elapsed: float) -> None:
        """Restore the state of `values`, written `elapsed` seconds ago; refreshes due meanwhile run soon, expiry
        later."""
        refresh_in, expires_in = values["refresh_in"], values["expires_in"]
        self.interval, self._minimum = values["interval"], values["minimum"]
        self.is_refresher = values["is_refresher"]
        self._refresh_at = None if refresh_in is None else now + max(refresh_in - elapsed, SHORTEST_WAIT)
        self._expires_at = None if expires_in is None else now + max(expires_in - elapsed, LONGEST_WAIT)

    def stop(self) -> None:
        """Stop the timer, at the session's end or without agreement on a timer."""
        self.interval = 0
        self._refresh_at = self._expires_at = None

    @property
    def deadline(self) -> float | None:
        """Return the time of the next action of `tick`, on the caller's clock."""
        if self._refresh_at is not None and not self._refreshing:
            return self._refresh_at
        return self._expires_at

    def tick(self, now: float) -> TimerAction | None:
        """Return the action due now; REFRESH comes once until the next 2xx or `postpone`."""
        if self._expires_at is not None and now >= self._expires_at:
            self.stop()
            return TimerAction.EXPIRED
        if self._refresh_at is not None and not self._refreshing and now >= self._refresh_at:
            self._refreshing = True
            return TimerAction.REFRESH
        return None
