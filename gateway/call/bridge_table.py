"""Table of a bridge: two legs that talk, renegotiate, vanish, return and are replaced."""

from __future__ import annotations

from gateway.call.state import FINISH, Action, Input, Row, State, Table

ALIVE = (State.CONNECTED, State.EXCHANGING, State.AWAY)

_EXCHANGE = {
    Input.OFFERED: Action.PASS_OFFER,
    Input.OFFER_WANTED: Action.MAKE_OFFER,
    Input.RENEGOTIATE: Action.OFFER_AGAIN,
}


def _table() -> dict[tuple[State, Input], Row]:
    rows: dict[tuple[State, Input], Row] = {
        # Crossing offers (RFC 3261 section 14): the first on the wire is answered first, and each leg has one open
        # offer.
        (State.EXCHANGING, Input.OFFERED): ((Action.CROSS_OFFERS,), State.EXCHANGING),
        (State.EXCHANGING, Input.OFFER_WANTED): ((Action.CROSS_OFFERS,), State.EXCHANGING),
        (State.EXCHANGING, Input.RENEGOTIATE): ((Action.REMEMBER,), State.EXCHANGING),
        (State.EXCHANGING, Input.OFFER_ANSWERED): ((Action.TAKE_ANSWER,), State.CONNECTED),
        (State.EXCHANGING, Input.OFFER_TIMEOUT): ((Action.GIVE_UP_OFFER,), State.CONNECTED),
        (State.EXCHANGING, Input.OFFER_CANCELLED): ((Action.FORGET_OFFER,), State.CONNECTED),
        # The engine has answered or rejected the offer at once.
        (State.EXCHANGING, Input.EXCHANGE_OVER): ((), State.CONNECTED),
        (State.EXCHANGING, Input.REPLACE): ((Action.GIVE_UP_OFFER, Action.REPLACE_LEG), State.CONNECTED),
        (State.CONNECTED, Input.REPLACE): ((Action.REPLACE_LEG,), State.CONNECTED),
        (State.CONNECTED, Input.LEG_AWAY): ((Action.WAIT_FOR_RETURN,), State.AWAY),
        (State.EXCHANGING, Input.LEG_AWAY): ((Action.GIVE_UP_OFFER, Action.WAIT_FOR_RETURN), State.AWAY),
        (State.AWAY, Input.LEG_AWAY): ((Action.WAIT_FOR_RETURN,), State.AWAY),
        (State.AWAY, Input.LEG_RETURNED): ((Action.TAKE_BACK,), State.AWAY),
        (State.AWAY, Input.ALL_RETURNED): ((Action.JOIN,), State.CONNECTED),
        (State.AWAY, Input.REATTACH_TIMEOUT): (FINISH, State.ENDED),
        # The peer may hold meanwhile; an absent client hears of the hold on return.
        (State.AWAY, Input.OFFERED): ((Action.ANSWER_ALONE,), State.AWAY),
        (State.AWAY, Input.OFFER_WANTED): ((Action.REFUSE_GLARE,), State.AWAY),
        (State.AWAY, Input.RENEGOTIATE): ((Action.REMEMBER,), State.AWAY),
        (State.AWAY, Input.REPLACE): ((Action.REPLACE_LEG,), State.AWAY),
        (State.CONNECTED, Input.TAKE_PLACE): ((Action.ANSWER_NEWCOMER,), State.CONNECTED),
        (State.EXCHANGING, Input.TAKE_PLACE): ((Action.GIVE_UP_OFFER, Action.ANSWER_NEWCOMER), State.CONNECTED),
        (State.AWAY, Input.TAKE_PLACE): ((Action.ANSWER_NEWCOMER,), State.AWAY),
        (State.CONNECTED, Input.GIVE_AWAY): ((Action.GIVE_LEG_AWAY,), State.CONNECTED),
        (State.EXCHANGING, Input.GIVE_AWAY): ((Action.GIVE_UP_OFFER, Action.GIVE_LEG_AWAY), State.CONNECTED),
        (State.AWAY, Input.GIVE_AWAY): ((Action.GIVE_LEG_AWAY,), State.AWAY),
        # A client may report its return before its absence was noticed: the socket was lost, not the media.
        (State.CONNECTED, Input.LEG_RETURNED): ((Action.TAKE_BACK,), State.CONNECTED),
        (State.EXCHANGING, Input.LEG_RETURNED): ((Action.GIVE_UP_OFFER, Action.TAKE_BACK), State.CONNECTED),
        (State.CONNECTED, Input.ALL_RETURNED): ((Action.JOIN,), State.CONNECTED),
    }
    rows |= _transfer_rows()
    for what, action in _EXCHANGE.items():
        rows[State.CONNECTED, what] = ((action,), State.EXCHANGING)
    for state in ALIVE:
        rows[state, Input.DIGIT] = ((Action.PASS_DIGIT,), state)
        rows[state, Input.DIGIT_REFUSED] = ((Action.PLAY_DIGIT,), state)
        rows[state, Input.RENAMED] = ((Action.IDENTIFY,), state)
        rows[state, Input.CANDIDATE] = ((Action.ADD_CANDIDATE,), state)
        rows[state, Input.MEDIA_LOST] = ((Action.LOSE_MEDIA,), state)
        rows[state, Input.MEDIA_CONNECTED] = ((Action.NOTE_MEDIA,), state)
        for what in (
            Input.HUNG_UP,
            Input.MEDIA_TIMEOUT,
            Input.MEDIA_FAILED,
            Input.MAX_DURATION,
            Input.FAULT,
            Input.STOP,
        ):
            rows[state, what] = (FINISH, State.ENDED)
    return rows


def _transfer_rows() -> dict[tuple[State, Input], Row]:
    """Return the rows of a transfer, which runs beside all further inputs; the target enters by REPLACE."""
    rows: dict[tuple[State, Input], Row] = {}
    for state in ALIVE:
        rows[state, Input.TRANSFER] = ((Action.INVITE_TARGETS,), state)
        rows[state, Input.TARGET_RINGING] = ((Action.TELL_RINGING,), state)
        rows[state, Input.TARGET_ANSWERED] = ((Action.COMMIT_TARGET,), state)
        rows[state, Input.TARGET_ASKED_AGAIN] = ((Action.ASK_TARGET_AGAIN,), state)
        rows[state, Input.TARGET_REJECTED] = ((Action.DROP_TARGET,), state)
        rows[state, Input.TRANSFER_FAILED] = ((Action.FAIL_TRANSFER,), state)
        rows[state, Input.TRANSFEROR_GONE] = ((Action.LET_GO,), State.AWAY)
    rows[State.EXCHANGING, Input.TRANSFEROR_GONE] = ((Action.GIVE_UP_OFFER, Action.LET_GO), State.AWAY)
    return rows


TABLE: Table = _table()
