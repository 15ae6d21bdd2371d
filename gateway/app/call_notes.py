"""What pages are told of their calls beside the call itself: that it is recorded, and which room it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from gateway.call.call import Call
from gateway.conference.room import Member, Room
from gateway.legs.web import BrowserLeg

_ROOM_EVENTS = ("joined", "left", "recording")


class Recorded(Protocol):
    """Knows which calls are being recorded."""

    def is_recorded(self, call_id: str) -> bool: ...


class Places(Protocol):
    """Knows who is in which room."""

    def places(self) -> dict[str, tuple[Room, Member]]:
        """By the tag of the program's side of the call."""


class CallNotes:
    """An observer of the calls, of their recordings and of the rooms; each page hears of changes only."""

    def __init__(
        self, calls: Iterable[Call], recordings: Recorded, rooms: Places, is_user: Callable[[str], bool]
    ) -> None:
        """`is_user`: whether an id is a configured user's; guests are told no name of a room."""
        self._is_user = is_user
        self._calls = calls
        self._recordings = recordings
        self._rooms = rooms
        self._places: dict[str, tuple[Room, Member]] = {}

    def call_changed(self, call: Call) -> None:
        """Tell the pages of a call that is up what they do not know yet."""
        if call.bridge is None:
            return
        found = [self._places[leg.party.tag] for leg in call.legs if leg.party.tag in self._places]
        room, member = (found[0][0].name, found[0][1].id) if found else ("", "")
        recorded = self._recordings.is_recorded(call.id) or any(one.recording is not None for one, _ in found)
        for leg in call.legs:
            if isinstance(leg, BrowserLeg):
                known = self._is_user(leg.user)
                leg.note(recorded=recorded, room=room if known else "", member=member if known else "")

    def room_changed(self, event: dict[str, Any]) -> None:
        """Somebody has come or gone, or a recording has begun or ended."""
        if event["event"] in _ROOM_EVENTS:
            self._places = self._rooms.places()
            for call in self._calls:
                self.call_changed(call)
