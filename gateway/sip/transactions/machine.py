"""What the four transaction machines share: a table, a state, armed timers, and the two neighbours they speak to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """The base timers of RFC 3261 section 17 (table 4), in seconds; all others derive from them."""

    t1: float = 0.5
    """Estimate of the round-trip time."""
    t2: float = 4.0
    """Longest interval between retransmissions of non-INVITE requests and INVITE responses."""
    t4: float = 5.0
    """Longest time a message stays in the network."""
    trying: float = 0.2
    """How long the transaction user may be silent before 100 Trying is sent for it (section 17.2.1)."""

    @property
    def timeout(self) -> float:
        """64*T1: timers B, F, H, J, L and M."""
        return 64 * self.t1

    @property
    def wait_d(self) -> float:
        """Timer D over an unreliable transport: at least 32 s with the default T1."""
        return 64 * self.t1


class State(Enum):
    """States of the four machines; each uses its RFC 3261 (RFC 6026 for Accepted) subset.

    Timed out and Cancelled are ours: an INVITE that was given up, for who says something after all.
    """

    __hash__ = object.__hash__  # by identity: Enum's own is a call of Python for every look at a table

    CALLING = "Calling"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    ACCEPTED = "Accepted"
    CONFIRMED = "Confirmed"
    TIMED_OUT = "Timed out"
    CANCELLED = "Cancelled"
    TERMINATED = "Terminated"


class Input(Enum):
    """All that can happen to a transaction."""

    __hash__ = object.__hash__  # by identity: Enum's own is a call of Python for every look at a table

    START = "start"
    """The transaction user creates a client transaction."""
    REQUEST = "request"
    """The request again, from the network."""
    ACK = "ACK"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    TRANSPORT_ERROR = "transport error"
    TIMER_100 = "200 ms without response"
    TIMER_A = "A"
    TIMER_B = "B"
    TIMER_D = "D"
    TIMER_E = "E"
    TIMER_F = "F"
    TIMER_G = "G"
    TIMER_H = "H"
    TIMER_I = "I"
    TIMER_J = "J"
    TIMER_K = "K"
    TIMER_L = "L"
    TIMER_M = "M"


class Reason(Enum):
    """Why a transaction failed."""

    TIMEOUT = "timeout"
    TRANSPORT_ERROR = "transport error"


def input_of_status(status: int) -> Input:
    """The input that a response of this status is."""
    if status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if status < 300 else Input.FAILURE


class TransactionLayer(Protocol):
    """What surrounds a transaction: the transport below, the transaction user above, the clock beside."""

    def transmit(self, transaction: Transaction, data: bytes) -> None:
        """Send `data` to the transaction's peer."""

    def trying(self, transaction: Transaction) -> bytes:
        """The 100 that is about to be sent for its silent user, who is told of it."""

    def send_cancel(self, invite: Transaction, headers: tuple[()], now: float) -> object:
        """Begin the CANCEL of `invite`, and timer B of it anew."""

    def deliver(self, transaction: Transaction, message: Any) -> None:
        """Pass a response (client) or the ACK of a 2xx (server) up."""

    def failed(self, transaction: Transaction, reason: Reason) -> None:
        """Tell the transaction user that nobody answered or the transport gave up."""

    def arm(self, transaction: Transaction, timer: Input, deadline: float) -> None:
        """Note that `timer` is due at `deadline` (it may be cancelled meanwhile: see `Transaction.due`)."""

    def terminated(self, transaction: Transaction) -> None:
        """Forget the transaction."""

    def ignored(self, transaction: Transaction, state: State, what: Input) -> None:
        """Count an input for which the table has no row."""


A = TypeVar("A", bound=Enum)
Row = tuple[tuple[A, ...], State]
Table = Mapping[tuple[State, Input], Row[A]]


