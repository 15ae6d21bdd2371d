"""Retransmission of our 2xx to an INVITE until the ACK (RFC 3261 13.3.1.4)."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.alarms import Alarm
from gateway.sip.dialogs.ports import Core
from gateway.sip.dialogs.usage import DialogUsage
from gateway.sip.flow import Flow
from gateway.sip.transactions.via import same_way


class AcceptedInvite:
    """Retransmits the 2xx (`data`, already sent) after T1, doubling up to T2, until `acknowledge`; after 64*T1 calls
    `lost`."""

    __slots__ = ("_alarm", "_core", "_deadline", "_interval", "_lost", "_owner", "cseq", "data", "flow", "may_be_lost")

    def __init__(
        self,
        core: Core,
        owner: DialogUsage,
        flow: Flow,
        cseq: int,
        data: bytes,
        lost: Callable[[], None],
        *,
        left: float | None = None,
    ) -> None:
        """`flow`: destination of the 2xx. `cseq`: number of its INVITE.

        `left`: seconds to retransmit instead of 64*T1, for a 2xx first sent by another process; repeats at once.
        """
        now = core.now()
        timers = core.config.stack.timers
        self._core = core
        self._owner: DialogUsage | None = owner
        self._lost: Callable[[], None] | None = lost
        self.flow = flow
        self._interval = timers.t1
        self._deadline = now + (timers.timeout if left is None else left)
        self.data = data
        self._alarm: Alarm[DialogUsage | None] | None = core.at(
            now + (self._interval if left is None else 0.0), self._again, owner
        )
        self.cseq = cseq
        """CSeq number of the INVITE and its ACK."""
        self.may_be_lost = False
        """True if the connection used for the 2xx closed before the ACK."""

    @property
    def is_pending(self) -> bool:
        """Return True while the ACK is missing."""
        return self._alarm is not None

    def flow_lost(self, flow: Flow) -> None:
        """Process the loss of a connection."""
        if self.is_pending and same_way(self.flow, flow):
            self.may_be_lost = True

    def acknowledge(self) -> None:
        """Stop retransmitting, after the ACK or at the end of the session."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._owner = self._lost = None  # references back to this object

    def _again(self) -> None:
        now = self._core.now()
        if now >= self._deadline:
            lost = self._lost
            self.acknowledge()
            assert lost is not None, "it waits"
            lost()
            return
        self._core.send(self.data, self.flow)
        self._interval = min(2 * self._interval, self._core.config.stack.timers.t2)
        self._alarm = self._core.at(min(now + self._interval, self._deadline), self._again, self._owner)
