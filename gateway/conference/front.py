"""Rooms and recordings as the web front ends see them (gateway.web.conferencing.Conferencing)."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from gateway.agents.agents import Agents
from gateway.app import room_settings
from gateway.app.opening import Opening
from gateway.call.call import Call
from gateway.call.leg import Leg, TransferRequested
from gateway.call.registry import Calls
from gateway.call.routing import AGENT, ROOM, Caller
from gateway.call.status import Cause
from gateway.conference.notes import CallNotes
from gateway.conference.personal_front import PersonalFront
from gateway.conference.room import Room, RoomError
from gateway.conference.rooms import Rooms
from gateway.dialing.applications import Application
from gateway.identity.mapping import IdentityMap
from gateway.identity.model import User
from gateway.media.embedded.audio.codecs import read_audio
from gateway.media.engine import MediaEngine, MediaError
from gateway.people.board import Board
from gateway.people.mailboxes import MailboxCounts
from gateway.recording.recordings import RecordingError, Recordings
from gateway.voicemail.programs import LISTEN, VOICEMAIL, Voicemail
from gateway.web.conferencing import RefusedError

log = structlog.get_logger(__name__)

_OPERATORS = ("operator", "admin")
_MERGE_TIME = 10.0
"""Seconds that a call may take to move into its room."""
_MOST_MERGED = 10
_LOOK_SECONDS = 10.0
"""How often rooms that other gateways of the same store have opened and closed are looked for."""
_SOUND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_PLAY_STATUS = {400: 409, 481: 404, 501: 501}
"""HTTP's status for the engine's."""


class ConferencingFront:
    """Says who may do what in which room, and with which call."""

    def __init__(
        self,
        rooms: Rooms,
        recordings: Recordings,
        voicemail: Voicemail,
        calls: Calls,
        engine: MediaEngine,
        sounds: Path | None,
        agents: Agents,
        personal: PersonalFront,
        new_token: Callable[[], str],
    ) -> None:
        """`sounds`: the folder of the files that may be played into calls."""
        self.personal = personal
        self.agents = agents
        self._engine = engine
        self._sounds = sounds
        self._voicemail = voicemail
        self._rooms = rooms
        self._recordings = recordings
        self._calls = calls
        self._new_token = new_token

    def has_open_room(self, name: str) -> bool:
        """Whether a room of that name was opened for those who were told it."""
        return self._rooms.is_open(name)

    def is_linked_room(self, room: str) -> bool:
        return self._rooms.is_linked(room)

    def room_link(self, room: str) -> str:
        with _told():
            return self._rooms.link(room, self._new_token())

    def watch_phones(self, room: str, told: Callable[[str, bool], None]) -> Callable[[], None]:
        with _told():
            return self._rooms.watch_phones(room, told)

    def list_rooms(self, user: User) -> list[dict[str, Any]]:
        return [each for each in self._rooms.shown() if self._sees(user, self._rooms.room(each["name"]))]

    def room_members(self, user: User, room: str) -> dict[str, Any]:
        found = self._room(user, room)
        members = [member.shown() for member in found.members.values()]
        return found.shown() | {"members": members, "moderates": self._moderates(user, found)}

    async def change_room(self, user: User, room: str, action: str, member: str = "") -> None:
        found = self._room(user, room)
        with _told():
            own = action in ("mute", "unmute") and found.member(member).user == user.id
            if not own and not self._moderates(user, found):
                raise RefusedError(f"{user.id} does not moderate {room}", 403)
            match action:
                case "mute" | "unmute":
                    found.mute(member, action == "mute")
                case "kick":
                    await found.kick(member)
                case "lock" | "unlock":
                    found.lock(action == "lock")
                case _:
                    self._rooms.record(room, action == "record", by_user=user.role not in _OPERATORS)

    def watch_room(self, user: User, room: str, told: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        found = self._room(user, room)

        def heard(event: dict[str, Any]) -> None:
            if event["room"] != room:
                return
            if event["event"] == "pictures" and event["member"]["user"] != user.id:
                return  # whom others see is shown by `room.members`
            # Who has left it hears that it has, and nothing after that.
            left = event["event"] == "left" and event["member"]["user"] == user.id
            # Who had the number before has no business in the room that somebody else opened by it.
            if left or self._sees(user, self._rooms.now(found)):
                told(event)
            else:
                stop()

        with _told():
            stop = self._rooms.watch(heard)
        return stop

    def _room(self, user: User, name: str) -> Room:
        with _told():
            room = self._rooms.room(name)
        if not self._sees(user, room):
            # Whether there is such a room is nobody's business who is not in it.
            raise RefusedError(f"nobody is in a room {name!r}", 404)
        return room

    @staticmethod
    def _moderates(user: User, room: Room) -> bool:
        return user.role in _OPERATORS or room.may_moderate(user.id)

    @staticmethod
    def _sees(user: User, room: Room) -> bool:
        inside = any(member.user == user.id for member in room.members.values())
        return inside or user.role in _OPERATORS or room.may_moderate(user.id)

    def rights(self, user: User) -> dict[str, bool]:
        may_record = user.role in _OPERATORS or self._recordings.may_record(user.id)
        return {"record": may_record, "voicemail": self._voicemail.has(user)}

    def record_call(self, user: User, call_id: str, *, on: bool) -> None:
        found = self._own(user, call_id)
        may = found is not None and self._recordings.may_record(user.id)
        if not may and user.role not in _OPERATORS:
            raise RefusedError("You may not record calls (recording.by_users)" if found else "No such call", 403)
        with _told():
            call_id = found[0].id if found is not None else call_id
            self._recordings.change(call_id, on=on, by_user=user.role not in _OPERATORS)

    async def play_sound(self, call_id: str, sound: str, party: str | None) -> None:
        call = self._calls.get(call_id)
        if call is None or call.bridge is None:
            raise RefusedError("There is no answered call of that id", 404)
        tags = None
        if party is not None:
            tags = [leg.party.tag for leg in call.legs if leg.address.uri == party]
            if not tags:
                raise RefusedError("Nobody of that URI is in the call", 404)
        path = self._sounds / sound if self._sounds is not None and _SOUND.fullmatch(sound) else None
        if path is None or not await asyncio.to_thread(path.is_file):
            raise RefusedError("There is no such sound (media.sounds)", 404)
        try:
            await self._engine.play(call_id, str(path), tags)
        except MediaError as error:
            log.warning("sound not played", sound=sound, reason=error.reason)
            raise RefusedError("It cannot be played", _PLAY_STATUS.get(error.status, 503)) from None

    async def transfer_call(self, user: User, call_id: str, to: str, party: str | None) -> None:
        call = self._calls.get(call_id)
        if call is None or call.bridge is None:
            raise RefusedError("There is no answered call of that id", 404)
        staying = [leg for leg in call.legs if (leg is call.caller if party is None else leg.address.uri == party)]
        if party is not None and not staying:
            raise RefusedError("Nobody of that URI is in the call", 404)
        leaving = call.bridge.other(staying[0] if staying else call.legs[0])
        if leaving is None:
            raise RefusedError("There is no answered call of that id", 404)
        report = _Report()
        call.leg_event(leaving, TransferRequested(to, report, caller=Caller(user.id, user.may_call)))
        cause = await report.outcome
        if cause is not Cause.NORMAL:
            raise RefusedError(cause.sentence, cause.status)

    def stop_sound(self, call_id: str) -> None:
        try:
            self._engine.stop_playing(call_id)
        except MediaError as error:
            raise RefusedError("There is no such call", _PLAY_STATUS.get(error.status, 503)) from None

    async def merge_calls(self, user: User, call_ids: list[str]) -> str:
        if not 2 <= len(set(call_ids)) <= _MOST_MERGED:
            raise RefusedError(f"2 to {_MOST_MERGED} different calls can be merged", 400)
        own = [self._own(user, call_id) for call_id in dict.fromkeys(call_ids)]
        found = [each for each in own if each is not None and each[0].bridge is not None]
        if len(found) < len(own):
            raise RefusedError("One of them is no answered call of yours", 404)
        name = f"room-{self._new_token()}"
        with _told():
            self._rooms.open(name, host=user.id)
        outcomes = []
        for call, leg in found:
            report = _Report()
            outcomes.append(report.outcome)
            call.leg_event(leg, TransferRequested(name, report))
        done, _ = await asyncio.wait(outcomes, timeout=_MERGE_TIME)
        if not any(each.result() is Cause.NORMAL for each in done):
            raise RefusedError("None of the calls could be moved", 503)
        return name

    def _own(self, user: User, call_id: str) -> tuple[Call, Leg] | None:
        """A user's own call by the id of its leg."""
        for call in self._calls:
            for leg in call.legs:
                if leg.party.tag == call_id and leg.identity == user.id:
                    return call, leg
        return None

    async def list_voicemail(self, user: User) -> list[dict[str, Any]]:
        return await self._voicemail.listed(user.id)

    async def voicemail(self, user: User, message_id: str) -> Path:
        path = await self._voicemail.sound(user.id, message_id)
        if path is None:
            raise RefusedError("There is no such message", 404)
        return path

    async def remove_voicemail(self, user: User, message_id: str) -> None:
        if not await self._voicemail.remove(user.id, message_id):
            raise RefusedError("There is no such message", 404)

    async def list_recordings(self) -> list[dict[str, Any]]:
        return await self._recordings.kept()

    async def recording(self, name: str) -> Path:
        with _told():
            return await self._recordings.path(name)

    async def remove_recording(self, name: str) -> None:
        with _told():
            await self._recordings.remove(name)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The rooms' own errors in the front ends' words."""
    try:
        yield
    except (RoomError, RecordingError) as error:
        raise RefusedError(str(error), error.status) from None


async def open_conferences(
    opening: Opening,
    engine: MediaEngine,
    identity: IdentityMap,
    calls: Calls,
    application: Application,
    voicemail: Voicemail,
    personal: PersonalFront,
) -> ConferencingFront:
    """Rooms, recordings and agents, until `opening.stack` ends."""
    config = opening.config

    def is_user(who: str) -> bool:
        return identity.by_id(who) is not None

    recordings = Recordings(room_settings.recordings(config), engine, calls, opening.wall_clock, is_user)
    opening.stack.push_async_callback(recordings.close)
    opening.sweep(recordings.expire)
    calls.observe(recordings.call_changed)
    calls.pressed = recordings.pressed
    clock = asyncio.get_running_loop().time
    limits = room_settings.room_limits(config)
    personal.members = rooms = Rooms(engine.conference, personal.settings, recordings, clock, is_user, limits)
    await personal.look(opening.wall_clock())
    opening.sweep(personal.look, _LOOK_SECONDS)
    opening.stack.callback(rooms.close)
    notes = CallNotes(recordings, rooms, is_user)
    calls.observe(notes.call_changed)
    recordings.changed = notes.call_changed
    opening.stack.callback(rooms.watch(notes.room_changed))
    application.serve(ROOM, rooms.attend, video=lambda name: personal.settings(name).video)
    agents = Agents(room_settings.agents(config), clock, opening.token)
    application.serve(AGENT, agents.attend, agents.may_call)
    sounds = room_settings.sounds(config)
    return ConferencingFront(rooms, recordings, voicemail, calls, engine, sounds, agents, personal, opening.token)


async def open_voicemail(
    opening: Opening, engine: MediaEngine, identity: IdentityMap, application: Application, board: Board[MailboxCounts]
) -> Voicemail:
    """Mailboxes as far as the media engine can record; `board` says what waits for whom."""
    wanted = room_settings.voicemail(opening.config)
    if not (engine.capabilities.recording and engine.capabilities.programs):
        if wanted.users:
            log.warning("voicemail.users: this media engine takes no messages")
        wanted = replace(wanted, users=())
    voicemail = Voicemail(
        wanted,
        lambda user: identity.by_id(user) is not None,
        board,
        read_audio,
        opening.wall_clock,
        opening.token,
    )
    await voicemail.load()
    opening.sweep(voicemail.expire)
    application.serve(VOICEMAIL, voicemail.leave)
    application.serve(LISTEN, voicemail.listen)
    return voicemail


class _Report:
    """What becomes of one call that moves (gateway.call.leg.TransferReport)."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()

    def accepted(self) -> None:
        """The outcome comes."""

    def ringing(self) -> None:
        """The outcome comes."""

    def ended(self, cause: Cause) -> None:
        if not self.outcome.done():
            self.outcome.set_result(cause)
