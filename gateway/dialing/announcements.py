"""What callers hear whose call has failed: a sound for each cause, by the configuration (announcements)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from gateway.access.gatekeeper import TRUNK
from gateway.access.nodes import NODE
from gateway.call.leg import CallerLeg
from gateway.call.status import Cause, cause_of_word
from gateway.call.timers import Timers
from gateway.config import Config
from gateway.config.people import Trunk
from gateway.errors import ConfigError
from gateway.legs.announcement import AnnouncementLeg
from gateway.media.embedded.audio.codecs import read_audio
from gateway.media.embedded.audio.pcm import AudioError
from gateway.media.engine import MediaEngine

log = structlog.get_logger(__name__)

_RATE = 16_000
_END = bytes(2 * _RATE // 5)
"""Silence after the last word, so that the refusal does not cut it off."""


class Announcements:
    """The sounds, and the calls in which they are heard now (`gateway.call.registry.Announcer`)."""

    def __init__(
        self,
        sounds: Mapping[Cause, bytes],
        most: int,
        engine: MediaEngine,
        trunks: Mapping[str, Trunk],
        timers: Callable[[], Timers],
    ) -> None:
        """`sounds`: int16 samples, 16,000 a second; `most`: how many are heard at once, further calls fail at once."""
        self._sounds = sounds
        self._most = most
        self._engine = engine
        self._trunks = trunks
        self._timers = timers
        self._heard = 0

    def announces(self, cause: Cause, caller: CallerLeg) -> bool:
        return cause in self._sounds and self._heard < self._most and self._is_told(caller.identity)

    def _is_told(self, identity: str | None) -> bool:
        """Users and guests are; who comes by a trunk where that says so; another gateway has its own."""
        if identity is None or not identity.startswith((TRUNK, NODE)):
            return True
        trunk = self._trunks.get(identity.removeprefix(TRUNK)) if identity.startswith(TRUNK) else None
        return trunk is not None and trunk.announcements

    def leg(self, cause: Cause, caller: CallerLeg, call_id: str) -> AnnouncementLeg | None:
        if not self.announces(cause, caller):
            return None
        self._heard += 1
        return AnnouncementLeg(
            f"{call_id}-announcement",
            cause,
            self._sounds[cause],
            _RATE,
            audio=partial(self._engine.audio, call_id),
            timers=self._timers(),
            on_end=self._ended,
        )

    def _ended(self) -> None:
        self._heard -= 1


async def open_announcements(config: Config, engine: MediaEngine, trunks: Mapping[str, Trunk]) -> Announcements:
    """Those of the configuration, as far as the media engine can say them; raises ConfigError for a file without
    sound."""
    wanted = config.announcements
    sounds = dict[Cause, bytes]()
    if wanted.files and not engine.capabilities.programs:
        log.warning("announcements: this media engine says none")
        return Announcements(sounds, 0, engine, trunks, asyncio.get_running_loop)
    for word, path in wanted.files.items():
        key = f"announcements.{word.replace('-', '_')}"
        try:
            pcm = await asyncio.to_thread(read_audio, str(path), _RATE, wanted.longest)
        except AudioError as error:
            raise ConfigError(key, str(error)) from None
        if not len(pcm):
            raise ConfigError(key, f"{path} has no sound")
        sounds[cause_of_word(word)] = pcm.tobytes() + _END
    return Announcements(sounds, wanted.max_calls, engine, trunks, asyncio.get_running_loop)
