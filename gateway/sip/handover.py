"""Dialogs that another user agent may go on with in our place: whether they are still ours, and how they are left.

Whoever goes on with a dialog begins with a CSeq far above ours, so that its peer refuses what we would still send in
it (500, RFC 3261 section 12.2.2). Here is what keeps us from answering in it.
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
"""What changes a dialog, or what its peer believes of it."""
_RETRY = (("Retry-After", 2),)
_MOST = 20_000
"""Dialogs of others that are remembered."""


def _yes() -> bool:
    return True


class Handover:
    """Asks whether dialogs are ours before one is changed, and leaves those that are not."""

    def __init__(
        self, stack: Stack, dialogs: DialogTable, sessions: Collection[InviteSession], now: Callable[[], float]
    ) -> None:
        self._stack = stack
        self._dialogs = dialogs
        self._sessions = sessions
        self._now = now
        self._left: OrderedDict[str, float] = OrderedDict()
        """Call-IDs of dialogs that others have now, and until when what was sent to us may still come."""
        self.is_ours: Callable[[], bool] = _yes
        """Whether nobody else can have gone on with our dialogs."""

    def refusal(self, request: Request) -> Refusal | None:
        """Of a request in a dialog that may not be ours any more, if it would change that; its peer is to ask again.

        A 500 ends no dialog (RFC 5057 section 5.1), and a BYE is taken from whoever has it.
        """
        return None if request.method not in _CHANGES or self.is_ours() else Refusal(500, headers=_RETRY)

    def unknown(self, request: Request) -> Refused:
        """What answers a request in a dialog that we do not have: 481, unless somebody else has it."""
        until = self._left.get(request.call_id, 0.0)
        if request.method == "BYE" or until < self._now():
            return Refused(481)
        return Refused(500, headers=(("Retry-After", "2"),))

    def leave(self, call_ids: Collection[str]) -> None:
        """Others have the calls of these Call-IDs: nothing more is sent in them, and who listens hears of an end."""
        for session in [session for session in self._sessions if session.call_id in call_ids]:
            session.machine.state = SessionState.ENDED
            if session.accepted is not None:
                session.accepted.acknowledge()
            session.emit_last(TAKEN)
        for usage in self._dialogs.forget(call_ids):
            usage.drop()
        # Last, so that nothing which the end would have said goes out.
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