class Transaction:
    """One transaction: `step` looks the input up in the table and runs the row's actions.

    The table is the class's `table`, what each action does is in `actions`; a subclass is one figure
    of RFC 3261. Inputs without a row are reported as ignored and change nothing.
    """

    __slots__ = (
        "__weakref__",
        "_told",
        "armed",
        "credit",
        "flow",
        "interval",
        "key",
        "last",
        "layer",
        "now",
        "reliable",
        "request",
        "source",
        "state",
        "timers",
        "to_tag",
        "user",
    )

    table: ClassVar[Mapping[tuple[State, Input], tuple[tuple[Any, ...], State]]]
    actions: ClassVar[Mapping[Any, Callable[[Any, Any], None]]]
    initial: ClassVar[State]
    settled: ClassVar[frozenset[State]] = frozenset((State.TERMINATED,))
    """Where a server waits for nothing of the peer any more."""

    def __init__(self, layer: TransactionLayer, timers: Timers, *, reliable: bool, key: object, flow: Any) -> None:
        self.layer = layer
        self.timers = timers
        self.reliable = reliable
        self.key = key
        """Under which the layer files it (RFC 3261 section 17.1.3 or 17.2.3)."""
        self.flow = flow
        """Where it sends to."""
        self.state = self.initial
        self.armed: dict[Input, float] = {}
        self.interval = timers.t1
        """The present retransmission interval (timers A, E, G), in seconds."""
        self.last: bytes | None = None
        """What a retransmission sends."""
        self.request: Any = None
        """The request it carries, for the layers above."""
        self.user: Any = None
        """The transaction user's own object."""
        self.to_tag: str | None = None
        """Server: the To tag of every response to it, None where that is made of the request."""
        self.source: Any = flow
        """Where its request came from (server); it may differ from where answers go."""
        self.credit: int | None = None
        """Octets that a server may still send to a source that has proved nothing, None where it may send all."""
        self.now = 0.0
        self._told: Callable[[], None] | None = None

    def when_settled(self, told: Callable[[], None]) -> None:
        """Have `told`, and nobody else, called once it is."""
        self._told = told

    def step(self, what: Input, now: float, message: Any = None) -> None:
        """Feed one input at `now` (monotonic seconds)."""
        before = self.state
        row = self.table.get((before, what))
        if row is None:
            self.layer.ignored(self, before, what)
            return
        actions, self.state = row
        self.now = now
        for action in actions:
            self.actions[action](self, message)
        if self._told is not None and self.state in self.settled:
            told, self._told = self._told, None
            told()
        if self.state is State.TERMINATED and before is not State.TERMINATED:
            self.armed.clear()
            self.layer.terminated(self)

    def due(self, timer: Input, deadline: float, now: float) -> bool:
        """Fire `timer` if it is still the one armed for `deadline`."""
        if self.armed.get(timer) != deadline:
            return False
        del self.armed[timer]
        self.step(timer, now)
        return True

    def start_timer(self, timer: Input, seconds: float) -> None:
        """Arm `timer` to fire `seconds` from now."""
        deadline = self.now + seconds
        self.armed[timer] = deadline
        self.layer.arm(self, timer, deadline)

    def stop_timers(self, *timers: Input) -> None:
        """Disarm `timers`."""
        for timer in timers:
            self.armed.pop(timer, None)

    def resend(self, _message: Any = None) -> None:
        """Send the last message again, if there is one."""
        if self.last is not None:
            self.layer.transmit(self, self.last)

    def deliver(self, message: Any) -> None:
        """Pass `message` to the transaction user."""
        self.layer.deliver(self, message)

    def report_timeout(self, _message: Any) -> None:
        """Tell the transaction user that the other side did not answer."""
        self.layer.failed(self, Reason.TIMEOUT)

    def report_transport_error(self, _message: Any) -> None:
        """Tell the transaction user that the transport failed."""
        self.layer.failed(self, Reason.TRANSPORT_ERROR)


def is_armed(key: tuple[Transaction, Input], deadline: float) -> bool:
    """Whether a timer of the queue is what its transaction waits for."""
    return key[0].armed.get(key[1]) == deadline
