"""State table of an INVITE session from first request to BYE (RFC 3261 9, 13, 15; RFC 6026).

The table chooses between CANCEL and BYE, and decides when ACK is due and when BYE must wait for ACK. Transactions and
dialogs are unknown here: the user agent runs the actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class SessionState(Enum):
    """State of the session."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    IDLE = "idle"
    CALLING = "INVITE sent, nothing heard"
    PROCEEDING = "a 1xx came"
    GIVING_UP = "to be cancelled as soon as a 1xx comes"
    CANCELLING = "CANCEL sent"
    INCOMING = "INVITE received"
    ACCEPTED = "2xx sent, no ACK yet"
    LEAVING = "2xx sent, to be ended as soon as the ACK comes"
    CONFIRMED = "both sides agreed"
    AWAITING = "a 2xx that we cannot use was ended, another branch may answer"
    ENDED = "over"


class SessionInput(Enum):
    """Inputs of the table; `CALL` and `HANG_UP` to `REFUSE_ANSWER` come from our side."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    CALL = "we call"
    HANG_UP = "we end it"
    RING = "we send 101-199"
    ACCEPT = "we send 2xx"
    REJECT = "we send 300-699"
    REFUSE_ANSWER = "we cannot use the 2xx, and other branches ring"
    INVITED = "an INVITE came"
    PROVISIONAL = "a 1xx came"
    RETRIED = "the INVITE went out anew: to another server, or with credentials"
    SUCCESS = "the first 2xx came"
    LATER_SUCCESS = "a 2xx of another branch came, or one after the end"
    FAILURE = "a 300-699 came, or nobody answered"
    CANCELLED = "a CANCEL came"
    ACKNOWLEDGED = "the ACK of our 2xx came"
    NOT_ACKNOWLEDGED = "no ACK in 64*T1"
    BYE = "a BYE came"
    LOST = "a request in the dialog got 408, 481 or no answer; a session timer ran out"


class SessionAction(Enum):
    """Actions of the user agent, run in order."""

    __hash__ = object.__hash__  # identity hash: Enum's own costs a Python call at each table look-up

    SEND_INVITE = "send the INVITE"
    SEND_CANCEL = "send CANCEL"
    SEND_ACK = "send the ACK of the 2xx"
    SEND_BYE = "send BYE in the confirmed dialog"
    LEAVE_ANSWER = "send BYE in the confirmed dialog, and take those of other branches in its place"
    END_BRANCH = "acknowledge that branch's 2xx and send BYE in its dialog"
    SEND_PROVISIONAL = "send the 101-199"
    SEND_SUCCESS = "send the 2xx"
    SEND_FAILURE = "send the 300-699"
    SEND_TERMINATED = "send 487 to the INVITE"
    ANSWER_BYE = "send 200 to the BYE"
    TELL_RINGING = "tell the user that it progresses"
    TELL_ANSWERED = "tell the user that it was answered"
    TELL_ESTABLISHED = "tell the user that the peer acknowledged"
    TELL_ENDED = "tell the user that it is over"


_S, _I, _A = SessionState, SessionInput, SessionAction
Rows = Mapping[tuple[SessionState, SessionInput], tuple[tuple[SessionAction, ...], SessionState]]

TABLE: Rows = {
    (_S.IDLE, _I.CALL): ((_A.SEND_INVITE,), _S.CALLING),
    # A CANCEL before the first 1xx might overtake the INVITE (9.1), so giving up waits for a 1xx.
    (_S.CALLING, _I.PROVISIONAL): ((_A.TELL_RINGING,), _S.PROCEEDING),
    (_S.CALLING, _I.SUCCESS): ((_A.SEND_ACK, _A.TELL_ANSWERED), _S.CONFIRMED),
    (_S.CALLING, _I.FAILURE): ((_A.TELL_ENDED,), _S.ENDED),
    (_S.CALLING, _I.HANG_UP): ((), _S.GIVING_UP),
    (_S.CALLING, _I.LOST): ((), _S.GIVING_UP),
    **{
        (state, _I.LATER_SUCCESS): ((_A.END_BRANCH,), state)
        for state in (_S.CALLING, _S.PROCEEDING, _S.GIVING_UP, _S.CANCELLING, _S.CONFIRMED, _S.AWAITING, _S.ENDED)
    },
    (_S.CALLING, _I.RETRIED): ((), _S.CALLING),
    # A CANCEL waits for a 1xx to its own INVITE.
    (_S.PROCEEDING, _I.RETRIED): ((), _S.CALLING),
    (_S.PROCEEDING, _I.PROVISIONAL): ((_A.TELL_RINGING,), _S.PROCEEDING),
    (_S.PROCEEDING, _I.SUCCESS): ((_A.SEND_ACK, _A.TELL_ANSWERED), _S.CONFIRMED),
    (_S.PROCEEDING, _I.FAILURE): ((_A.TELL_ENDED,), _S.ENDED),
    (_S.PROCEEDING, _I.HANG_UP): ((_A.SEND_CANCEL,), _S.CANCELLING),
    (_S.PROCEEDING, _I.LOST): ((_A.SEND_CANCEL,), _S.CANCELLING),
    # A BYE in an early dialog ends one branch (15); a CANCEL, answered by 487 to the INVITE, ends the rest.
    (_S.PROCEEDING, _I.BYE): ((_A.ANSWER_BYE, _A.SEND_CANCEL), _S.CANCELLING),
    (_S.GIVING_UP, _I.PROVISIONAL): ((_A.SEND_CANCEL,), _S.CANCELLING),
    (_S.GIVING_UP, _I.SUCCESS): ((_A.SEND_ACK, _A.SEND_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.GIVING_UP, _I.FAILURE): ((_A.TELL_ENDED,), _S.ENDED),
    (_S.CANCELLING, _I.PROVISIONAL): ((), _S.CANCELLING),
    # The 2xx crossed the CANCEL: the call exists and only BYE ends it.
    (_S.CANCELLING, _I.SUCCESS): ((_A.SEND_ACK, _A.SEND_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.CANCELLING, _I.FAILURE): ((_A.TELL_ENDED,), _S.ENDED),
    (_S.CANCELLING, _I.BYE): ((_A.ANSWER_BYE,), _S.CANCELLING),
    (_S.IDLE, _I.INVITED): ((), _S.INCOMING),
    (_S.INCOMING, _I.RING): ((_A.SEND_PROVISIONAL,), _S.INCOMING),
    (_S.INCOMING, _I.ACCEPT): ((_A.SEND_SUCCESS,), _S.ACCEPTED),
    (_S.INCOMING, _I.REJECT): ((_A.SEND_FAILURE,), _S.ENDED),
    (_S.INCOMING, _I.HANG_UP): ((_A.SEND_FAILURE,), _S.ENDED),
    (_S.INCOMING, _I.CANCELLED): ((_A.SEND_TERMINATED, _A.TELL_ENDED), _S.ENDED),
    (_S.INCOMING, _I.BYE): ((_A.ANSWER_BYE, _A.SEND_TERMINATED, _A.TELL_ENDED), _S.ENDED),
    (_S.INCOMING, _I.LOST): ((_A.SEND_FAILURE, _A.TELL_ENDED), _S.ENDED),
    (_S.ACCEPTED, _I.ACKNOWLEDGED): ((_A.TELL_ESTABLISHED,), _S.CONFIRMED),
    # Without ACK the session is ended by BYE (13.3.1.4).
    (_S.ACCEPTED, _I.NOT_ACKNOWLEDGED): ((_A.SEND_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.ACCEPTED, _I.BYE): ((_A.ANSWER_BYE, _A.TELL_ENDED), _S.ENDED),
    # The callee may not send BYE before the ACK or the end of the transaction (15).
    (_S.ACCEPTED, _I.HANG_UP): ((), _S.LEAVING),
    (_S.ACCEPTED, _I.LOST): ((), _S.LEAVING),
    # A CANCEL after the 2xx has no effect (9.2).
    (_S.ACCEPTED, _I.CANCELLED): ((), _S.ACCEPTED),
    (_S.LEAVING, _I.ACKNOWLEDGED): ((_A.SEND_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.LEAVING, _I.NOT_ACKNOWLEDGED): ((_A.SEND_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.LEAVING, _I.BYE): ((_A.ANSWER_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.LEAVING, _I.CANCELLED): ((), _S.LEAVING),
    (_S.CONFIRMED, _I.HANG_UP): ((_A.SEND_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.CONFIRMED, _I.BYE): ((_A.ANSWER_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.CONFIRMED, _I.LOST): ((_A.SEND_BYE, _A.TELL_ENDED), _S.ENDED),
    # A 2xx completes only its own branch; a 2xx of a later branch arrives within 64*T1 (13.2.2.4).
    (_S.CONFIRMED, _I.REFUSE_ANSWER): ((_A.LEAVE_ANSWER,), _S.AWAITING),
    (_S.AWAITING, _I.SUCCESS): ((_A.SEND_ACK, _A.TELL_ANSWERED), _S.CONFIRMED),
    # After its first 2xx an INVITE cannot be cancelled (9.1).
    (_S.AWAITING, _I.HANG_UP): ((_A.TELL_ENDED,), _S.ENDED),
    (_S.AWAITING, _I.BYE): ((_A.ANSWER_BYE, _A.TELL_ENDED), _S.ENDED),
    (_S.AWAITING, _I.LOST): ((_A.TELL_ENDED,), _S.ENDED),
    (_S.AWAITING, _I.FAILURE): ((_A.TELL_ENDED,), _S.ENDED),
    (_S.ENDED, _I.BYE): ((_A.ANSWER_BYE,), _S.ENDED),
}
"""(state, input) -> (actions, next state)."""


class InviteSession:
    """State of one session; an input without a row is counted in `ignored` and changes nothing."""

    __slots__ = ("ignored", "state")

    def __init__(self) -> None:
        self.state = SessionState.IDLE
        self.ignored = 0

    def step(self, what: SessionInput) -> tuple[SessionAction, ...]:
        """Return the actions for an input, in order."""
        row = TABLE.get((self.state, what))
        if row is None:
            self.ignored += 1
            return ()
        self.state = row[1]
        return row[0]

    @property
    def is_over(self) -> bool:
        """Return True if only late messages can still arrive."""
        return self.state is SessionState.ENDED
