"""Table of an attempt: from a caller's INVITE to one answered callee, or to failure."""

from __future__ import annotations

from gateway.call.state import FINISH, Action, Input, Row, State, Table

_ANSWER = (Action.CHOOSE_CALLEE, Action.ANSWER_CALLER)
_CONFIRM = (Action.CHOOSE_CALLEE, Action.OFFER_CALLER)

BEFORE_ANSWER = (State.CALLING, State.RINGING, State.EARLY)
ALIVE = (State.NEW, *BEFORE_ANSWER, State.CONFIRMING)


def _before_answer(state: State) -> dict[tuple[State, Input], Row]:
    """Return the rows of a state with ringing callees."""
    rows: dict[tuple[State, Input], Row] = {}
    # A callee gets the call after its description is accepted; until then further callees ring on.
    rows[state, Input.CALLEE_ANSWERED] = ((Action.ANSWER_MEDIA,), state)
    rows[state, Input.ANSWER_TAKEN] = (_ANSWER, State.CONNECTED)
    rows[state, Input.CALLEE_TOOK_OFFER] = ((Action.COMMIT_CALLEE,), state)
    rows[state, Input.COUNTER_TAKEN] = (_CONFIRM, State.CONFIRMING)
    # Failure of one callee; further callees ring on.
    for what in (Input.CALLEE_REJECTED, Input.CALLEE_HUNG_UP, Input.CALLEE_FAILED):
        rows[state, what] = ((Action.DROP_CALLEE,), state)
    rows[state, Input.TAKE_PLACE] = ((Action.PICK_UP,), state)
    rows[state, Input.PICKED_UP] = ((Action.END_CALLEES, Action.ANSWER_CALLER, Action.JOIN), State.CONNECTED)
    rows[state, Input.CALLEE_REDIRECTED] = ((Action.REDIRECT,), state)
    rows[state, Input.BRANCH_TIMEOUT] = ((Action.END_BRANCH,), state)
    rows[state, Input.BRANCH_OVER] = ((Action.NEXT_BRANCH,), state)
    rows[state, Input.ALL_REJECTED] = (FINISH, State.ENDED)
    rows[state, Input.RING_TIMEOUT] = ((Action.GIVE_UP,), state)
    return rows


def _table() -> dict[tuple[State, Input], Row]:
    rows: dict[tuple[State, Input], Row] = {
        (State.NEW, Input.START): (
            (Action.OFFER_MEDIA, Action.ACCEPT_EARLY, Action.INVITE_CALLEES),
            State.CALLING,
        ),
        (State.CALLING, Input.CALLEE_RINGING): ((Action.RING_CALLER,), State.RINGING),
        (State.CALLING, Input.CALLEE_EARLY_MEDIA): ((Action.EARLY_MEDIA,), State.CALLING),
        (State.RINGING, Input.CALLEE_RINGING): ((), State.RINGING),
        (State.RINGING, Input.CALLEE_EARLY_MEDIA): ((Action.EARLY_MEDIA,), State.RINGING),
        (State.CALLING, Input.PREVIEW_TAKEN): ((), State.EARLY),
        (State.RINGING, Input.PREVIEW_TAKEN): ((), State.EARLY),
        (State.EARLY, Input.CALLEE_RINGING): ((), State.EARLY),
        # The first early description is committed; changes take effect with the answer. The next callee is heard once
        # the first is silent or gone.
        (State.EARLY, Input.CALLEE_EARLY_MEDIA): ((Action.EARLY_MEDIA,), State.EARLY),
        (State.EARLY, Input.PREVIEW_TAKEN): ((), State.EARLY),
        (State.EARLY, Input.MEDIA_TIMEOUT): ((Action.HEAR_ANOTHER,), State.EARLY),
        # Announcements before the answer may ask for digits.
        (State.EARLY, Input.DIGIT): ((Action.PASS_DIGIT,), State.EARLY),
        (State.EARLY, Input.DIGIT_REFUSED): ((Action.PLAY_DIGIT,), State.EARLY),
        (State.CONFIRMING, Input.CALLER_CONFIRMED): ((Action.COMMIT_CALLER, Action.JOIN), State.CONNECTED),
        (State.CONFIRMING, Input.OFFER_TIMEOUT): (FINISH, State.ENDED),
        (State.CONFIRMING, Input.CALLEE_HUNG_UP): (FINISH, State.ENDED),
        (State.CONFIRMING, Input.CALLEE_FAILED): (FINISH, State.ENDED),
    }
    for state in BEFORE_ANSWER:
        rows |= _before_answer(state)
    for state in (*BEFORE_ANSWER, State.CONFIRMING):
        # A second offer is rejected while the first is open (RFC 3311 section 5.2).
        early = Action.ANSWER_EARLY_OFFER if state in BEFORE_ANSWER else Action.REFUSE_GLARE
        rows[state, Input.OFFERED] = ((early,), state)
        rows[state, Input.OFFER_WANTED] = ((Action.REFUSE_GLARE,), state)
        rows[state, Input.LEG_AWAY] = ((Action.WAIT_FOR_RETURN,), state)
        rows[state, Input.LEG_RETURNED] = ((Action.TAKE_BACK,), state)
        rows[state, Input.REATTACH_TIMEOUT] = (FINISH, State.ENDED)
        rows[state, Input.CANDIDATE] = ((Action.ADD_CANDIDATE,), state)
        rows[state, Input.MEDIA_CONNECTED] = ((Action.NOTE_MEDIA,), state)
    for state in ALIVE:
        for what in (Input.CALLER_HUNG_UP, Input.MEDIA_FAILED, Input.FAULT, Input.STOP):
            rows[state, what] = (FINISH, State.ENDED)
    return rows


TABLE: Table = _table()

ENDS_UNANSWERED = frozenset(
    what
    for (state, what), (actions, target) in TABLE.items()
    if state is State.CALLING and (target is State.ENDED or Action.GIVE_UP in actions)
)
"""Inputs that end an unanswered attempt."""
