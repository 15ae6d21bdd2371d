"""What pages are told of their calls: what happens in a room concerns the calls in it, however many there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from gateway.call.call import Call
from gateway.call.state import State
from gateway.conference.notes import CallNotes
from gateway.conference.room import Member, Room
from gateway.media.engine import Kind, Party


class Seen:
    """Recordings that keep which calls were asked for, and rooms."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.rooms: dict[str, dict[str, tuple[Room, Member]]] = {}
        self.notes = CallNotes(self, self, lambda who: True)

    def is_recorded(self, call_id: str) -> bool:
        self.asked.append(call_id)
        return False

    def places(self, name: str) -> dict[str, tuple[Room, Member]]:
        return self.rooms.get(name, {})

    def comes(self, name: str, tag: str) -> None:
        room, member = SimpleNamespace(name=name, recording=None), SimpleNamespace(id=tag)
        self.rooms.setdefault(name, {})[tag] = cast(Room, room), cast(Member, member)
        self.told("joined", name)

    def told(self, event: str, room: str, **more: Any) -> list[str]:
        """Which calls were looked at."""
        self.asked.clear()
        self.notes.room_changed({"event": event, "room": room, **more})
        return sorted(self.asked)


def call(name: str, tag: str) -> Any:
    legs = [SimpleNamespace(party=Party(f"{tag}-page", Kind.WEBRTC)), SimpleNamespace(party=Party(tag, Kind.SERVICE))]
    return SimpleNamespace(id=name, legs=tuple(legs), bridge=object(), state=State.CONNECTED)


def test_what_happens_in_a_room_is_looked_at_for_its_own_calls_alone() -> None:
    """Of a thousand: one joins, a recording begins, one leaves, one has ended, one was passed on to another call."""
    seen = Seen()
    calls = [call(f"call-{number}", f"tag-{number}") for number in range(1000)]
    for each in calls:
        seen.notes.call_changed(cast(Call, each))
    for number in range(4):
        seen.comes("lobby" if number < 3 else "other", f"tag-{number}")
        assert seen.asked == [f"call-{number}"]
    assert seen.told("recording", "lobby", on=True) == ["call-0", "call-1", "call-2"]
    assert seen.told("speaker", "lobby") == []
    del seen.rooms["lobby"]["tag-1"]
    assert seen.told("left", "lobby") == ["call-1"]
    calls[2].state = State.ENDED
    seen.notes.call_changed(cast(Call, calls[2]))
    assert seen.told("recording", "lobby", on=False) == ["call-0"]
    after = call("after", "tag-0")
    seen.notes.call_changed(cast(Call, after))
    calls[0].state = State.ENDED
    seen.notes.call_changed(cast(Call, calls[0]))
    assert seen.told("recording", "lobby", on=True) == ["after"]
    del seen.rooms["lobby"]
    assert seen.told("left", "lobby") == ["after"]
    assert not seen.notes._places.keys() - {"tag-3"}
