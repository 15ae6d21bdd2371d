"""State table of our own registration at an upstream registrar: register, refresh, probe, unregister (RFC 3261 10.2).

Each of several flows of an account (RFC 5626) runs a table of its own, with the waits of section 4.5.

Sans-IO: each method returns the request to send; `deadline` is the time to call `due`. An unreachable registrar is
retried every few seconds, as calls depend on its return. After rejections the retries become rare, as only the
account's owner can help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

_LONGEST = 86_400
"""Longest expiry in seconds accepted from a 423."""
_FLOW_FAILED = 430


class Send(Enum):
    """Request to send; its final response goes to `RegistrationClient.answered`."""

    REGISTER = "REGISTER"
    PROBE = "OPTIONS"
    """Liveness check: any response counts."""
    UNREGISTER = "REGISTER with Expires 0"


class State(Enum):
    """States of a registration."""

    IDLE = "idle"
    REGISTERING = "registering"
    REGISTERED = "registered"
    PROBING = "probing"
    WAITING = "waiting"
    """Not registered; retried at the deadline."""
    UNREGISTERING = "unregistering"
    GONE = "gone"


class Input(Enum):
    """Inputs of the table."""

    START = "start"
    OK = "2xx"
    BRIEF = "423"
    """First 423 to a registration, with Min-Expires above the requested expiry and at most one day."""
    REFUSED = "refused"
    """Any other final response except 408 and 5xx."""
    DOWN = "down"
    """408, 5xx, or an unreachable registrar."""
    REFRESH_DUE = "refresh due"
    PROBE_DUE = "probe due"
    RETRY_DUE = "retry due"
    FLOW_FAILED = "flow failed"
    """Connection of a flow closed, or without answer to a keep-alive (RFC 5626 section 4.4)."""
    STOP = "stop"


class Action(Enum):
    """Actions of the table."""

    REGISTER = auto()
    UNREGISTER = auto()
    PROBE = auto()
    SUCCEED = auto()
    FAIL = auto()
    LENGTHEN = auto()
    SCHEDULE = auto()
    BACK_OFF = auto()
    RETRY_SOON = auto()
    LOSE_FLOW = auto()
    PROVE = auto()
    REST = auto()


_FAILED = ((Action.FAIL, Action.BACK_OFF), State.WAITING)
_LOST = ((Action.FAIL, Action.RETRY_SOON), State.WAITING)
_GONE = ((Action.FAIL, Action.REST), State.GONE)

TABLE: Mapping[tuple[State, Input], tuple[tuple[Action, ...], State]] = {
    (State.IDLE, Input.START): ((Action.REGISTER,), State.REGISTERING),
    (State.IDLE, Input.STOP): ((Action.REST,), State.GONE),
    (State.REGISTERING, Input.OK): ((Action.SUCCEED, Action.SCHEDULE), State.REGISTERED),
    (State.REGISTERING, Input.BRIEF): ((Action.LENGTHEN, Action.REGISTER), State.REGISTERING),
    (State.REGISTERING, Input.REFUSED): _FAILED,
    (State.REGISTERING, Input.DOWN): _LOST,
    (State.REGISTERING, Input.STOP): ((Action.UNREGISTER,), State.UNREGISTERING),
    (State.REGISTERED, Input.REFRESH_DUE): ((Action.REGISTER,), State.REGISTERING),
    (State.REGISTERED, Input.PROBE_DUE): ((Action.PROBE,), State.PROBING),
    (State.REGISTERED, Input.FLOW_FAILED): ((Action.LOSE_FLOW,), State.WAITING),
    (State.REGISTERED, Input.STOP): ((Action.UNREGISTER,), State.UNREGISTERING),
    (State.PROBING, Input.OK): ((Action.PROVE, Action.SCHEDULE), State.REGISTERED),
    (State.PROBING, Input.REFUSED): ((Action.PROVE, Action.SCHEDULE), State.REGISTERED),
    (State.PROBING, Input.BRIEF): ((Action.PROVE, Action.SCHEDULE), State.REGISTERED),
    (State.PROBING, Input.DOWN): _LOST,
    (State.PROBING, Input.FLOW_FAILED): ((Action.LOSE_FLOW,), State.WAITING),
    (State.PROBING, Input.STOP): ((Action.UNREGISTER,), State.UNREGISTERING),
    (State.WAITING, Input.RETRY_DUE): ((Action.REGISTER,), State.REGISTERING),
    (State.WAITING, Input.STOP): ((Action.REST,), State.GONE),
    (State.UNREGISTERING, Input.OK): _GONE,
    (State.UNREGISTERING, Input.BRIEF): _GONE,
    (State.UNREGISTERING, Input.REFUSED): _GONE,
    (State.UNREGISTERING, Input.DOWN): _GONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRecovery:
    """Waits in seconds before a failed flow is retried (RFC 5626 section 4.5).

    A wait is between half of its bound and the whole bound: the base times two to the power of consecutive failures.
    """

    all_failed: float = 30.0
    """Base while the account has no other registered flow."""
    not_all_failed: float = 90.0
    """Base while the account has another registered flow."""
    longest: float = 1800.0
    """Upper limit of the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationPolicy:
    """Times of a registration, in seconds."""

    expires: int = 3600
    """Expiry to request."""
    retry_first: float = 5.0
    """Wait after the first rejection; doubles up to `retry_longest`."""
    retry_longest: float = 300.0
    retry_down: float = 5.0
    """Longest wait for an unreachable registrar or a 5xx; its own Retry-After counts as well."""
    shortest_refresh: float = 1.0
    """Shortest time between refreshes, however short the granted expiry."""
    probe: float = 20.0
    """Interval of liveness checks of the registrar, to detect a restart with lost bindings before the refresh; 0 for
    never."""
    recovery: FlowRecovery | None = None
    """Waits for one of several flows, instead of the retry times above; None for a single flow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Relevant parts of a final response; times in seconds."""

    status: int
    granted: int | None = None
    """Expiry granted to our binding in a 2xx, None if unstated."""
    min_expires: int = 0
    retry_after: float = 0.0


