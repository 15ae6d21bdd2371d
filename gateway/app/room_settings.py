"""Rooms, agents, recordings and voicemail as the configuration has them, in the words of those who make them."""

from __future__ import annotations

from pathlib import Path

from gateway.agents.agents import AgentSettings
from gateway.agents.connection import Form
from gateway.conference.personal import PersonalSettings
from gateway.conference.pins import PlainPin
from gateway.conference.room import RoomSettings
from gateway.conference.rooms import RoomLimits
from gateway.config import Config
from gateway.recording.recordings import RecordingSettings
from gateway.voicemail.programs import VoicemailSettings

_RANKS = {"user": 0, "operator": 1, "admin": 2}


def room_members(config: Config) -> dict[str, frozenset[str]]:
    """Who may come into the rooms that are not for everybody."""
    return {room.name: frozenset(room.members) for room in config.rooms if room.members}


def room_names(config: Config) -> frozenset[str]:
    """The rooms with rules of their own."""
    return frozenset(room.name for room in config.rooms)


def room_limits(config: Config) -> RoomLimits:
    return RoomLimits(max_rooms=config.conference.max_rooms, longest_pin_wait=config.conference.longest_pin_wait)


def personal(config: Config) -> PersonalSettings:
    """Which rooms users may open."""
    wanted = config.conference
    first, _, last = wanted.numbers.partition("-")
    return PersonalSettings(
        numbers=(first, last) if last else None,
        min_pin=wanted.min_pin,
        per_user=wanted.max_per_user,
        most=wanted.max_opened,
        empty_time=wanted.empty_time,
    )


def may_open(config: Config, role: str) -> bool:
    """Whether users of that role may open rooms."""
    wanted = config.conference
    return bool(wanted.numbers) and _RANKS.get(role, 0) >= _RANKS[wanted.opened_by]


def room(config: Config, name: str) -> RoomSettings:
    """What the conference room of that name is like."""
    found = next((room for room in config.rooms if room.name == name), None)
    if found is None:
        return RoomSettings(max_members=config.conference.max_members, max_speakers=config.conference.max_speakers)
    return RoomSettings(
        pin=None if found.pin is None else PlainPin(found.pin.get_secret_value()),
        max_members=found.max_members or config.conference.max_members,
        tones=found.tones,
        record=found.record,
        video=found.video,
        max_videos=found.max_videos,
        max_speakers=config.conference.max_speakers,
        is_linked=found.room_server,
        moderators=frozenset(found.moderators),
    )


def agents(config: Config) -> dict[str, AgentSettings]:
    """The programs elsewhere that take calls, by their names."""
    return {
        agent.name: AgentSettings(
            url=agent.url,
            token=None if agent.token is None else agent.token.get_secret_value(),
            may_call=agent.may_call,
            form=Form(rate=agent.rate, binary=agent.binary, max_messages_per_second=agent.max_messages_per_second),
        )
        for agent in config.agents
    }


def sounds(config: Config) -> Path | None:
    """The folder of the files that may be played into calls."""
    return config.media.sounds


def recordings(config: Config) -> RecordingSettings:
    wanted = config.recording
    return RecordingSettings(
        folder=config.state_dir / wanted.folder,
        calls=wanted.calls,
        by_users=wanted.by_users,
        digits=wanted.digits,
        format=wanted.format,
        channels=wanted.channels,
        beep=wanted.beep,
        min_free=wanted.min_free,
        longest=wanted.longest,
        keep=wanted.keep,
    )


def voicemail(config: Config) -> VoicemailSettings:
    wanted = config.voicemail
    return VoicemailSettings(
        folder=config.state_dir / wanted.folder,
        users=wanted.users,
        after=wanted.after,
        greeting=wanted.greeting,
        max_messages=wanted.max_messages,
        longest=wanted.longest,
        shortest=wanted.shortest,
        min_free=config.recording.min_free,
        keep=wanted.keep,
    )
