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
"""What routes can name."""


class RoomConfig(Section):
    """A conference room with rules of its own, called by a route to `room:NAME`."""

    name: _Name
    """What routes call it."""
    pin: Secret | None = None
    """Digits that everybody is asked for who comes in; default: none."""
    max_members: int | None = Field(default=None, ge=1)
    """Members at once; default: conference.max_members."""
    tones: bool = True
    """Who comes and goes is heard by a short tone."""
    record: bool = False
    """Record it from its first member to its last, as `recording` says."""
    video: tuple[Literal["h264", "vp8", "vp9", "av1"], ...] = ("h264", "vp8", "vp9", "av1")
    """Codecs of its members' pictures, those of `video.codecs` alone: each sends in the first that it has, and
    sees who speaks, or spoke last, in a codec that it takes; `[]`: sound alone."""
    max_videos: int = Field(default=8, ge=1, le=8)
    """Members that a browser sees at once, each in a section of its own, those who spoke last; 1: who speaks alone, as
    phones do."""
    room_server: bool = False
    """The room of this name at /webrtc/signaling is the same one: its browsers and those who dial it hear each other.
    Neither `pin` nor `members` keeps those browsers out."""
    members: tuple[Text, ...] = ()
    """Ids of users, and trunk:NAME, who may come in; default: everybody who may dial it."""
    moderators: tuple[Text, ...] = ()
    """Ids of users who may mute and remove others, lock the room and record it; `"*"`: each user who is in it;
    default: operators alone."""

    @field_validator("pin")
    @classmethod
    def _digits(cls, pin: Secret | None) -> Secret | None:
        if pin is not None and not re.fullmatch(r"[0-9]{1,16}", pin.get_secret_value()):
            raise ValueError("must be 1 to 16 digits")
        return pin


class AgentConfig(Section):
    """A program elsewhere that takes calls over a WebSocket, by a route to `agent:NAME`."""

    name: _Name
    """What routes call it."""
    url: Text | None = None
    """Where it listens, ws:// or wss://: connected to for each call; default: it comes to /api/agents/NAME itself."""
    token: Secret | None = None
    """Shown by whoever connects, as "Authorization: Bearer"; a program that comes to us needs one."""
    rate: Literal[8000, 16000, 32000, 48000] = 16000
    """Samples a second, both ways."""
    binary: bool = False
    """Sound goes to it as binary messages, not as base64 within JSON."""
    may_call: tuple[Text, ...] = ()
    """Patterns of numbers that it may pass its callers on to, as users[].may_call; default: none."""
    max_messages_per_second: float = Field(default=500.0, ge=50, le=100_000)
    """A program that sends more, over ten seconds, loses its connection and its call."""

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
    """What holds for all conference rooms."""

    max_rooms: int = Field(default=100, ge=1)
    """Rooms at once; who would open another one is refused."""
    max_members: int = Field(default=50, ge=2)
    """Members of one room at once, where the room does not say it."""
    max_speakers: int = Field(default=8, ge=0)
    """Who are heard at once in a room, the loudest of those who speak; 0: all of them."""
    numbers: Text = "8000-8099"
    """Numbers of the rooms that users open on the page and by the API; "": they open none. What a route, a user or a
    service has is left out."""
    opened_by: Literal["user", "operator", "admin"] = "user"
    """The least role of who may open rooms."""
    min_pin: int = Field(default=4, ge=0, le=16)
    """Digits that the PIN of such a room has at least; 0: it needs none."""
    max_per_user: int = Field(default=5, ge=1)
    """Such rooms of one user."""
    max_opened: int = Field(default=100, ge=1)
    """Such rooms of all users together."""
    empty_time: float = Field(default=604_800.0, ge=60)
    """Such a room is closed once nobody was in it for so long (s)."""

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
    """Whose calls are all recorded: ids of users, trunk:NAME, * for anything; default: nobody's."""
    by_users: bool = False
    """Let users record their own calls, on the page, by the API and by `digits`."""
    digits: Text = ""
    """What a user presses in a call, on a phone or on the page, to begin and to end its recording; default: nothing."""
    folder: Path = Path("recordings")
    """Where they are kept; relative to the state directory."""
    format: Literal["wav", "opus"] = "wav"
    """"wav" (32 KB a second for each channel) or "opus" (in Ogg, 4 KB)."""
    channels: int = Field(default=2, ge=1, le=2)
    """2: who called on the left, the other side on the right; 1: mixed. Rooms are mixed."""
    beep: bool = True
    """A tone tells both sides, or all of a room, that a recording begins. Many countries want the consent of all who
    are recorded."""
    min_free: int = Field(default=500_000_000, ge=0)
    """What must stay free on the disk (bytes): a recording ends before, its call goes on."""
    longest: float = Field(default=14_400.0, gt=0)
    """A recording ends after so long (s)."""
    keep: float = Field(default=0.0, ge=0)
    """How long recordings are kept; 0: until somebody deletes them (s)."""

    @field_validator("digits")
    @classmethod
    def _two(cls, digits: str) -> str:
        if digits and not re.fullmatch(r"[0-9*#]{2,8}", digits):
            raise ValueError(f"{digits!r} must be 2 to 8 of 0-9 * #")
        return digits


class VoicemailConfig(Section):
    """Mailboxes: who is busy, does not answer or is not there is left a message."""

    users: tuple[Text, ...] = ()
    """Ids of the users who have one; "*" everybody. Their own forwards come first."""
    after: float = Field(default=25.0, ge=1, le=600)
    """How long a call may ring before it goes to the mailbox (s); sip.ring_timeout bounds it."""
    greeting: Path | None = None
    """A sound file (WAV, Ogg, MP3, …) that callers hear before the tone; default: the tone alone."""
    folder: Path = Path("voicemail")
    """Where messages are kept; relative to the state directory."""
    max_messages: int = Field(default=50, ge=1)
    """Of one user; who calls a full mailbox hears that the user is busy."""
    longest: float = Field(default=180.0, ge=5, le=3_600)
    """A message ends after so long (s)."""
    shortest: float = Field(default=1.0, ge=0)
    """Shorter ones are not kept: somebody has hung up (s)."""
    keep: float = Field(default=2_592_000.0, ge=0)
    """How long messages are kept; 0: until somebody deletes them (s)."""


class AnnouncementsConfig(Section):
    """What callers hear whose call fails, before they are told so: sound files (WAV, Ogg, MP3, …), by cause; for the
    others they are told at once. Who comes by a trunk hears them where `trunks[].announcements` says so."""

    busy: Path | None = None
    """Who is called has another call, or wants none."""
    declined: Path | None = None
    """Who is called has refused it."""
    no_answer: Path | None = None
    """Nobody has answered in time."""
    unavailable: Path | None = None
    """Who is called is not there."""
    unreachable: Path | None = None
    """The other telephone system does not answer."""
    not_found: Path | None = None
    """There is nobody of that name or number."""
    forbidden: Path | None = None
    """The caller may not call there."""
    line_full: Path | None = None
    """Every line of the trunk is taken."""
    longest: float = Field(default=20.0, ge=1, le=50)
    """No more of a file is heard (s)."""
    max_calls: int = Field(default=20, ge=1)
    """Callers who hear one at once; who comes beyond is told at once."""

    @property
    def files(self) -> dict[str, Path]:
        """By the word of the cause."""
        every = (name for name in type(self).model_fields if name not in ("longest", "max_calls"))
        return {name.replace("_", "-"): path for name in every if (path := getattr(self, name)) is not None}
