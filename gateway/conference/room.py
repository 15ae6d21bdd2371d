"""One room: who is in it, who speaks, whether it is locked and recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from gateway.conference.pins import Pin
from gateway.errors import GatewayError
from gateway.legs.application import Session
from gateway.legs.tones import JOINED, LEFT, RATE, sound
from gateway.media.engine import Conference, MediaError, Recording, Seat

ANY_USER = "*"
"""Moderators of a room where each configured user who is in it moderates."""
_LINKED = "linked"
"""The group of those who hear each other by connections of their own."""


class RoomError(GatewayError):
    """What was asked of a room cannot be; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSettings:
    """What a room is like."""

    pin: Pin | None = None
    """Digits that everybody must know."""
    max_members: int = 50
    tones: bool = True
    """Who comes and goes is heard."""
    video: tuple[str, ...] = ("h264", "vp8", "vp9", "av1")
    """Names of the codecs in which members show each other their pictures, best first; (): they do not."""
    max_videos: int = 8
    """Pictures that a browser sees at once; phones see one."""
    max_speakers: int = 8
    """Who are heard at once, the loudest; 0: all who speak."""
    record: bool = False
    """From the first member to the last."""
    is_linked: bool = False
    """Whether the room server's room of this name is the same room."""
    moderators: frozenset[str] = frozenset()
    """Ids of the users who may mute, remove, lock and record; `ANY_USER`: each user who is in it; none: nobody."""


@dataclass(slots=True, eq=False, kw_only=True)
class Member:
    """Somebody in a room."""

    id: str
    """Its name in the room."""
    session: Session
    seat: Seat
    is_linked: bool = False
    """Whether it is a browser of the room server's room, which the others of that hear directly."""
    since: float
    is_user: Callable[[str], bool]
    """Whether an id is a configured user's."""

    @property
    def user(self) -> str | None:
        """The id of the user that it has proved to be, "trunk:NAME" for who came through one; None: a guest."""
        who = self.session.identity
        return who if who is not None and (who.startswith("trunk:") or self.is_user(who)) else None

    def shown(self) -> dict[str, Any]:
        """What others see of it."""
        caller = self.session.caller
        return {
            "id": self.id,
            "uri": caller.uri,
            "display_name": caller.display_name,
            "user": self.user,
            "muted": self.seat.muted,
            "video": self.seat.shows,
            "sees": self.seat.sees,
            "pictures": self.seat.pictures,
        }


Told = Callable[[dict[str, Any]], None]


@dataclass(slots=True, eq=False)
class Room:
    """Members that hear each other; made by `Rooms`."""

    name: str
    settings: RoomSettings
    conference: Conference
    clock: Callable[[], float]
    told: Told
    """Hears what happens: event, room, and what belongs to it."""
    is_user: Callable[[str], bool]
    """Whether an id is a configured user's; what a guest calls itself is not."""
    members: dict[str, Member] = field(default_factory=dict)
    locked: bool = False
    speaker: str | None = None
    recording: Recording | None = None
    recorded_by_user: bool = False
    """Whether a user began that, neither the settings nor an operator."""
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.conference.on_speaker(self._speaks)
        self.conference.on_pictures(self._sees_others)

    @property
    def full(self) -> bool:
        """Whether nobody else fits in."""
        return len(self.members) >= self.settings.max_members

    def enter(self, session: Session, *, is_linked: bool = False) -> Member:
        """Somebody comes in; raises RoomError 409 where the room is locked or full, SessionError for who has gone."""
        if self.locked or self.full:
            raise RoomError(f"{self.name} is {'locked' if self.locked else 'full'}", 409)
        name = str(next(self._numbers))
        label = session.caller.display_name or session.caller.user
        seat = session.join(self.conference, name, _LINKED if is_linked else None, label)
        member = Member(
            id=name, session=session, seat=seat, is_linked=is_linked, since=self.clock(), is_user=self.is_user
        )
        self.members[name] = member
        self._tone(JOINED)
        self.tell("joined", member=member.shown())
        return member

    def leave(self, member: Member) -> None:
        """Somebody goes."""
        member.seat.leave()
        if self.members.pop(member.id, None) is not None:
            self._tone(LEFT)
            self.tell("left", member=member.shown())

    def member(self, member_id: str) -> Member:
        """Somebody of the room; raises RoomError 404."""
        member = self.members.get(member_id)
        if member is None:
            raise RoomError(f"there is no member {member_id!r} in {self.name}", 404)
        return member

    def mute(self, member_id: str, muted: bool) -> None:
        """Let the others not hear a member, or hear it again; raises RoomError."""
        member = self.member(member_id)
        if member.seat.muted is not muted:
            member.seat.muted = muted
            self.tell("muted" if muted else "unmuted", member=member.shown())

    async def kick(self, member_id: str) -> None:
        """Have a member leave, heard and read no more; raises RoomError."""
        member = self.member(member_id)
        member.seat.leave(is_sent=True)
        await member.session.hang_up()

    def lock(self, locked: bool) -> None:
        """Let nobody else in, or again."""
        if self.locked is not locked:
            self.locked = locked
            self.tell("locked" if locked else "unlocked")

    def record_ended(self, recording: Recording) -> None:
        """A recording goes on no longer; nothing where another one does meanwhile."""
        if self.recording is recording:
            self.recording = None
            self.tell("recording", on=False)

    def may_moderate(self, user: str | None) -> bool:
        """Whether this user may mute others, remove, lock and record."""
        if user is None or not self.is_user(user):
            return False
        wanted = self.settings.moderators
        if ANY_USER in wanted and any(member.user == user for member in self.members.values()):
            return True
        return user in wanted

    def shown(self) -> dict[str, Any]:
        """What lists say of it."""
        return {
            "name": self.name,
            "members": len(self.members),
            "locked": self.locked,
            "recording": self.recording is not None,
            "speaker": self.speaker,
        }

    def tell(self, event: str, **more: Any) -> None:
        """Say what has happened."""
        self.told({"event": event, "room": self.name, **more})

    def _speaks(self, member_id: str | None) -> None:
        self.speaker = member_id
        if self.members:
            self.tell("speaker", member=member_id)

    def _sees_others(self, member_id: str) -> None:
        member = self.members.get(member_id)
        if member is not None:
            self.tell("pictures", member=member.shown())

    def _tone(self, notes: tuple[tuple[int, float], ...]) -> None:
        if self.settings.tones:
            try:
                self.conference.say(sound(notes).tobytes(), RATE)
            except MediaError:
                return  # a minute of tones waits already
