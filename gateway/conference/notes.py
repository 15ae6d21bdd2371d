"""What pages are told of their calls beside the call itself: that it is recorded, and which room it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from gateway.call.call import Call
from gateway.call.state import State
from gateway.conference.room import Member, Room
from gateway.legs.web import BrowserLeg
from gateway.media.engine import Kind

_ROOM_EVENTS = ("joined", "left", "recording")


class Recorded(Protocol):
    """Knows which calls are being recorded."""

    def is_recorded(self, call_id: str) -> bool: ...


class Places(Protocol):
    """Knows who is in a room."""

    def places(self, name: str) -> dict[str, tuple[Room, Member]]:
        """By the tag of the program's side of the call."""


class CallNotes:
    """An observer of the calls, of their recordings and of the rooms; each page hears of changes only."""

    def __init__(self, recordings: Recorded, rooms: Places, is_user: Callable[[str], bool]) -> None:
        """`is_user`: whether an id is a configured user's; guests are told no name of a room."""
        self._is_user = is_user
        self._recordings = recordings
        self._rooms = rooms
        self._places: dict[str, tuple[Room, Member]] = {}
        self._inside: dict[str, set[str]] = {}
        """The tags of those places, by the room."""
        self._calls: dict[str, Call] = {}
        """By the tag of the side that is a service or a program."""
        self._tags: dict[str, tuple[str, ...]] = {}
        """Under which tags each call is among them, by its id."""

    def call_changed(self, call: Call) -> None:
        """Tell the pages of a call that is up what they do not know yet."""
        self._find_by_tag(call)
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
        if event["event"] not in _ROOM_EVENTS:
            return
        now = self._rooms.places(event["room"])
        before = self._inside.pop(event["room"], set())
        if now:
            self._inside[event["room"]] = set(now)
        for tag in before - now.keys():
            del self._places[tag]
        self._places.update(now)
        # That a room is recorded concerns everybody in it, that somebody comes or goes that call alone.
        for tag in now if event["event"] == "recording" else before ^ now.keys():
            if (call := self._calls.get(tag)) is not None:
                self.call_changed(call)

    def _find_by_tag(self, call: Call) -> None:
        sides = () if call.state is State.ENDED else call.legs
        now = tuple([leg.party.tag for leg in sides if leg.party.kind is Kind.SERVICE])
        for tag in self._tags.pop(call.id, ()):
            if self._calls.get(tag) is call:
                del self._calls[tag]
        if now:
            self._tags[call.id] = now
            self._calls |= dict.fromkeys(now, call)
