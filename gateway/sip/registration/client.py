"""Our own registration at an upstream registrar, as a table: made, kept fresh, watched, taken back (RFC 3261 10.2).

One of several flows of an account (RFC 5626) goes by the same table, with the waits of its section 4.5.

Sans-IO: each method says what is to be sent now, `deadline` when `due` is to be called next. A registrar that is down
is asked again every few seconds, since its return is what everybody waits for; one that refuses us is asked ever more
rarely, since it is its owner who has to do something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

_LONGEST = 86_400
"""Seconds that a registrar may make us ask for."""
_FLOW_FAILED = 430


class Send(Enum):
    """What the caller is to send; its outcome goes to `RegistrationClient.answered`."""

    REGISTER = "REGISTER"
    PROBE = "OPTIONS"
    """Only whether it is answered counts."""
    UNREGISTER = "REGISTER with Expires 0"


class State(Enum):
    """States of one registration."""

    IDLE = "idle"
    REGISTERING = "registering"
    REGISTERED = "registered"
    PROBING = "probing"
    WAITING = "waiting"
    """Not registered; tried again at the deadline."""
    UNREGISTERING = "unregistering"
    GONE = "gone"


class Input(Enum):
    """What may happen to one."""

    START = "start"
    OK = "2xx"
    BRIEF = "423"
    """The first 423 to a registration, with a Min-Expires above what we asked for and of a day at most."""
    REFUSED = "refused"
    """Any other final response that is no 408 and no 5xx."""
    DOWN = "down"
    """408, 5xx, or nobody there."""
    REFRESH_DUE = "refresh due"
    PROBE_DUE = "probe due"
    RETRY_DUE = "retry due"
    FLOW_FAILED = "flow failed"
    """The connection of a flow is gone, or brings no answer to a keep-alive (RFC 5626 section 4.4)."""
    STOP = "stop"


class Action(Enum):
    """What the rows do."""

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
    """How long a flow that could not be formed is left alone, in seconds (RFC 5626 section 4.5).

    The wait is between half of its bound and the whole: the base times two to the power of the failures in a row.
    """

    all_failed: float = 30.0
    """Base while no other flow of the account stands."""
    not_all_failed: float = 90.0
    """Base while another one does."""
    longest: float = 1800.0
    """The bound grows no further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationPolicy:
    """Times of a registration, in seconds."""

    expires: int = 3600
    """What we ask for."""
    retry_first: float = 5.0
    """Wait after the first refusal; doubles up to `retry_longest`."""
    retry_longest: float = 300.0
    retry_down: float = 5.0
    """Longest wait for a registrar that does not answer or says 5xx; its own Retry-After counts as well."""
    shortest_refresh: float = 1.0
    """However short the registrar's time is, never refresh more often."""
    probe: float = 20.0
    """How often a registrar we are registered at is asked whether it is there, so that one which was restarted and
    has forgotten us is noticed before the refresh; 0 never."""
    recovery: FlowRecovery | None = None
    """The waits of one of several flows, in place of those above; None: it is the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A final response as far as it counts here; times in seconds."""

    status: int
    granted: int | None = None
    """Expires of our binding in a 2xx, None where it says none."""
    min_expires: int = 0
    retry_after: float = 0.0


class RegistrationClient:
    """One binding of one account."""

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
        """`random` gives numbers in [0, 1): many registrations of ours must not come all at one moment, for ever.

        `others_stand` says whether another flow of the account is registered now.
        """
        self._policy = policy
        self._random = random
        self._others_stand = others_stand
        self._proven = False
        """Whether anything was answered by the flow after it was formed (RFC 5626 4.5)."""
        self._within = 0.0
        self._failures = 0
        self._lengthened = False
        self._now = 0.0
        self._outcome = Outcome(status=0)
        self._refresh_at = 0.0
        self._send: Send | None = None
        self.state = State.IDLE
        self.deadline: float | None = None
        """When `due` is to be called, None while an answer is awaited or nothing is left to do."""
        self.registered = False
        self.status = 0
        """The last final response to a REGISTER."""
        self.expires = 0
        """Seconds that the registrar granted last."""
        self.wanted = policy.expires
        """Seconds to ask for in the next REGISTER."""

    def start(self, now: float) -> Send | None:
        """Begin; what is to be sent."""
        return self._step(Input.START, now)

    def answered(self, outcome: Outcome, now: float) -> Send | None:
        """The final response to what was sent last came; what is to be sent now."""
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
        """The deadline has come; what is to be sent."""
        if self.deadline is None or now < self.deadline:
            return None
        if self.state is State.WAITING:
            return self._step(Input.RETRY_DUE, now)
        # A probe right before the refresh would tell nothing that the refresh does not.
        refresh = now > self._refresh_at - self._policy.shortest_refresh
        return self._step(Input.REFRESH_DUE if refresh else Input.PROBE_DUE, now)

    def hurry(self, seconds: float, now: float) -> None:
        """Register within so many seconds: the registrar is there again, and may have forgotten us."""
        if self.deadline is not None:
            self._refresh_at = self.deadline = min(self.deadline, now + seconds * self._random())

    def flow_failed(self, within: float, now: float) -> None:
        """The flow is gone: form a new one within so many seconds; later where this one has never proved of use."""
        self._within = within
        self._step(Input.FLOW_FAILED, now)

    def proven(self) -> None:
        """A keep-alive was answered by the flow: it is good, and so was forming it (RFC 5626 section 4.5)."""
        if self.registered:
            self._prove()

    def stop(self, now: float) -> Send | None:
        """Give the binding up; what is to be sent, None where there is none to take back."""
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
        # Early enough for two more tries before the binding is gone.
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
        # A registrar that wants more each time is refused like any other: else it had us ask without a pause.
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
            # By half more or less: whom a restart has cut off all at once does not come back all at once.
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
