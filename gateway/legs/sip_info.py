"""INFO requests of a SIP leg: digits (RFC 6086), ICE candidates (RFC 8840), key frames (RFC 5168)."""

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
"""Info-Package for digits, sent only to peers that announce it (RFC 6086)."""
_TRICKLE_PACKAGE = "trickle-ice"
_CANDIDATES = 64
"""Largest number of candidates accepted in one ICE session."""


def _not_asked(status: int) -> None:
    """Ignore the response: success shows in the picture."""


class InfoSession(Protocol):
    """INVITE usage, as far as INFO needs it."""

    @property
    def peer_allows(self) -> frozenset[str]:
        """Methods in the far end's Allow; empty if none was sent."""

    @property
    def peer_packages(self) -> frozenset[str]:
        """INFO packages of the far end's Recv-Info, in lower case."""

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
    """INFO requests of one leg."""

    def __init__(self) -> None:
        self._ice_sessions: deque[tuple[str, str]] = deque(maxlen=2)
        """ice-ufrag and ice-pwd of the far end's last two descriptions: the current and a pending one."""
        self._candidates: set[tuple[str, str]] = set()
        """(mid, candidate) pairs received in the latest ICE session; "" marks end-of-candidates."""

    def described(self, sdp: str) -> None:
        """Note a far end's description: its ICE session may send candidates."""
        found = ice_session_of(sdp)
        if found is not None and found not in self._ice_sessions:
            self._ice_sessions.append(found)
            self._candidates.clear()

    def received(self, session: InfoSession, event: events.InfoReceived, deliver: Callable[[LegEvent], None]) -> None:
        """Answer an INFO: a digit after the call has processed it, all else at once.

        `deliver` gets the resulting events.
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
        """Take new candidates of a fragment, which repeats earlier ones (RFC 8840 section 4.3); return the status."""
        try:
            fragment = TrickleFragment.parse(body)
        except SdpSyntaxError:
            return 400
        if (fragment.ice_ufrag, fragment.ice_pwd) not in self._ice_sessions:
            return 200  # ended or unknown ICE session: ignored (RFC 8840 section 4.4)
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
        """Ask the far end for a key frame, if INFO is allowed (RFC 5168)."""
        if not session.peer_allows or "INFO" in session.peer_allows:
            session.info(MEDIA_CONTROL, KEY_FRAME_BODY, done=_not_asked)

    def send_digit(
        self, session: InfoSession, way: Dtmf, digit: str, duration_ms: int, told: Callable[[bool], None]
    ) -> None:
        """Send a digit by INFO if allowed; `told` gets True after a 2xx."""
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

    def answer(got: bool) -> None:
        session.answer_info(event.number, 200 if got else Cause.NOT_ACCEPTABLE.status)

    deliver(DigitPressed(*found, answer))
