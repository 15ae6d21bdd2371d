"""All rooms, and the program that answers their numbers: PIN, place, digits, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from gateway.call.leg import DigitPressed
from gateway.call.status import Cause
from gateway.conference.pins import Pin
from gateway.conference.room import Member, Room, RoomError, RoomSettings
from gateway.conference.tries import LONGEST, PinTries
from gateway.legs.application import Session
from gateway.legs.tones import DONE, PROMPT, RATE, REFUSED, sound
from gateway.media.engine import Conference, MediaError, Recording

log = structlog.get_logger(__name__)

TRIES = 3
"""PINs that one call may try."""
DIGIT_TIME = 10.0
"""Seconds to the next digit of a PIN."""
LONGEST_PIN = 16
UNUSED = 60.0
"""Seconds that a room which was opened waits for its first member, and a link for its browser."""
_MOST_WATCHERS = 10_000
_MOST_LINKS = 1_000
"""Browsers of the room server that may be on their way into rooms."""


class Recorder(Protocol):
    """Makes recordings of conferences."""

    def room(self, name: str, conference: Conference, ended: Callable[[], None]) -> Recording:
        """Raises MediaError; `ended` hears when it is over, whatever ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLimits:
    """How much all rooms bear together."""

    max_rooms: int = 100
    longest_pin_wait: float = LONGEST
    """Longest wait after wrong PINs, in seconds."""


@dataclass(frozen=True, slots=True)
class _Opened:
    since: float
    host: str
    """Id of the user who moderates it."""


