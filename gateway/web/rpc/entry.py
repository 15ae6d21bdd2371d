"""One call of a JSON-RPC connection: what is known of it, and what its client is told."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gateway.call.leg import Verdict
from gateway.call.status import Cause
from gateway.web.facade import WebCall
from gateway.web.outbox import Close

_REMEMBERED = 64
"""Notifications of one call that can be sent again."""


class State(StrEnum):
    """How far a call is."""

    CALLING = "calling"
    RINGING = "ringing"
    ANSWERED = "answered"
    ENDED = "ended"


class CallEnded(Exception):
    """The call ended before it could be answered."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.sentence)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Picture:
    """What a session description says of video (RFC 3264 section 5.1)."""

    taken: bool = False
    """It has a video section that is not refused."""
    sent: bool = False
    """Whoever says it shows something."""


_VIDEO = re.compile(r"^m=video [1-9].*?(?=^m=|\Z)", re.MULTILINE | re.DOTALL)
_NOT_SENT = re.compile(r"^a=(recvonly|inactive)\r?$", re.MULTILINE)


def picture_of(sdp: str) -> Picture:
    """Read it from the text; one that is no session description says nothing."""
    sections = _VIDEO.findall(sdp)
    return Picture(bool(sections), any(not _NOT_SENT.search(section) for section in sections))


@dataclass(slots=True, eq=False)
class Entry:
    """One call of the connection."""

    call: WebCall
    peer_id: str
    """Whom the client knows it by: what it dialled, or the caller's URI."""
    outgoing: bool
    state: State
    offer_id: str
    caller_name: str = ""
    """Display name of the other side, as far as it is known."""
    verified: Verdict = "none"
    """What the caller's trunk says of its number."""
    inline: asyncio.Future[str] | None = None
    """Set when the answer goes into the result of the request instead of a notification."""
    own: Picture = Picture()
    """What the client's latest description that was taken says of video."""
    proposed: Picture = Picture()
    """What its offer says that waits for an answer."""
    ours: Picture = Picture()
    """What we said to it."""
    described: bool = False
    """The client has our answer; one offer takes one (RFC 3264)."""
    offering: bool = False
    """An offer of the client's waits for its answer in the middle of the call."""
    candidates: int = 0
    connected: bool = False
    """ICE and DTLS are up."""
    recording: bool = False
    """It, or the room it is in, is recorded."""
    room: str = ""
    """The conference room it is in."""
    member: str = ""
    """Its id there."""
    cause: Cause | None = None
    """Why it ended."""
    is_others: bool = False
    """Another gateway has it: it has not ended, but it is not here."""
    seq: int = 0
    """Number of the latest notification about this call; the first is 1."""
    log: deque[tuple[int, str, dict[str, Any]]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """The latest notifications (number, method, parameters), for a client that was away."""
    moved: Callable[[], None] | None = None
    """Tells the device that had the call that it went elsewhere, once the media is another's."""
    held: list[Callable[[], None]] | None = field(default_factory=list)
    """What is to be told once the client knows of the call; None once it does."""

    @property
    def has_video(self) -> bool:
        """Both sides have taken video."""
        return self.own.taken and self.ours.taken

    @property
    def shows_camera(self) -> bool:
        """The client shows a picture."""
        return self.has_video and self.own.sent


def shown(entry: Entry) -> dict[str, Any]:
    """A call as `call.list` and its kin show it."""
    return {
        "call_id": entry.call.id,
        "peer_id": entry.peer_id,
        "from_name": entry.caller_name,
        "direction": "outgoing" if entry.outgoing else "incoming",
        "state": entry.state.value,
        "verified": entry.verified,
        "recording": entry.recording,
        "video": entry.has_video,
        "camera": entry.shows_camera,
        "room": entry.room,
        "member": entry.member,
    }


def outcome(entry: Entry) -> dict[str, Any]:
    """The same of one that has ended, and why."""
    cause = entry.cause or Cause.LOST
    return shown(entry) | {"seq": entry.seq, "cause": cause.word, "reason": cause.sentence}


class CallListener(Protocol):
    """Puts what happened into the dialect of the client."""

    def tell_offer(self, entry: Entry, sdp: str, exchange: int) -> None:
        """`exchange`: number of the offer in an answered call, which its answer may name; 0 for that of the call."""

    def tell_answer(self, entry: Entry, sdp: str | None) -> None:
        """`sdp` None: the client's re-offer was refused, it rolls back (RFC 8829 section 4.1.10.2)."""

    def tell_candidate(self, entry: Entry, candidate: str, mid: str | None) -> None: ...

    def tell_digit(self, entry: Entry, digit: str, duration_ms: int) -> None:
        """The other side has pressed a digit."""

    def tell_held(self, entry: Entry, held: bool) -> None:
        """The other side holds the call now, or has taken it back."""

    def tell_identified(self, entry: Entry, uri: str, name: str) -> None:
        """The other side is somebody else now."""

    def tell_recorded(self, entry: Entry) -> None:
        """It is recorded now, or no more."""

    def tell_room(self, entry: Entry) -> None:
        """It is in a conference room now, or in none any more."""

    def tell_state(self, entry: Entry, state: State, cause: Cause | None) -> None: ...

    def tell_connected(self, entry: Entry) -> None:
        """It is answered and its media can flow."""

    def tell_disconnected(self, entry: Entry, cause: Cause) -> None: ...

    def tell_moved(self, entry: Entry) -> None:
        """Another device of the user has the call now."""

    def tell_goes_on_elsewhere(self, code: Close, reason: str) -> None:
        """It is to sign in again, which leads to another gateway: this one drains, or that one has its call now."""

    def tell_draining(self, seconds: float) -> None:
        """The gateway takes no new calls and ends in so many seconds at the latest."""

    def tell_signed_out(self) -> None:
        """The user is no more, or has other rights."""
