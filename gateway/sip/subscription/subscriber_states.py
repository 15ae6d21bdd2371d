"""State table of a subscription at the subscriber (RFC 6665 section 4.1.2, figure 1).

              +---------+  NOTIFIED   +--------+  NOTIFIED: tell
              | WAITING |------------>| ACTIVE |<--+  REFRESHED: arm
              +---------+             +--------+---+  REFRESH_DUE: SUBSCRIBE
                |  |  | END            |     | END: SUBSCRIBE "Expires: 0"
       REFUSED, |  |  |                |     v
       SILENCE, |  |  |                |   +---------+
        ENDED   |  |  |         ENDED, |   | LEAVING |
                |  |  |  LOST, EXPIRED |   +---------+
                v  |  v                v     | ENDED, SILENCE
              +----------------------------------+
              |               OVER               |
              +----------------------------------+

The first NOTIFY creates the dialog, not the 2xx of the SUBSCRIBE (section 4.1.2.4); a NOTIFY before the 2xx counts
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class SubscriberState(Enum):
    """State of our subscription."""

    WAITING = "asked for, no NOTIFY yet"
    ACTIVE = "pending or active"
    LEAVING = "ended by us, the last NOTIFY not there yet"
    OVER = "over"


class SubscriberInput(Enum):
    """Inputs from the notifier, our side or the clock."""

    ACCEPTED = "the SUBSCRIBE was answered with 2xx"
    REFUSED = "it was refused, or not answered"
    NOTIFIED = "a NOTIFY came"
    ENDED = "a NOTIFY came that is the last"
    REFRESH_DUE = "half of its time is over"
    REFRESHED = "a SUBSCRIBE in the dialog was answered with 2xx"
    LOST = "one was answered with what ends the subscription"
    EXPIRED = "its time is over"
    SILENCE = "no NOTIFY came in time (timer N)"
    END = "we end it"


class SubscriberAction(Enum):
    """Actions, run in order."""

    AWAIT = "start timer N"
    ARM = "look at its time anew"
    TELL = "tell the listener what was notified"
    REFRESH = "send a SUBSCRIBE in the dialog"
    LEAVE = "send a SUBSCRIBE with Expires: 0 in the dialog"
    STOP = "leave the dialog, and tell the listener that it is over"


_Row = tuple[tuple[SubscriberAction, ...], SubscriberState]
_S, _I, _A = SubscriberState, SubscriberInput, SubscriberAction

TABLE: Mapping[tuple[SubscriberState, SubscriberInput], _Row] = {
    (_S.WAITING, _I.ACCEPTED): ((_A.AWAIT,), _S.WAITING),
    (_S.WAITING, _I.REFUSED): ((_A.STOP,), _S.OVER),
    (_S.WAITING, _I.NOTIFIED): ((_A.ARM, _A.TELL), _S.ACTIVE),
    (_S.WAITING, _I.ENDED): ((_A.TELL, _A.STOP), _S.OVER),
    (_S.WAITING, _I.SILENCE): ((_A.STOP,), _S.OVER),
    (_S.WAITING, _I.END): ((_A.STOP,), _S.OVER),
    (_S.ACTIVE, _I.NOTIFIED): ((_A.ARM, _A.TELL), _S.ACTIVE),
    (_S.ACTIVE, _I.REFRESH_DUE): ((_A.REFRESH,), _S.ACTIVE),
    (_S.ACTIVE, _I.REFRESHED): ((_A.ARM,), _S.ACTIVE),
    (_S.ACTIVE, _I.ENDED): ((_A.TELL, _A.STOP), _S.OVER),
    (_S.ACTIVE, _I.LOST): ((_A.STOP,), _S.OVER),
    (_S.ACTIVE, _I.EXPIRED): ((_A.STOP,), _S.OVER),
    (_S.ACTIVE, _I.END): ((_A.LEAVE, _A.AWAIT), _S.LEAVING),
    (_S.LEAVING, _I.NOTIFIED): ((), _S.LEAVING),
    (_S.LEAVING, _I.REFRESHED): ((), _S.LEAVING),
    (_S.LEAVING, _I.ENDED): ((_A.STOP,), _S.OVER),
    (_S.LEAVING, _I.LOST): ((_A.STOP,), _S.OVER),
    (_S.LEAVING, _I.SILENCE): ((_A.STOP,), _S.OVER),
}
