"""Dialogs that another gateway may have resumed: ownership checks and silent release.

A gateway that resumes a dialog uses a CSeq far above ours, so the peer rejects our further requests (500, RFC 3261
section 12.2.2). The checks here keep us from answering as well.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from gateway.sip.dialogs.table import DialogTable
from gateway.sip.invite.events import Ended, Refused
from gateway.sip.invite.session import InviteSession
from gateway.sip.invite.states import SessionState
from gateway.sip.message.build import Refusal
from gateway.sip.message.message import Request
from gateway.sip.transactions.layer import Stack

TAKEN = Ended("error", 503, text="Another user agent goes on with it")
_CHANGES = frozenset(("INVITE", "UPDATE", "REFER"))
"""Methods that change a dialog, or the peer's view of one."""
_RETRY = (("Retry-After", 2),)
_MOST = 20_000
"""Released dialogs remembered."""


def _yes() -> bool:
    return True


class Handover:
    """Check ownership of dialogs before a change, and release lost dialogs."""

    def __init__(
        self, stack: Stack, dialogs: DialogTable, sessions: Collection[InviteSession], now: Callable[[], float]
    ) -> None:
        self._stack = stack
        self._dialogs = dialogs
        self._sessions = sessions
        self._now = now
        self._left: OrderedDict[str, float] = OrderedDict()
        """Call-IDs of dialogs resumed elsewhere, with the time until which retransmissions to us may arrive."""
        self.is_ours: Callable[[], bool] = _yes
        """Callback that returns True while no other gateway can have resumed our dialogs."""

    def refusal(self, request: Request) -> Refusal | None:
        """Return a 500 with Retry-After for a change in a dialog of uncertain ownership; None otherwise.

        A 500 ends no dialog (RFC 5057 section 5.1). A BYE is accepted in any case.
        """
        return None if request.method not in _CHANGES or self.is_ours() else Refusal(500, headers=_RETRY)

    def unknown(self, request: Request) -> Refused:
        """Return the refusal of a request in an unknown dialog: 481, or 500 if another gateway resumed the dialog."""
        until = self._left.get(request.call_id, 0.0)
        if request.method == "BYE" or until < self._now():
            return Refused(481)
        return Refused(500, headers=(("Retry-After", "2"),))

    def leave(self, call_ids: Collection[str]) -> None:
        """Release the calls with these Call-IDs, resumed elsewhere: send nothing more and emit their last event."""
        for session in [session for session in self._sessions if session.call_id in call_ids]:
            session.machine.state = SessionState.ENDED
            if session.accepted is not None:
                session.accepted.acknowledge()
            session.emit_last(TAKEN)
        for usage in self._dialogs.forget(call_ids):
            usage.drop()
        # Last, so that messages queued by the end are dropped too.
        self._stack.forget(call_ids)
        self._remember(call_ids)

    def _remember(self, call_ids: Collection[str]) -> None:
        now = self._now()
        until = now + self._stack.config.timers.timeout
        for call_id in call_ids:
            self._left[call_id] = until
            self._left.move_to_end(call_id)
        while self._left and (len(self._left) > _MOST or next(iter(self._left.values())) < now):
            self._left.popitem(last=False)