class RegistrationClient:
    """Registration of one binding of one account."""

    __slots__ = (
        "_failures",
        "_lengthened",
        "_now",
        "_others_stand",
        "_outcome",
        "_policy",
        "_proven",
        "_random",
        "_refresh_at",
        "_send",
        "_within",
        "deadline",
        "expires",
        "registered",
        "state",
        "status",
        "wanted",
    )

    def __init__(
        self,
        policy: RegistrationPolicy,
        random: Callable[[], float] = lambda: 0.5,
        others_stand: Callable[[], bool] = lambda: False,
    ) -> None:
        """`random` gives numbers in [0, 1), to spread many registrations over time.

        `others_stand` returns True while another flow of the account is registered.
        """
        self._policy = policy
        self._random = random
        self._others_stand = others_stand
        self._proven = False
        """True after any response over the flow since its registration (RFC 5626 4.5)."""
        self._within = 0.0
        self._failures = 0
        self._lengthened = False
        self._now = 0.0
        self._outcome = Outcome(status=0)
        self._refresh_at = 0.0
        self._send: Send | None = None
        self.state = State.IDLE
        self.deadline: float | None = None
        """Time to call `due`; None while waiting for a response or after the end."""
        self.registered = False
        self.status = 0
        """Status of the last final response to a REGISTER."""
        self.expires = 0
        """Expiry granted last, in seconds."""
        self.wanted = policy.expires
        """Expiry to request in the next REGISTER, in seconds."""

    def start(self, now: float) -> Send | None:
        """Start the registration; return the request to send."""
        return self._step(Input.START, now)

    def answered(self, outcome: Outcome, now: float) -> Send | None:
        """Process the final response to the last request; return the next request to send."""
        self._outcome = outcome
        status = outcome.status
        if 200 <= status < 300:
            what = Input.OK
        elif status == 423 and not self._lengthened and self.wanted < outcome.min_expires <= _LONGEST:
            what = Input.BRIEF
        else:
            what = Input.DOWN if status == 408 or 500 <= status < 600 else Input.REFUSED
        return self._step(what, now)

    def due(self, now: float) -> Send | None:
        """Process the deadline; return the request to send."""
        if self.deadline is None or now < self.deadline:
            return None
        if self.state is State.WAITING:
            return self._step(Input.RETRY_DUE, now)
        # A probe right before the refresh would reveal nothing more than the refresh.
        refresh = now > self._refresh_at - self._policy.shortest_refresh
        return self._step(Input.REFRESH_DUE if refresh else Input.PROBE_DUE, now)

    def hurry(self, seconds: float, now: float) -> None:
        """Register within `seconds`: the registrar is back, and may have lost our binding."""
        if self.deadline is not None:
            self._refresh_at = self.deadline = min(self.deadline, now + seconds * self._random())

    def flow_failed(self, within: float, now: float) -> None:
        """Replace a failed flow within `within` seconds; a flow never proven waits longer."""
        self._within = within
        self._step(Input.FLOW_FAILED, now)

    def proven(self) -> None:
        """Record a keep-alive answered over the flow: the flow works, so its failures are forgotten (RFC 5626
        section 4.5)."""
        if self.registered:
            self._prove()

    def stop(self, now: float) -> Send | None:
        """Remove the binding; return the request to send, None without a binding."""
        return self._step(Input.STOP, now)

    def _step(self, what: Input, now: float) -> Send | None:
        row = TABLE.get((self.state, what))
        if row is None:
            return None
        actions, self.state = row
        self._now, self._send = now, None
        for action in actions:
            self._actions[action](self)
        return self._send

    def _ask(self, send: Send) -> None:
        self._send, self.deadline = send, None

    def _register(self) -> None:
        self._ask(Send.REGISTER)

    def _unregister(self) -> None:
        self._ask(Send.UNREGISTER)

    def _probe(self) -> None:
        self._ask(Send.PROBE)

    def _succeed(self) -> None:
        if self.registered or self._policy.recovery is None:
            self._prove()
        self._lengthened = False
        self.registered, self.status = True, self._outcome.status
        self.expires = self.wanted if self._outcome.granted is None else self._outcome.granted
        # Early enough for two more attempts before the binding expires.
        wait = max(self.expires * (0.9 - 0.1 * self._random()) - 2.0, self.expires / 2, self._policy.shortest_refresh)
        self._refresh_at = self._now + wait

    def _prove(self) -> None:
        self._proven, self._failures = True, 0

    def _lose_flow(self) -> None:
        self.registered, self.status, self._outcome = False, _FLOW_FAILED, Outcome(status=_FLOW_FAILED)
        if self._proven:
            self._proven = False
            self.deadline = self._now + self._within * self._random()
        else:
            self._back_off()

    def _fail(self) -> None:
        self._lengthened = self._proven = False
        self.registered, self.status = False, self._outcome.status

    def _lengthen(self) -> None:
        # A registrar that demands ever more counts as a rejection: otherwise it could cause endless requests.
        self.wanted, self._lengthened = self._outcome.min_expires, True

    def _schedule(self) -> None:
        probe = self._now + self._policy.probe if self._policy.probe > 0 else self._refresh_at
        self.deadline = min(self._refresh_at, probe)

    def _back_off(self) -> None:
        self._wait(self._policy.retry_first * 2.0**self._failures, self._policy.retry_longest)

    def _retry_soon(self) -> None:
        self._wait(2.0**self._failures, self._policy.retry_down)

    def _wait(self, seconds: float, longest: float) -> None:
        self._failures = min(self._failures + 1, 16)
        times = self._policy.recovery
        if times is not None:
            base = times.not_all_failed if self._others_stand() else times.all_failed
            wait = min(base * 2.0**self._failures, times.longest) * (0.5 + 0.5 * self._random())
        else:
            # Random by up to half: clients cut off together by a restart must not return together.
            wait = min(seconds, longest) * (0.5 + self._random())
        self.deadline = self._now + max(wait, min(self._outcome.retry_after, 3600.0))

    def _rest(self) -> None:
        self.deadline = None

    _actions: ClassVar[Mapping[Action, Callable[[RegistrationClient], None]]] = {
        Action.REGISTER: _register,
        Action.UNREGISTER: _unregister,
        Action.PROBE: _probe,
        Action.SUCCEED: _succeed,
        Action.FAIL: _fail,
        Action.LENGTHEN: _lengthen,
        Action.SCHEDULE: _schedule,
        Action.BACK_OFF: _back_off,
        Action.RETRY_SOON: _retry_soon,
        Action.LOSE_FLOW: _lose_flow,
        Action.PROVE: _prove,
        Action.REST: _rest,
    }
