"""Reliable provisional responses of a callee (RFC 3262 section 3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.sip.alarms import Alarm
from gateway.sip.message.message import Request, Response
from gateway.sip.transactions import Transaction

if TYPE_CHECKING:
    from gateway.sip.user_agent import UserAgentCore

MAX_WAITING = 8
"""Provisional responses that may wait for an earlier one's PRACK; the newest ones replace what is over."""


class ReliableProvisionals:
    """Sends one 1xx at a time, again until its PRACK, then the next; after 64*T1 without PRACK calls `lost`."""

    __slots__ = ("_alarm", "_core", "_data", "_deadline", "_interval", "_lost", "_rseq", "_transaction", "_waiting")

    def __init__(self, core: UserAgentCore, transaction: Transaction, lost: Callable[[], None]) -> None:
        self._core = core
        self._transaction = transaction
        self._lost = lost
        # RFC 3262 section 3: the first number is chosen from 1 to 2**31 - 1.
        self._rseq = 1 + int(core.random() * 0x3FFFFFFF)
        self._waiting: deque[Response] = deque(maxlen=MAX_WAITING)
        self._alarm: Alarm | None = None
        self._data = b""
        self._interval = 0.0
        self._deadline = 0.0

    @property
    def pending(self) -> bool:
        """Whether a PRACK is still missing."""
        return self._alarm is not None

    def send(self, response: Response) -> None:
        """Send `response`, or keep it until the one before is acknowledged."""
        if self.pending:
            self._waiting.append(response)
            return
        self._rseq += 1
        response = response.with_header("RSeq", self._rseq).with_header("Require", "100rel")
        now = self._core.now()
        timers = self._core.config.stack.timers
        self._data = self._core.stack.respond(self._transaction, response, now)
        self._interval = timers.t1
        self._deadline = now + timers.timeout
        self._alarm = self._core.at(now + self._interval, self._again)

    def acknowledge(self, prack: Request, invite: Request) -> bool:
        """Take a PRACK; False when it acknowledges nothing that waits (answer 481)."""
        rack = prack.rack
        expected = (self._rseq, invite.cseq.number, "INVITE")
        if not self.pending or rack is None or (rack.rseq, rack.cseq, rack.method) != expected:
            return False
        self._stop_alarm()
        if self._waiting:
            self.send(self._waiting.popleft())
        return True

    def stop(self) -> None:
        """A final response was sent or the call is over."""
        self._waiting.clear()
        self._stop_alarm()

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _again(self) -> None:
        now = self._core.now()
        if now >= self._deadline:
            self._alarm = None
            self._lost()
            return
        self._core.stack.send(self._data, self._transaction.flow)
        self._interval *= 2
        self._alarm = self._core.at(min(now + self._interval, self._deadline), self._again)
