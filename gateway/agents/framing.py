"""The messages of an agent's socket: JSON text with one event each, its names those that voice-agent services share.

Sound is 20 ms of mono PCM, signed 16 bits, little-endian: in base64 within a media event, or as a binary message.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from itertools import count
from typing import Any

from gateway.errors import GatewayError

FRAME_MS = 20
ENCODING = "pcm_s16le"
MAX_NAME = 256
"""Characters of a mark's name, and of what a call is to be passed on to."""


class FramingError(GatewayError):
    """A message is none of the events; `str()` is one sentence that quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Media:
    """To be said after all that waits: PCM as above."""

    pcm: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """To be told back by its name once everything before it was said, or cleared."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    """What waits is not to be said."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The caller is to be passed on."""

    to: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The call is to end."""


Event = Media | Mark | Clear | Transfer | Stop


def read(message: str | bytes, stream: str) -> Event:
    """One message of the program in the call whose stream has this id; raises FramingError."""
    if isinstance(message, bytes):
        return Media(_whole_samples(message))
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        raise FramingError("a message is JSON text, or binary PCM") from None
    if not isinstance(value, dict):
        raise FramingError("a message is a JSON object")
    if value.get("streamSid", stream) != stream:
        raise FramingError("streamSid is not that of this call")
    kind = value.get("event")
    body = value.get(kind) if isinstance(kind, str) else None
    match kind:
        case "media":
            return Media(_whole_samples(_decoded(_text(body, "media", "payload"))))
        case "mark":
            return Mark(_short(_text(body, "mark", "name"), "mark.name"))
        case "transfer":
            return Transfer(_short(_text(body, "transfer", "to"), "transfer.to"))
        case "clear":
            return Clear()
        case "stop":
            return Stop()
    raise FramingError("event is media, mark, clear, transfer or stop")


def _text(body: Any, event: str, key: str) -> str:
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, str):
        raise FramingError(f"{event}.{key} is text")
    return value


def _short(text: str, name: str) -> str:
    if not 0 < len(text) <= MAX_NAME or not text.isprintable():
        raise FramingError(f"{name} is 1 to {MAX_NAME} printable characters")
    return text


def _decoded(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise FramingError("media.payload is base64") from None


def _whole_samples(pcm: bytes) -> bytes:
    if len(pcm) % 2:
        raise FramingError("PCM of 16 bits has an even number of octets")
    return pcm


class Writer:
    """The gateway's messages about one call."""

    def __init__(self, stream: str, rate: int, *, binary: bool) -> None:
        """`rate`: samples a second; `binary`: sound goes as binary messages."""
        self.stream = stream
        self._rate = rate
        self._binary = binary
        self._numbers = count(1)
        self._chunks = 0

    def start(self, call: str, **about: str | None) -> str:
        """The call is up; `about` says who calls whom."""
        form = {"encoding": ENCODING, "sampleRate": self._rate, "channels": 1}
        said = {key: value for key, value in about.items() if value is not None}
        return self._event(
            "start",
            {
                "streamSid": self.stream,
                "callSid": call,
                "tracks": ["inbound"],
                "mediaFormat": form,
                "customParameters": said,
            },
        )

    def media(self, pcm: bytes) -> str | bytes:
        """20 ms of what the caller says."""
        self._chunks += 1
        if self._binary:
            return pcm
        return self._event(
            "media",
            {
                "track": "inbound",
                "chunk": str(self._chunks),
                "timestamp": self._timestamp(),
                "payload": base64.b64encode(pcm).decode(),
            },
        )

    def speech(self, *, speaking: bool) -> str:
        """The caller has begun to speak, or has been silent for a while after it; seen in the latest `media`."""
        return self._event("speech", {"track": "inbound", "speaking": speaking, "timestamp": self._timestamp()})

    def dtmf(self, digit: str) -> str:
        """The caller has pressed a digit."""
        return self._event("dtmf", {"track": "inbound", "digit": digit})

    def mark(self, name: str) -> str:
        """What the program said before its mark of that name was said, or cleared."""
        return self._event("mark", {"name": name})

    def transfer_failed(self, to: str, reason: str) -> str:
        """The caller could not be passed on, and is still there."""
        return self._event("transfer", {"to": to, "failed": reason})

    def error(self, reason: str) -> str:
        """What was asked for was not done."""
        return self._event("error", {"message": reason})

    def stop(self, reason: str) -> str:
        """The call is over."""
        return self._event("stop", {"reason": reason})

    def _timestamp(self) -> str:
        return str((self._chunks - 1) * FRAME_MS)

    def _event(self, kind: str, body: dict[str, Any]) -> str:
        number = str(next(self._numbers))
        return json.dumps({"event": kind, "sequenceNumber": number, "streamSid": self.stream, kind: body})
