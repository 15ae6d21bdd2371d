"""Causes of the end of a call, each with SIP status, Q.850 cause and a word for the page."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum


class Cause(Enum):
    """Reason for the end of a call or an attempt.

    Values are (word, SIP status, Q.850 cause, sentence). Front ends send the word, which the page translates; SIP
    callers get the status.
    """

    NORMAL = ("normal", 200, 16, "The call ended.")
    CANCELLED = ("cancelled", 487, 16, "The caller gave up.")
    ELSEWHERE = ("elsewhere", 487, 26, "Answered on another device.")
    NOT_FOUND = ("not-found", 404, 1, "There is nobody of that name or number.")
    UNAVAILABLE = ("unavailable", 480, 20, "Not reachable at the moment.")
    BUSY = ("busy", 486, 17, "Busy.")
    DECLINED = ("declined", 603, 21, "The call was declined.")
    NO_ANSWER = ("no-answer", 408, 19, "Nobody answered.")
    NOT_ACCEPTABLE = ("not-acceptable", 488, 88, "The two sides have no codec or transport in common.")
    FORBIDDEN = ("forbidden", 403, 21, "This call is not allowed.")
    MEDIA_FAILED = ("media-failed", 500, 41, "The audio connection could not be made.")
    MEDIA_TIMEOUT = ("media-timeout", 500, 41, "The audio connection was lost.")
    LOST = ("lost", 480, 27, "The connection to one side was lost and did not come back.")
    UNREACHABLE = ("unreachable", 480, 27, "The other side's telephone system cannot be reached.")
    PEER_ERROR = ("peer-error", 502, 38, "The other side's telephone system has a fault.")
    LINE_FULL = ("line-full", 503, 34, "Every line to the outside is taken at the moment.")
    ROOM_CLOSED = ("room-closed", 480, 16, "The room was closed.")
    TOO_MANY_OWN = ("too-many-own", 503, 47, "You have as many calls as you may have at once.")
    LIMIT = ("limit", 503, 44, "As many calls are up as there may be at once.")
    GLARE = ("glare", 491, 41, "Both sides changed the call at the same moment.")
    OVERLOADED = ("overloaded", 503, 42, "Too many calls at the moment.")
    OUT_OF_SERVICE = ("out-of-service", 503, 41, "The gateway cannot take the call at the moment.")
    ERROR = ("error", 500, 41, "Something went wrong in the gateway.")

    def __init__(self, word: str, status: int, q850: int, sentence: str) -> None:
        self.word = word
        self.status = status
        self.q850 = q850
        self.sentence = sentence


_BY_WORD = {cause.word: cause for cause in Cause}

_BY_STATUS = {
    400: Cause.PEER_ERROR,
    401: Cause.FORBIDDEN,
    402: Cause.FORBIDDEN,
    403: Cause.FORBIDDEN,
    404: Cause.NOT_FOUND,
    405: Cause.NOT_ACCEPTABLE,
    406: Cause.NOT_ACCEPTABLE,
    407: Cause.FORBIDDEN,
    408: Cause.NO_ANSWER,
    410: Cause.NOT_FOUND,
    413: Cause.PEER_ERROR,
    414: Cause.PEER_ERROR,
    415: Cause.NOT_ACCEPTABLE,
    416: Cause.NOT_FOUND,
    420: Cause.NOT_ACCEPTABLE,
    421: Cause.NOT_ACCEPTABLE,
    422: Cause.PEER_ERROR,
    428: Cause.FORBIDDEN,
    429: Cause.FORBIDDEN,
    430: Cause.UNREACHABLE,
    433: Cause.FORBIDDEN,
    436: Cause.FORBIDDEN,
    437: Cause.FORBIDDEN,
    438: Cause.FORBIDDEN,
    480: Cause.UNAVAILABLE,
    481: Cause.NORMAL,
    482: Cause.UNREACHABLE,
    483: Cause.UNREACHABLE,
    484: Cause.NOT_FOUND,
    485: Cause.NOT_FOUND,
    486: Cause.BUSY,
    487: Cause.CANCELLED,
    488: Cause.NOT_ACCEPTABLE,
    491: Cause.GLARE,
    493: Cause.NOT_ACCEPTABLE,
    494: Cause.NOT_ACCEPTABLE,
    503: Cause.UNREACHABLE,
    504: Cause.NO_ANSWER,
    580: Cause.NOT_ACCEPTABLE,
    600: Cause.BUSY,
    603: Cause.DECLINED,
    604: Cause.NOT_FOUND,
    606: Cause.NOT_ACCEPTABLE,
}


def cause_of_status(status: int) -> Cause:
    """Return the cause of a final SIP response (RFC 3261 section 21); unknown codes by class."""
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    if 200 <= status < 300:
        return Cause.NORMAL
    if 300 <= status < 500:
        return Cause.UNAVAILABLE
    return Cause.DECLINED if status >= 600 else Cause.PEER_ERROR


def cause_of_word(word: str | None, default: Cause = Cause.NORMAL) -> Cause:
    """Return the cause for a front end's word; `default` for an unknown word."""
    return _BY_WORD.get(word or "", default)


_MOST_TELLING = (
    Cause.DECLINED,
    Cause.BUSY,
    Cause.FORBIDDEN,
    Cause.NOT_ACCEPTABLE,
    Cause.MEDIA_FAILED,
    Cause.NO_ANSWER,
    Cause.PEER_ERROR,
    Cause.OVERLOADED,
    Cause.OUT_OF_SERVICE,
    Cause.LIMIT,
    Cause.LINE_FULL,
    Cause.TOO_MANY_OWN,
    Cause.UNAVAILABLE,
    Cause.UNREACHABLE,
    Cause.NOT_FOUND,
)


def most_telling(causes: Sequence[Cause]) -> Cause:
    """Return the cause reported to the caller out of several (RFC 3261 section 16.7 step 6); the last if none ranks."""
    return next((cause for cause in _MOST_TELLING if cause in causes), causes[-1])
