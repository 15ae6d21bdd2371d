"""Configuration of conference rooms, agents, recordings, voicemail and announcements."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from gateway.config.values import Secret, Section, Text

_ROOM = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}")
_NUMBERS = re.compile(r"([0-9]{1,15})-([0-9]{1,15})", re.ASCII)
_MOST_NUMBERS = 1_000


def _plain(name: str) -> str:
    if not _ROOM.fullmatch(name):
        raise ValueError(f"{name!r} must be 1 to 64 letters, digits or . _ + -")
    return name


_Name = Annotated[Text, AfterValidator(_plain)]
"""Name used by routes."""


class RoomConfig(Section):
    """Conference room with its own settings, reached by a route to `room:NAME`."""

    name: _Name
    """Name used by routes."""
    pin: Secret | None = None
    """Digits required to enter; default: none."""
    max_members: int | None = Field(default=None, ge=1)
    """Concurrent members; default: conference.max_members."""
    tones: bool = True
    """Play a short tone when a member enters or leaves."""
    record: bool = False
    """Record the room from the first member to the last, as set in `recording`."""
    video: tuple[Literal["h264", "vp8", "vp9", "av1"], ...] = ("h264", "vp8", "vp9", "av1")
    """Video codecs of the room, out of `video.codecs`. A member sends with the first supported codec, and sees the
    present or last speaker in a supported codec; `[]`: audio only."""
    max_videos: int = Field(default=8, ge=1, le=8)
    """Members shown to a browser at once, the latest speakers, each in a section of its own; 1: the speaker only, as
    on phones."""
    room_server: bool = False
    """Join the room with the room of equal name at /webrtc/signaling: its browsers and dial-in members hear each
    other. `pin` and `members` do not apply to those browsers."""
    members: tuple[Text, ...] = ()
    """Ids of users, and trunk:NAME, allowed to enter; default: every caller allowed to dial the room."""
    moderators: tuple[Text, ...] = ()
    """Ids of users allowed to mute and remove members, lock the room and record; `"*"`: each user in the room;
    default: operators only."""

    @field_validator("pin")
    @classmethod
    def _digits(cls, pin: Secret | None) -> Secret | None:
        if pin is not None and not re.fullmatch(r"[0-9]{1,16}", pin.get_secret_value()):
            raise ValueError("must be 1 to 16 digits")
        return pin


class AgentConfig(Section):
    """External program that takes calls over a WebSocket, reached by a route to `agent:NAME`."""

    name: _Name
    """Name used by routes."""
    url: Text | None = None
    """URL of the program, ws:// or wss://, called once per call; default: the program connects to /api/agents/NAME."""
    token: Secret | None = None
    """Token sent by the connecting side as "Authorization: Bearer"; required for programs that connect to the
    gateway."""
    rate: Literal[8000, 16000, 32000, 48000] = 16000
    """Samples per second, in both directions."""
    binary: bool = False
    """Send audio as binary messages instead of base64 within JSON."""
    may_call: tuple[Text, ...] = ()
    """Patterns of numbers to which the program may transfer callers, as in users[].may_call; default: none."""
    max_messages_per_second: float = Field(default=500.0, ge=50, le=100_000)
    """Messages per second, averaged over ten seconds, above which the program loses its connection and its call."""

    @field_validator("url")
    @classmethod
    def _socket(cls, url: str | None) -> str | None:
        if url is not None and not (url.startswith(("ws://", "wss://")) and urlsplit(url).hostname):
            raise ValueError(f"{url!r} must begin with ws:// or wss:// and name a host")
        return url

    @model_validator(mode="after")
    def _admits_somebody(self) -> Self:
        if self.url is None and self.token is None:
            raise ValueError("an agent without url comes to us, and needs a token")
        return self


class ConferenceConfig(Section):
    """Settings of all conference rooms."""

    max_rooms: int = Field(default=100, ge=1)
    """Concurrent rooms; further rooms are refused."""
    max_members: int = Field(default=50, ge=2)
    """Concurrent members of a room without its own limit."""
    max_speakers: int = Field(default=8, ge=0)
    """Loudest speakers audible at once in a room; 0: all."""
    numbers: Text = "8000-8099"
    """Numbers for rooms opened by users on the page or by the API; "": users open no rooms. Numbers of routes, users
    and services are skipped."""
    opened_by: Literal["user", "operator", "admin"] = "user"
    """Lowest role allowed to open rooms."""
    min_pin: int = Field(default=6, ge=0, le=16)
    """Fewest digits in the PIN of an opened room; 0: no PIN required."""
    longest_pin_wait: float = Field(default=3_600.0, ge=60, le=86_400)
    """Longest wait at a room after wrong PINs: 60 s for the tenth of one caller, 36 s of strangers together for their
    hundredth, doubled with each further one. One is forgiven each such time (s)."""
    max_per_user: int = Field(default=5, ge=1)
    """Opened rooms per user."""
    max_opened: int = Field(default=100, ge=1)
    """Opened rooms of all users together."""
    empty_time: float = Field(default=604_800.0, ge=60)
    """Time without members after which an opened room is closed (s)."""

    @field_validator("numbers")
    @classmethod
    def _range(cls, numbers: str) -> str:
        found = _NUMBERS.fullmatch(numbers)
        if numbers and (found is None or len(found[1]) != len(found[2]) or found[1] > found[2]):
            raise ValueError(f"{numbers!r} is not a range of numbers of as many digits, as in 8000-8099")
        if found is not None and int(found[2]) - int(found[1]) >= _MOST_NUMBERS:
            raise ValueError(f"{numbers!r} has more than {_MOST_NUMBERS} numbers")
        return numbers


