"""State table of a subscription at the notifier (RFC 6665 section 4.2, figure 2).

                     ACCEPT
        +--------+  NOTIFY   +--------+   SUBSCRIBE, CHANGED: NOTIFY; UNCHANGED: none
        |  IDLE  |---------->| ACTIVE |<--+
        +--------+           +--------+---+
             | |                |   | FAILED, LEFT (no NOTIFY any more)
             | | FETCH          |   +----------------+
             | |                |                    |
             | |  UNSUBSCRIBE, FINISH, EXPIRED:      |
             | |   NOTIFY "terminated"               |
             | |                v                    v
             | |         +------------+ NOTIFIED, +------+
             | +-------->| TERMINATED |---------->| GONE |
             |           +------------+   FAILED  +------+
             +--------------------------------------->^
               REFUSE

A NOTIFY waits for the response to the previous NOTIFY, and carries the state at its sending (section 4.2.2); a NOTIFY
of a change also waits for the end of the interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class NotifierState(Enum):
    """State of a subscription."""

    IDLE = "asked for, not answered"
    ACTIVE = "active"
    TERMINATED = "over, the last NOTIFY not answered yet"
    GONE = "over"


class NotifierInput(Enum):
    """Inputs from our side, the subscriber or the clock."""

    ACCEPT = "we accept it"
    FETCH = "we accept it, and it is for once (Expires: 0)"
    REFUSE = "we refuse it"
    CHANGED = "there is news"
    FINISH = "we end it"
    SUBSCRIBE = "a SUBSCRIBE came"
    UNCHANGED = "a SUBSCRIBE came whose sender knows all there is to say (RFC 5839)"
    UNSUBSCRIBE = "a SUBSCRIBE with Expires: 0 came"
    LEFT = "a SUBSCRIBE with Expires: 0 came whose sender knows all there is to say"
    EXPIRED = "its time is over"
    NOTIFIED = "a NOTIFY was answered with 2xx"
    FAILED = "a NOTIFY was refused for good, or not answered"


class NotifierAction(Enum):
    """Actions, run in order."""

    ARM = "start its time anew"
    NOTIFY = "send a NOTIFY, or have one sent when the one before is answered"
    TELL = "have a NOTIFY sent in its time"
    NEXT = "send the NOTIFY that had to wait"
    LEAVE = "leave the dialog"


_Row = tuple[tuple[NotifierAction, ...], NotifierState]


def _table() -> dict[tuple[NotifierState, NotifierInput], _Row]:
    state, what, do = NotifierState, NotifierInput, NotifierAction
    rows: dict[tuple[NotifierState, NotifierInput], _Row] = {
        (state.IDLE, what.ACCEPT): ((do.ARM, do.NOTIFY), state.ACTIVE),
        (state.IDLE, what.FETCH): ((do.NOTIFY,), state.TERMINATED),
        (state.IDLE, what.REFUSE): ((), state.GONE),
        (state.ACTIVE, what.CHANGED): ((do.TELL,), state.ACTIVE),
        (state.ACTIVE, what.SUBSCRIBE): ((do.ARM, do.NOTIFY), state.ACTIVE),
        (state.ACTIVE, what.UNCHANGED): ((do.ARM,), state.ACTIVE),
        (state.ACTIVE, what.LEFT): ((do.LEAVE,), state.GONE),
        (state.ACTIVE, what.NOTIFIED): ((do.NEXT,), state.ACTIVE),
        (state.TERMINATED, what.NOTIFIED): ((do.NEXT,), state.TERMINATED),
    }
    for ending in (what.UNSUBSCRIBE, what.FINISH, what.EXPIRED):
        rows[state.ACTIVE, ending] = ((do.NOTIFY,), state.TERMINATED)
    for alive in (state.ACTIVE, state.TERMINATED):
        rows[alive, what.FAILED] = ((do.LEAVE,), state.GONE)
    return rows


TABLE: Mapping[tuple[NotifierState, NotifierInput], _Row] = _table()
