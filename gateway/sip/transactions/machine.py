"""Common part of the four transaction machines: table, state, armed timers, and the interface to the layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Base timers of RFC 3261 section 17 (table 4), in seconds; all others derive from these."""

    t1: float = 0.5
    """Estimate of the round-trip time."""
    t2: float = 4.0
    """Longest interval between retransmissions of non-INVITE requests and INVITE responses."""
    t4: float = 5.0
    """Longest time a message stays in the network."""
    trying: float = 0.2
    """Time without an answer of the transaction user before 100 Trying is sent (section 17.2.1)."""

    @property
    def timeout(self) -> float:
        """Return 64*T1: timers B, F, H, J, L and M."""
        return 64 * self.t1

    @property
    def wait_d(self) -> float:
        """Return timer D over an unreliable transport: at least 32 s with the default T1."""
        return 64 * self.t1


class State(Enum):
    """States of the four machines; each uses its subset of RFC 3261 (RFC 6026 for Accepted).

    Timed out and Cancelled are extensions: an INVITE after its timeout, in case of late responses.
    """

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

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
    """Inputs of a transaction."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    START = "start"
    """Creation of the transaction."""
    REQUEST = "request"
    """Retransmission of the request from the network."""
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
    """Reason of a transaction's failure."""

    TIMEOUT = "timeout"
    TRANSPORT_ERROR = "transport error"


def input_of_status(status: int) -> Input:
    """Return the input for a response with status `status`."""
    if status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if status < 300 else Input.FAILURE


class TransactionLayer(Protocol):
    """Surroundings of a transaction: the transport below, the transaction user above, and the clock."""

    def transmit(self, transaction: Transaction, data: bytes) -> None:
        """Send `data` to the transaction's peer."""

    def trying(self, transaction: Transaction) -> bytes:
        """Return the 100 for a transaction whose user has not answered yet, and notify the user."""

    def send_cancel(self, invite: Transaction, headers: tuple[()], now: float) -> object:
        """Start the CANCEL of `invite`, and restart its timer B."""

    def deliver(self, transaction: Transaction, message: Any) -> None:
        """Pass a response (client) or the ACK of a 2xx (server) to the transaction user."""

    def failed(self, transaction: Transaction, reason: Reason) -> None:
        """Report a timeout or transport failure to the transaction user."""

    def arm(self, transaction: Transaction, timer: Input, deadline: float) -> None:
        """Schedule `timer` at `deadline`; cancellation is checked later by `Transaction.due`."""

    def terminated(self, transaction: Transaction) -> None:
        """Drop the transaction."""

    def ignored(self, transaction: Transaction, state: State, what: Input) -> None:
        """Count an input without a row in the table."""


A = TypeVar("A", bound=Enum)
Row = tuple[tuple[A, ...], State]
Table = Mapping[tuple[State, Input], Row[A]]


class Transaction:
    """Transaction: `step` looks the input up in the table and runs the row's actions.

    The class attribute `table` holds the rows, `actions` the functions; a subclass is one figure of RFC 3261. Inputs
    without a row are reported as ignored and change nothing.
    """

    __slots__ = (
        "__weakref__",
        "_on_settled",
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
    """States in which a server transaction expects nothing more from the peer."""

    def __init__(self, layer: TransactionLayer, timers: Timers, *, reliable: bool, key: object, flow: Any) -> None:
        self.layer = layer
        self.timers = timers
        self.reliable = reliable
        self.key = key
        """Key of the transaction in the layer (RFC 3261 section 17.1.3 or 17.2.3)."""
        self.flow = flow
        """Destination of the transaction's messages."""
        self.state = self.initial
        self.armed: dict[Input, float] = {}
        self.interval = timers.t1
        """Present retransmission interval (timers A, E, G), in seconds."""
        self.last: bytes | None = None
        """Message for retransmission."""
        self.request: Any = None
        """Request of the transaction, for the layers above."""
        self.user: Any = None
        """Object of the transaction user."""
        self.to_tag: str | None = None
        """Server: To tag of every response, None for the stateless tag."""
        self.source: Any = flow
        """Source of the request (server); may differ from the destination of responses."""
        self.credit: int | None = None
        """Octets that a server may still send to an unproven source, None for no limit."""
        self.now = 0.0
        self._on_settled: Callable[[], None] | None = None

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Set the only callback for a settled state."""
        self._on_settled = callback

    def step(self, what: Input, now: float, message: Any = None) -> None:
        """Process one input at `now` (monotonic seconds)."""
        before = self.state
        row = self.table.get((before, what))
        if row is None:
            self.layer.ignored(self, before, what)
            return
        actions, self.state = row
        self.now = now
        for action in actions:
            self.actions[action](self, message)
        if self._on_settled is not None and self.state in self.settled:
            callback, self._on_settled = self._on_settled, None
            callback()
        if self.state is State.TERMINATED and before is not State.TERMINATED:
            self.armed.clear()
            self.layer.terminated(self)

    def due(self, timer: Input, deadline: float, now: float) -> bool:
        """Fire `timer` if still armed for `deadline`; return False otherwise."""
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
        """Retransmit the last message, if any."""
        if self.last is not None:
            self.layer.transmit(self, self.last)

    def deliver(self, message: Any) -> None:
        """Pass `message` to the transaction user."""
        self.layer.deliver(self, message)

    def report_timeout(self, _message: Any) -> None:
        """Report a timeout to the transaction user."""
        self.layer.failed(self, Reason.TIMEOUT)

    def report_transport_error(self, _message: Any) -> None:
        """Report a transport failure to the transaction user."""
        self.layer.failed(self, Reason.TRANSPORT_ERROR)


def is_armed(key: tuple[Transaction, Input], deadline: float) -> bool:
    """Return True if a queued timer is still armed by its transaction."""
    return key[0].armed.get(key[1]) == deadline
