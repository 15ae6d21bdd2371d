"""Reliable provisional responses of both roles (RFC 3262)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions import Transaction

MAX_WAITING = 8
"""Provisional responses waiting for an earlier PRACK; beyond the limit only a response with a description is kept."""
OPTION = "100rel"


def is_reliable(response: Response) -> bool:
    """Return True if a 1xx requires a PRACK."""
    return response.rseq is not None and OPTION in [tag.lower() for tag in response.require]


class ReceivedProvisionals:
    """Received reliable 1xx of one early dialog, processed in order (section 4)."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def is_next(self, response: Response) -> bool:
        """Return True for the first reliable 1xx or the next in order; others are neither acknowledged nor
        processed."""
        if self._last is not None and response.rseq != self._last + 1:
            return False
        self._last = response.rseq
        return True


def rack_of(response: Response) -> str:
    """Return the RAck value of the PRACK for a 1xx."""
    return f"{response.rseq} {response.cseq.number} {response.cseq.method}"


class ReliableProvisionals:
    """Sends reliable 1xx responses in order, each retransmitted until its PRACK; without PRACK in 64*T1 calls
    `lost`."""

    __slots__ = (
        "_alarm",
        "_core",
        "_data",
        "_deadline",
        "_interval",
        "_lost",
        "_owner",
        "_rseq",
        "_transaction",
        "_waiting",
    )

    def __init__(self, core: Core, owner: DialogUsage, transaction: Transaction, lost: Callable[[], None]) -> None:
        self._core = core
        self._owner: DialogUsage | None = owner
        self._transaction = transaction
        self._lost: Callable[[], None] | None = lost
        # Section 3: the first number is between 1 and 2**31 - 1.
        self._rseq = 1 + int(core.random() * 0x3FFFFFFF)
        self._waiting: deque[Response] = deque()
        self._alarm: Alarm[DialogUsage | None] | None = None
        self._data = b""
        self._interval = 0.0
        self._deadline = 0.0

    @property
    def is_pending(self) -> bool:
        """Return True while a PRACK is missing."""
        return self._alarm is not None

    def send(self, response: Response) -> None:
        """Send `response`, or queue it until the previous response is acknowledged."""
        if self.is_pending:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(response)
            elif response.body:
                self._waiting[-1] = response
            return
        self._rseq += 1
        response = response.with_header("RSeq", self._rseq).with_header("Require", OPTION)
        now = self._core.now()
        timers = self._core.config.stack.timers
        self._data = self._core.respond(self._transaction, response)
        self._interval = timers.t1
        self._deadline = now + timers.timeout
        self._alarm = self._core.at(now + self._interval, self._again, self._owner)

    def is_acknowledged_by(self, prack: Request) -> bool:
        """Return True if a PRACK acknowledges the open 1xx; others are answered 481."""
        rack = prack.rack
        expected = (self._rseq, self._transaction.request.cseq.number, "INVITE")
        return self.is_pending and rack is not None and (rack.rseq, rack.cseq, rack.method) == expected

    def acknowledge(self) -> None:
        """Process the PRACK and send the next queued response."""
        self._stop_alarm()
        if self._waiting:
            self.send(self._waiting.popleft())

    def stop(self) -> None:
        """Stop retransmitting, after a final response or the end of the call."""
        self._waiting.clear()
        self._stop_alarm()
        self._owner = self._lost = None  # references back to this object

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _again(self) -> None:
        now = self._core.now()
        if now >= self._deadline:
            self._alarm = None
            assert self._lost is not None, "it waits"
            self._lost()
            return
        self._core.send(self._data, self._transaction.flow)
        self._interval *= 2
        self._alarm = self._core.at(min(now + self._interval, self._deadline), self._again, self._owner)
