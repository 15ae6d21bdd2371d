"""Changing a session by re-INVITE without two of them crossing, as one table (RFC 3261 section 14)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from gateway.sip.invite.offer_answer import glare_delay


class ReinviteState(Enum):
    """Which re-INVITE is under way."""

    IDLE = "none"
    OUTGOING = "ours"
    INCOMING = "the peer's"
    INCOMING_FIRST = "the peer's, ours waits for it"
    BACKING_OFF = "none; ours was refused with 491 and waits"
    INCOMING_BACKING_OFF = "the peer's, while ours waits after a 491"


class ReinviteInput(Enum):
    """What happens; a final response to our re-INVITE is one of the last four."""

    WANTED = "our user wants to change the session"
    RECEIVED = "a re-INVITE came"
    SETTLED = "the received re-INVITE was refused, or its 2xx was acknowledged"
    TIMER = "the wait after a 491 is over"
    SUCCESS = "2xx"
    GLARE = "491"
    FAILURE = "another 300-699"
    GONE = "481, 408 or no answer"


class ReinviteAction(Enum):
    """What the user agent is to do."""

    SEND = "send the re-INVITE"
    ASK_USER = "let the user answer the received one"
    REFUSE_GLARE = "answer 491"
    REFUSE_OVERLAP = "answer 500 with a Retry-After of 0 to 10 s"
    BACK_OFF = "wait, then try again"
    TELL_CHANGED = "tell the user that the session is changed"
    TELL_UNCHANGED = "tell the user that the session stays as it was"
    END = "end the dialog"


_S, _I, _A = ReinviteState, ReinviteInput, ReinviteAction

TABLE: Mapping[tuple[ReinviteState, ReinviteInput], tuple[tuple[ReinviteAction, ...], ReinviteState]] = {
    (_S.IDLE, _I.WANTED): ((_A.SEND,), _S.OUTGOING),
    (_S.IDLE, _I.RECEIVED): ((_A.ASK_USER,), _S.INCOMING),
    (_S.OUTGOING, _I.RECEIVED): ((_A.REFUSE_GLARE,), _S.OUTGOING),
    (_S.OUTGOING, _I.SUCCESS): ((_A.TELL_CHANGED,), _S.IDLE),
    (_S.OUTGOING, _I.GLARE): ((_A.BACK_OFF,), _S.BACKING_OFF),
    (_S.OUTGOING, _I.FAILURE): ((_A.TELL_UNCHANGED,), _S.IDLE),
    (_S.OUTGOING, _I.GONE): ((_A.END,), _S.IDLE),
    (_S.INCOMING, _I.RECEIVED): ((_A.REFUSE_OVERLAP,), _S.INCOMING),
    (_S.INCOMING, _I.SETTLED): ((), _S.IDLE),
    (_S.INCOMING, _I.WANTED): ((), _S.INCOMING_FIRST),
    (_S.INCOMING_FIRST, _I.RECEIVED): ((_A.REFUSE_OVERLAP,), _S.INCOMING_FIRST),
    (_S.INCOMING_FIRST, _I.SETTLED): ((_A.SEND,), _S.OUTGOING),
    (_S.INCOMING_FIRST, _I.WANTED): ((), _S.INCOMING_FIRST),
    (_S.BACKING_OFF, _I.TIMER): ((_A.SEND,), _S.OUTGOING),
    (_S.BACKING_OFF, _I.RECEIVED): ((_A.ASK_USER,), _S.INCOMING_BACKING_OFF),
    (_S.BACKING_OFF, _I.WANTED): ((), _S.BACKING_OFF),
    (_S.INCOMING_BACKING_OFF, _I.RECEIVED): ((_A.REFUSE_OVERLAP,), _S.INCOMING_BACKING_OFF),
    (_S.INCOMING_BACKING_OFF, _I.SETTLED): ((), _S.BACKING_OFF),
    (_S.INCOMING_BACKING_OFF, _I.TIMER): ((), _S.INCOMING_FIRST),
    (_S.INCOMING_BACKING_OFF, _I.WANTED): ((), _S.INCOMING_BACKING_OFF),
}
"""(state, input) -> (actions, next state)."""


class Reinvite:
    """One confirmed dialog's re-INVITE state; also serves UPDATE, whose 491 rule is the same (RFC 3311 5.2).

    After `max_glares` refusals in a row the change is given up: TELL_UNCHANGED.
    """

    __slots__ = ("_glares", "_max_glares", "_owns_call_id", "deadline", "ignored", "state")

    def __init__(self, owns_call_id: bool, max_glares: int = 8) -> None:
        self._owns_call_id = owns_call_id
        self._max_glares = max_glares
        self._glares = 0
        self.state = ReinviteState.IDLE
        self.deadline: float | None = None
        """When `TIMER` is due, in the caller's seconds; None when nothing waits."""
        self.ignored = 0

    def step(self, what: ReinviteInput, now: float, random: float) -> tuple[ReinviteAction, ...]:
        """The actions for an input; `random` in [0, 1) spreads the wait after a 491."""
        if what is ReinviteInput.GLARE and self.state is ReinviteState.OUTGOING:
            self._glares += 1
            if self._glares >= self._max_glares:
                what = ReinviteInput.FAILURE
        row = TABLE.get((self.state, what))
        if row is None:
            self.ignored += 1
            return ()
        actions, self.state = row
        if ReinviteAction.BACK_OFF in actions:
            self.deadline = now + glare_delay(self._owns_call_id, random)
        elif what is ReinviteInput.TIMER:
            self.deadline = None
        if what in (ReinviteInput.SUCCESS, ReinviteInput.FAILURE, ReinviteInput.GONE):
            self._glares = 0
        return actions

    def tick(self, now: float, random: float) -> tuple[ReinviteAction, ...]:
        """Run `TIMER` if it is due."""
        if self.deadline is None or now < self.deadline:
            return ()
        return self.step(ReinviteInput.TIMER, now, random)
