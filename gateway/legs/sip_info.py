"""What INFO carries to and from the far end of a SIP leg: digits (RFC 6086), ICE candidates (RFC 8840), key frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from gateway.call.leg import CandidateAdded, DigitPressed, KeyFrameRequested, LegEvent
from gateway.call.status import Cause
from gateway.legs.sip_bodies import (
    DIGIT_TYPES,
    KEY_FRAME_BODY,
    MEDIA_CONTROL,
    asks_for_key_frame,
    digit_body,
    digit_of,
    ice_session_of,
)
from gateway.media.engine import Dtmf
from gateway.sip.invite import events
from sdp.errors import SdpSyntaxError
from sdp.trickle import CONTENT_TYPE, TrickleFragment

_DIGIT_PACKAGE = "infodtmf"
"""Info-Package that some peers name for digits; said only to those (RFC 6086)."""
_TRICKLE_PACKAGE = "trickle-ice"
_CANDIDATES = 64
"""Candidates that are taken of one ICE session."""


def _not_asked(status: int) -> None:
    """Whether it was taken shows in the picture."""


class InfoSession(Protocol):
    """The INVITE usage as far as its INFOs go."""

    @property
    def peer_allows(self) -> frozenset[str]:
        """Methods that the far end takes; empty: it has not said."""

    @property
    def peer_packages(self) -> frozenset[str]:
        """INFO packages that the far end takes, in lower case."""

    def info(
        self,
        content_type: str,
        body: bytes,
        *,
        package: str | None = None,
        done: Callable[[int], None] | None = None,
        instead: tuple[str, bytes] | None = None,
    ) -> None: ...

    def answer_info(self, number: int, status: int) -> None: ...


class LegInfos:
    """The INFOs of one leg."""

    def __init__(self) -> None:
        self._ice_sessions: deque[tuple[str, str]] = deque(maxlen=2)
        """ice-ufrag and ice-pwd of the far end's last two descriptions: the one that stands, and one under way."""
        self._candidates: set[tuple[str, str]] = set()
        """(mid, candidate) that were taken, "" for the end; of the latest ICE session."""

    def described(self, sdp: str) -> None:
        """The far end has described itself: candidates of this ICE session may follow."""
        found = ice_session_of(sdp)
        if found is not None and found not in self._ice_sessions:
            self._ice_sessions.append(found)
            self._candidates.clear()

    def received(self, session: InfoSession, event: events.InfoReceived, deliver: Callable[[LegEvent], None]) -> None:
        """Answer an INFO of the far end: a digit once the call knows what became of it, candidates at once.

        `deliver` gets the events that they are to the call.
        """
        if event.package == _TRICKLE_PACKAGE and event.content_type == CONTENT_TYPE:
            session.answer_info(event.number, self._trickled(event.body, deliver))
        elif event.package != _TRICKLE_PACKAGE and event.content_type in DIGIT_TYPES:
            _take_digit(session, event, deliver)
        elif event.content_type == MEDIA_CONTROL:
            asked = asks_for_key_frame(event.body)
            session.answer_info(event.number, 200 if asked else 400)
            if asked:
                deliver(KeyFrameRequested())
        else:
            session.answer_info(event.number, 415)

    def _trickled(self, body: bytes, deliver: Callable[[LegEvent], None]) -> int:
        """Take the candidates of a fragment; each says all there were so far (RFC 8840 section 4.3). The status."""
        try:
            fragment = TrickleFragment.parse(body)
        except SdpSyntaxError:
            return 400
        if (fragment.ice_ufrag, fragment.ice_pwd) not in self._ice_sessions:
            return 200  # of an ICE session that is over, or not known yet: to be ignored (RFC 8840 section 4.4)
        for media in fragment.media:
            is_last = media.end_of_candidates or fragment.end_of_candidates
            for candidate in (*media.candidates, *([""] if is_last else ())):
                self._candidate(candidate, media.mid, deliver)
        return 200

    def _candidate(self, candidate: str, mid: str, deliver: Callable[[LegEvent], None]) -> None:
        if (mid, candidate) not in self._candidates and len(self._candidates) < _CANDIDATES:
            self._candidates.add((mid, candidate))
            deliver(CandidateAdded(candidate, mid))

    def ask_key_frame(self, session: InfoSession) -> None:
        """Ask the far end for a key frame, where it may be sent an INFO (RFC 5168)."""
        if not session.peer_allows or "INFO" in session.peer_allows:
            session.info(MEDIA_CONTROL, KEY_FRAME_BODY, done=_not_asked)

    def send_digit(
        self, session: InfoSession, way: Dtmf, digit: str, duration_ms: int, told: Callable[[bool], None]
    ) -> None:
        """Send a digit by INFO where the far end may be sent one; `told` hears whether it has taken it."""
        refuses = way is Dtmf.AUTO and session.peer_allows and "INFO" not in session.peer_allows
        if refuses or way not in (Dtmf.AUTO, Dtmf.INFO):
            told(False)
            return
        usual, other = ((kind, digit_body(kind, digit, duration_ms)) for kind in DIGIT_TYPES)
        package = _DIGIT_PACKAGE if _DIGIT_PACKAGE in session.peer_packages else None
        session.info(*usual, package=package, done=lambda status: told(200 <= status < 300), instead=other)


def _take_digit(session: InfoSession, event: events.InfoReceived, deliver: Callable[[LegEvent], None]) -> None:
    found = digit_of(event.content_type, event.body)
    if found is None:
        session.answer_info(event.number, 400)
        return

    def told(got: bool) -> None:
        session.answer_info(event.number, 200 if got else Cause.NOT_ACCEPTABLE.status)

    deliver(DigitPressed(*found, told))