class Rooms:
    """The rooms with somebody in them, by name."""

    def __init__(
        self,
        make: Callable[[int, int], Conference],
        settings: Callable[[str], RoomSettings],
        recorder: Recorder,
        clock: Callable[[], float],
        is_user: Callable[[str], bool],
        limits: RoomLimits | None = None,
    ) -> None:
        """`make` gives a conference, in which browsers see as many pictures, and everybody hears as many speakers at
        once, or raises MediaError; `settings` says what the room of a name is like.

        `is_user`: whether an id is a configured user's.
        """
        self._make = make
        self._settings = settings
        self._recorder = recorder
        self._clock = clock
        self._is_user = is_user
        self._max_rooms = (limits or RoomLimits()).max_rooms
        self._rooms: dict[str, Room] = {}
        self._calls: dict[str, set[Session]] = {}
        """Everybody who is in a room or on the way in, by its name."""
        self._opened: dict[str, _Opened] = {}
        """Rooms that were made for somebody who is to come."""
        self._links: dict[str, tuple[str, float]] = {}
        """Names by which one browser each comes into a room, with that room's, and when they were made."""
        self._tries = PinTries(clock, (limits or RoomLimits()).longest_pin_wait)
        self._watchers: list[Callable[[dict[str, Any]], None]] = []

    # -- what operators and members ask for ----------------------------------------

    def shown(self) -> list[dict[str, Any]]:
        """Every room with somebody in it."""
        return [room.shown() for room in self._rooms.values() if room.members]

    def room(self, name: str) -> Room:
        """A room with somebody in it; raises RoomError 404."""
        room = self._rooms.get(name)
        if room is None or not room.members:
            raise RoomError(f"nobody is in a room {name!r}", 404)
        return room

    def now(self, room: Room) -> Room:
        """The room that has the name of `room` now; `room` where there is none."""
        return self._rooms.get(room.name, room)

    def places(self, name: str) -> dict[str, tuple[Room, Member]]:
        """Who is in a room, by the tag of the program's side of its call."""
        room = self._rooms.get(name)
        return {one.session.tag: (room, one) for one in room.members.values()} if room is not None else {}

    def is_open(self, name: str) -> bool:
        """Whether a room was opened by that name and not closed yet."""
        self._forget_unused()
        return name in self._opened or name in self._links

    def open(self, name: str, host: str) -> None:
        """Make a room for those who are about to come, moderated by that user alone; raises RoomError 503."""
        self._forget_unused()
        if len(self._opened) + len(self._rooms) >= self._max_rooms:
            raise RoomError("there are too many rooms", 503)
        self._opened[name] = _Opened(self._clock(), host)

    def is_linked(self, name: str) -> bool:
        """Whether the room server's room of that name is the same room."""
        return self._settings(name).is_linked

    def link(self, name: str, token: str) -> str:
        """What one browser of the room server's room of that name dials, once and soon, to be in ours.

        Raises RoomError 503.
        """
        self._forget_unused()
        if len(self._links) >= _MOST_LINKS:
            raise RoomError("too many browsers come at once", 503)
        number = f"link-{token}"
        self._links[number] = name, self._clock()
        return number

    def watch_phones(self, name: str, told: Callable[[str, bool], None]) -> Callable[[], None]:
        """Have `told` hear who comes into and leaves a room but the browsers of the room server, by a name of its own.

        At first of those who are there; returns what ends that. Raises RoomError 503.
        """
        there: dict[str, str] = {}

        def heard(event: dict[str, Any]) -> None:
            room = self._rooms.get(name)
            if event["room"] != name or room is None or event["event"] not in ("joined", "left"):
                return
            key = event["member"]["id"]
            if event["event"] == "left" and key in there:
                told(there.pop(key), False)
            elif event["event"] == "joined" and not room.members[key].is_linked:
                there[key] = _shown_as(room.members[key])
                told(there[key], True)

        stop = self.watch(heard)
        found = self._rooms.get(name)
        for member in tuple(found.members.values()) if found is not None else ():
            heard({"event": "joined", "room": name, "member": {"id": member.id}})
        return stop

    def record(self, name: str, on: bool, *, by_user: bool = False) -> None:
        """Begin or end the recording of a room; raises RoomError.

        `by_user`: for a user who is no operator, who may not end (403) what the settings or an operator began.
        """
        room = self.room(name)
        if on:
            self._record(room, by_user=by_user)
        elif room.recording is not None:
            if by_user and not room.recorded_by_user:
                raise RoomError("what the settings or an operator began is not yours to end", 403)
            room.recording.stop()
            room.record_ended(room.recording)

    def watch(self, told: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Have `told` called with everything that happens in all rooms; returns what ends that."""
        if len(self._watchers) >= _MOST_WATCHERS:
            raise RoomError("too many watch the rooms", 503)
        self._watchers.append(told)

        def stop() -> None:
            if told in self._watchers:
                self._watchers.remove(told)

        return stop

    def is_used(self, name: str) -> bool:
        """Whether somebody is in a room."""
        room = self._rooms.get(name)
        return room is not None and bool(room.members)

    async def end(self, name: str) -> None:
        """The room of that name is no more: everybody in it, or on the way in, is told so and leaves."""
        room = self._rooms.pop(name, None)
        for session in tuple(self._calls.get(name, ())):
            await session.hang_up(Cause.ROOM_CLOSED)
        if room is not None:
            room.conference.close()

    def close(self) -> None:
        """Everybody leaves, recordings end."""
        for room in tuple(self._rooms.values()):
            room.conference.close()
        self._rooms.clear()

    # -- the program ---------------------------------------------------------------

    async def attend(self, session: Session, name: str) -> None:
        """One call to the room of that name, from its INVITE to its end."""
        linked = self._links.pop(name, None)
        if linked is not None:
            name, _ = linked
        calls = self._calls.setdefault(name, set())
        calls.add(session)
        try:
            await self._attend(session, name, is_linked=linked is not None)
        finally:
            calls.discard(session)
            if not calls and self._calls.get(name) is calls:
                del self._calls[name]

    async def _attend(self, session: Session, name: str, *, is_linked: bool) -> None:
        room = self._rooms.get(name)
        settings = self._settings(name)
        if room is not None and (room.locked or room.full):
            await session.reject(Cause.BUSY)
            return
        await session.ring()
        await session.answer()
        # Who it is, is known once the call is up.
        if settings.pin is not None and not is_linked and not await self._knows(session, name, settings.pin):
            await session.play(sound(REFUSED), RATE)
            return
        try:
            room = self._enterable(name, settings)
            await self._be_in(room, session, is_linked=is_linked)
        except (RoomError, MediaError) as error:
            log.info("room refused", room=name[:80], reason=str(error))
            await session.play(sound(REFUSED), RATE)
        finally:
            if room is not None and not room.members and self._rooms.get(name) is room:
                self._forget(room)

    async def _be_in(self, room: Room, session: Session, *, is_linked: bool) -> None:
        """From its coming in to its going; raises what `Room.enter` does."""
        member = room.enter(session, is_linked=is_linked)
        log.info("room entered", room=room.name[:80], member=member.id, caller=session.caller.uri[:80])
        try:
            if room.settings.record:
                self._record(room, by_user=False)
            await self._listen(room, member)
        finally:
            room.leave(member)

    def _enterable(self, name: str, settings: RoomSettings) -> Room:
        room = self._rooms.get(name)
        if room is None:
            if len(self._rooms) >= self._max_rooms:
                raise RoomError("there are too many rooms", 503)
            made = self._make(settings.max_videos, settings.max_speakers)
            opened = self._opened.get(name)
            if opened is not None:
                settings = replace(settings, moderators=frozenset({opened.host}))
            room = self._rooms[name] = Room(name, settings, made, self._clock, self._tell, self._is_user)
        return room

    async def _listen(self, room: Room, member: Member) -> None:
        """Carry out the digits of a member until its call ends: *6 mutes itself, *5 locks, *1 records."""
        before = ""
        async for event in member.session:
            if not isinstance(event, DigitPressed):
                continue
            wanted, before = before + event.digit, event.digit if event.digit == "*" else ""
            if self._carry_out(wanted, room, member):
                member.session.say(sound(DONE), RATE)

    def _carry_out(self, wanted: str, room: Room, member: Member) -> bool:
        if wanted == "*6":
            room.mute(member.id, not member.seat.muted)
        elif wanted == "*5" and room.may_moderate(member.user):
            room.lock(not room.locked)
        elif wanted == "*1" and room.may_moderate(member.user):
            try:
                self.record(room.name, room.recording is None, by_user=True)
            except RoomError:
                return False
        else:
            return False
        return True

    def _record(self, room: Room, *, by_user: bool) -> None:
        if room.recording is not None:
            room.recorded_by_user &= by_user
            return

        begun: list[Recording] = []
        try:
            begun.append(self._recorder.room(room.name, room.conference, lambda: room.record_ended(*begun)))
        except MediaError as error:
            log.warning("room not recorded", room=room.name[:80], reason=error.reason)
        else:
            room.recording, room.recorded_by_user = begun[0], by_user
            room.tell("recording", on=True)

    def _forget(self, room: Room) -> None:
        del self._rooms[room.name]
        self._opened.pop(room.name, None)
        if room.recording is not None:
            room.record_ended(room.recording)  # now, before there is another room of that name
        room.conference.close()

    def _forget_unused(self) -> None:
        now = self._clock()
        for name, opened in tuple(self._opened.items()):
            if now - opened.since > UNUSED and name not in self._rooms:
                del self._opened[name]
        for number, (_, since) in tuple(self._links.items()):
            if now - since > UNUSED:
                del self._links[number]

    def _tell(self, event: dict[str, Any]) -> None:
        for told in tuple(self._watchers):
            try:
                told(event)
            except Exception:
                log.exception("a watcher of the rooms failed")

    # -- PINs ------------------------------------------------------------------------

    async def _knows(self, session: Session, name: str, pin: Pin) -> bool:
        """Whether the caller enters the PIN; # ends it, so does its last digit."""
        for _ in range(TRIES):
            if self._punished(name, session):
                return False
            session.say(sound(PROMPT), RATE)
            given = ""
            while len(given) < LONGEST_PIN:
                digit = await session.digit(DIGIT_TIME)
                if digit is None or digit == "#":
                    break
                given += digit
                if len(given) == pin.length:
                    break
            who = self._who(session)
            is_user = self._is_a_user(session)
            if session.ended is not None or not given or self._punished(name, session):
                return False
            # Counted before it is looked at: calls at once are no more tries than one after the other.
            self._tries.count(name, who, is_user=is_user)
            if await pin.fits(given):
                is_sure = is_user or (who.startswith("guest:") and bool(session.caller.source))
                self._tries.was_right(name, who, is_user=is_user, is_sure=is_sure)
                return True
            log.info("wrong PIN", room=name[:80], caller=session.caller.uri[:80])
        return False

    def _punished(self, name: str, session: Session) -> bool:
        return self._tries.barred(name, self._who(session), is_user=self._is_a_user(session))

    def _is_a_user(self, session: Session) -> bool:
        return session.identity is not None and self._is_user(session.identity)

    def _who(self, session: Session) -> str:
        """Return the name that the caller's wrong PINs count by, which a guest cannot choose."""
        identity, caller = session.identity, session.caller
        if identity is not None and identity.startswith(("trunk:", "node:")):
            return f"{identity} {caller.uri}"
        return identity if identity is not None and self._is_user(identity) else f"guest:{caller.source}"


def _shown_as(member: Member) -> str:
    """A name for people that no other member has."""
    caller = member.session.caller
    return f"{(caller.display_name or caller.user)[:64]} ({member.id})"
