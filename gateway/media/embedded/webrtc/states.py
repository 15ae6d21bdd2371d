"""The life of a WebRTC leg as a table."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class LegState(StrEnum):
    """How far a leg is; `connected` means that media can flow."""

    NEW = "new"
    CHECKING = "checking"
    """The remote description is known, no valid check has come yet."""
    CONNECTING = "connecting"
    """An address is proved; DTLS is under way."""
    CONNECTED = "connected"
    FAILED = "failed"
    CLOSED = "closed"


class LegInput(StrEnum):
    """What can happen to a leg."""

    REMOTE = "remote description"
    PAIR = "address proved"
    PAIR_KEYED = "address proved, keys kept"
    KEYS = "DTLS up"
    REKEY = "new fingerprint"
    RESTART = "ICE restart"
    TIMEOUT = "set-up timer"
    SILENCE = "liveness timer"
    DTLS_FAILED = "DTLS failed"
    CLOSE = "close"


_S, _I = LegState, LegInput
TRANSITIONS: dict[tuple[LegState, LegInput], LegState] = {
    (_S.NEW, _I.REMOTE): _S.CHECKING,
    (_S.CHECKING, _I.PAIR): _S.CONNECTING,
    (_S.CHECKING, _I.PAIR_KEYED): _S.CONNECTED,
    (_S.CHECKING, _I.TIMEOUT): _S.FAILED,
    (_S.CONNECTING, _I.KEYS): _S.CONNECTED,
    (_S.CONNECTING, _I.TIMEOUT): _S.FAILED,
    (_S.CONNECTING, _I.DTLS_FAILED): _S.FAILED,
    (_S.CONNECTING, _I.REKEY): _S.CHECKING,
    (_S.CONNECTED, _I.SILENCE): _S.FAILED,
    (_S.CONNECTED, _I.DTLS_FAILED): _S.FAILED,
    (_S.CONNECTED, _I.REKEY): _S.CHECKING,
    (_S.FAILED, _I.RESTART): _S.CHECKING,
    (_S.FAILED, _I.REKEY): _S.CHECKING,
    **{(state, _I.CLOSE): _S.CLOSED for state in LegState if state is not LegState.CLOSED},
}
"""(state, input) -> state; an input that is not here changes nothing."""

StateHandler = Callable[[LegState, str], None]
"""Called with the new state and, when it failed, one sentence that says why."""