class RecordingConfig(Section):
    """Recordings of calls and rooms."""

    calls: tuple[Text, ...] = ()
    """Parties whose calls are all recorded: ids of users, trunk:NAME, or * for all; default: none."""
    by_users: bool = False
    """Let users record their own calls, on the page, by the API and by `digits`."""
    digits: Text = ""
    """Digits by which a user starts and stops recording in a call, on a phone or on the page; default: none."""
    folder: Path = Path("recordings")
    """Folder of recordings, relative to the state directory."""
    format: Literal["wav", "opus"] = "wav"
    """"wav" (32 KB per second and channel) or "opus" (in Ogg, 4 KB)."""
    channels: int = Field(default=2, ge=1, le=2)
    """2: caller on the left, callee on the right; 1: mixed. Rooms are always mixed."""
    beep: bool = True
    """Announce a recording by a tone to both sides, or to all of a room. Many countries require the consent of all
    recorded parties."""
    min_free: int = Field(default=500_000_000, ge=0)
    """Least free disk space (bytes): below, a recording ends while its call continues."""
    longest: float = Field(default=14_400.0, gt=0)
    """Longest recording (s)."""
    keep: float = Field(default=0.0, ge=0)
    """Time for which recordings are kept; 0: until deleted by a user (s)."""

    @field_validator("digits")
    @classmethod
    def _two(cls, digits: str) -> str:
        if digits and not re.fullmatch(r"[0-9*#]{2,8}", digits):
            raise ValueError(f"{digits!r} must be 2 to 8 of 0-9 * #")
        return digits


class VoicemailConfig(Section):
    """Voicemail: callers leave a message for a busy, absent or unanswering user."""

    users: tuple[Text, ...] = ()
    """Ids of users with a mailbox; "*" for all. Forwarding rules of the user come first."""
    after: float = Field(default=25.0, ge=1, le=600)
    """Ringing time before a call goes to the mailbox (s); limited by sip.ring_timeout."""
    greeting: Path | None = None
    """Sound file (WAV, Ogg, MP3, …) played to callers before the tone; default: the tone only."""
    folder: Path = Path("voicemail")
    """Folder of messages, relative to the state directory."""
    max_messages: int = Field(default=50, ge=1)
    """Messages per user; with a full mailbox callers are told that the user is busy."""
    longest: float = Field(default=180.0, ge=5, le=3_600)
    """Longest message (s)."""
    shortest: float = Field(default=1.0, ge=0)
    """Shortest message kept (s); a shorter one means that the caller hung up."""
    keep: float = Field(default=2_592_000.0, ge=0)
    """Time for which messages are kept; 0: until deleted by a user (s)."""


class AnnouncementsConfig(Section):
    """Sound files (WAV, Ogg, MP3, …) played to callers before a failed call is rejected, by cause; without a file
    the call is rejected at once. For trunk callers only with `trunks[].announcements`."""

    busy: Path | None = None
    """The callee is in another call, or accepts none."""
    declined: Path | None = None
    """The callee declined the call."""
    no_answer: Path | None = None
    """No answer in time."""
    unavailable: Path | None = None
    """The callee is not available."""
    unreachable: Path | None = None
    """The other telephone system does not answer."""
    not_found: Path | None = None
    """No user with the name or number."""
    forbidden: Path | None = None
    """The caller is not allowed to call the number."""
    line_full: Path | None = None
    """All lines of the trunk are in use."""
    longest: float = Field(default=20.0, ge=1, le=50)
    """Longest part of a file to play (s)."""
    max_calls: int = Field(default=20, ge=1)
    """Callers hearing an announcement at once; further callers are rejected at once."""

    @property
    def files(self) -> dict[str, Path]:
        """Return the sound files by cause."""
        every = (name for name in type(self).model_fields if name not in ("longest", "max_calls"))
        return {name.replace("_", "-"): path for name in every if (path := getattr(self, name)) is not None}
