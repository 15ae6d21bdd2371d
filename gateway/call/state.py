"""The life of a call as one table: (state, input) -> (actions, next state).

An input that has no row is counted and logged by the call, never a crash. The diagram in
docs/calls.md is drawn from this table by `diagram()`.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a call is; every call goes from NEW to ENDED and never back."""

    NEW = "new"
    CALLING = "calling"
    """The callee has our offer; nothing came back yet."""
    RINGING = "ringing"
    EARLY = "early"
    """The callee sends early media (183 with SDP)."""
    CONNECTED = "connected"
    UPDATING = "updating"
    """Connected, and one side's new offer is with the other side."""
    ENDED = "ended"


class Input(Enum):
    """What can happen to a call, whoever it came from."""

    START = "start"
    CALLEE_RINGING = "callee-ringing"
    CALLEE_EARLY_MEDIA = "callee-early-media"
    CALLEE_ANSWERED = "callee-answered"
    CALLEE_REJECTED = "callee-rejected"
    ALL_REJECTED = "all-rejected"
    CALLER_HUNG_UP = "caller-hung-up"
    CALLEE_HUNG_UP = "callee-hung-up"
    REOFFERED = "reoffered"
    UPDATE_ANSWERED = "update-answered"
    UPDATE_TIMEOUT = "update-timeout"
    CANDIDATE = "candidate"
    DIGIT = "digit"
    MEDIA_CONNECTED = "media-connected"
    MEDIA_TIMEOUT = "media-timeout"
    MEDIA_FAILED = "media-failed"
    RING_TIMEOUT = "ring-timeout"
    MAX_DURATION = "max-duration"
    FAULT = "fault"
    STOP = "stop"


class Action(Enum):
    """What the call does about it; each is one method of Call."""

    OFFER_MEDIA = "offer_media"
    """Have the engine turn the caller's offer into one for each callee."""
    ACCEPT_EARLY = "accept_early"
    """Answer a browser at once, so that ICE and DTLS come up while the phone rings (C3)."""
    INVITE_CALLEES = "invite_callees"
    RING_CALLER = "ring_caller"
    EARLY_MEDIA = "early_media"
    CHOOSE_CALLEE = "choose_callee"
    """Keep the callee that answered, end every other."""
    ANSWER_MEDIA = "answer_media"
    ANSWER_CALLER = "answer_caller"
    DROP_CALLEE = "drop_callee"
    REOFFER = "reoffer"
    REFUSE_GLARE = "refuse_glare"
    ANSWER_REOFFER = "answer_reoffer"
    GIVE_UP_REOFFER = "give_up_reoffer"
    """The other side never answered: refuse it to the one who asked, all stays as it was."""
    ADD_CANDIDATE = "add_candidate"
    PASS_DIGIT = "pass_digit"
    NOTE_MEDIA = "note_media"
    END_LEGS = "end_legs"
    """Tell every leg that is still there why the call is over."""
    DELETE_MEDIA = "delete_media"


Row = tuple[tuple[Action, ...], State]

_FINISH = (Action.END_LEGS, Action.DELETE_MEDIA)
_ANSWER = (Action.CHOOSE_CALLEE, Action.ANSWER_MEDIA, Action.ANSWER_CALLER)

BEFORE_ANSWER = (State.CALLING, State.RINGING, State.EARLY)
ANSWERED = (State.CONNECTED, State.UPDATING)
ALIVE = (State.NEW, *BEFORE_ANSWER, *ANSWERED)


def _table() -> dict[tuple[State, Input], Row]:
    rows: dict[tuple[State, Input], Row] = {
        (State.NEW, Input.START): (
            (Action.OFFER_MEDIA, Action.ACCEPT_EARLY, Action.INVITE_CALLEES),
            State.CALLING,
        ),
        (State.CALLING, Input.CALLEE_RINGING): ((Action.RING_CALLER,), State.RINGING),
        (State.CALLING, Input.CALLEE_EARLY_MEDIA): ((Action.EARLY_MEDIA,), State.EARLY),
        (State.RINGING, Input.CALLEE_RINGING): ((), State.RINGING),
        (State.RINGING, Input.CALLEE_EARLY_MEDIA): ((Action.EARLY_MEDIA,), State.EARLY),
        (State.EARLY, Input.CALLEE_RINGING): ((), State.EARLY),
        # The first early description is committed; a changed one takes effect with the answer (C9).
        (State.EARLY, Input.CALLEE_EARLY_MEDIA): ((), State.EARLY),
        (State.CONNECTED, Input.REOFFERED): ((Action.REOFFER,), State.UPDATING),
        (State.UPDATING, Input.REOFFERED): ((Action.REFUSE_GLARE,), State.UPDATING),
        (State.UPDATING, Input.UPDATE_ANSWERED): ((Action.ANSWER_REOFFER,), State.CONNECTED),
        (State.UPDATING, Input.UPDATE_TIMEOUT): ((Action.GIVE_UP_REOFFER,), State.CONNECTED),
        # Announcements before the answer may ask for digits.
        (State.EARLY, Input.DIGIT): ((Action.PASS_DIGIT,), State.EARLY),
    }
    for state in BEFORE_ANSWER:
        rows[state, Input.CALLEE_ANSWERED] = (_ANSWER, State.CONNECTED)
        rows[state, Input.CALLEE_REJECTED] = ((Action.DROP_CALLEE,), state)
        rows[state, Input.CALLEE_HUNG_UP] = ((Action.DROP_CALLEE,), state)
        rows[state, Input.ALL_REJECTED] = (_FINISH, State.ENDED)
        rows[state, Input.RING_TIMEOUT] = (_FINISH, State.ENDED)
        # The first offer is still open: a second one is refused (RFC 3311 section 5.2).
        rows[state, Input.REOFFERED] = ((Action.REFUSE_GLARE,), state)
    for state in ANSWERED:
        rows[state, Input.CALLEE_HUNG_UP] = (_FINISH, State.ENDED)
        rows[state, Input.MEDIA_TIMEOUT] = (_FINISH, State.ENDED)
        rows[state, Input.MAX_DURATION] = (_FINISH, State.ENDED)
        rows[state, Input.DIGIT] = ((Action.PASS_DIGIT,), state)
    for state in ALIVE:
        rows[state, Input.CALLER_HUNG_UP] = (_FINISH, State.ENDED)
        rows[state, Input.MEDIA_FAILED] = (_FINISH, State.ENDED)
        rows[state, Input.FAULT] = (_FINISH, State.ENDED)
        rows[state, Input.STOP] = (_FINISH, State.ENDED)
        if state is not State.NEW:
            rows[state, Input.CANDIDATE] = ((Action.ADD_CANDIDATE,), state)
            rows[state, Input.MEDIA_CONNECTED] = ((Action.NOTE_MEDIA,), state)
    return rows


TABLE = _table()

ENDS_UNANSWERED = frozenset(
    what for (state, what), (_, target) in TABLE.items() if state is State.CALLING and target is State.ENDED
)
"""Inputs that end a call whose callee has not answered yet."""


def diagram() -> str:
    """The table as a Mermaid state diagram, one arrow for each pair of states."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, what), (_, target) in TABLE.items():
        if target is not state:
            arrows.setdefault((state, target), []).append(what.value)
    lines = ["stateDiagram-v2", f"    [*] --> {State.NEW.value}"]
    for (state, target), inputs in arrows.items():
        lines.append(f"    {state.value} --> {target.value}: {', '.join(sorted(inputs))}")
    lines.append(f"    {State.ENDED.value} --> [*]")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(diagram())
