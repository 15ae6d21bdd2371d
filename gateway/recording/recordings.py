"""Recordings of calls and rooms: which, where, by whom; a file of sound and one beside it that says of what."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from gateway.call.call import Call
from gateway.call.leg import Leg
from gateway.call.registry import Calls
from gateway.call.state import State
from gateway.errors import GatewayError
from gateway.files import write_whole
from gateway.media.engine import (
    Conference,
    MediaEngine,
    MediaError,
    Recording,
    RecordingFile,
)

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[A-Za-z0-9._+-]{1,80}\.(wav|opus)")
_ABOUT = re.compile(r"[0-9]{8}-[0-9]{6}-[A-Za-z0-9._+-]{1,80}\.json((\.[0-9a-f]{8})?\.new)?")
_KINDS = (".wav", ".opus")
_MOST_LISTED = 1_000
_MOST_ALIKE = 1_000
"""Recordings of one name that may begin in one second."""
_CLOSING = 5.0
"""Seconds that the end waits for files to be finished."""


class RecordingError(GatewayError):
    """What was asked for cannot be; `status` is HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSettings:
    """What is recorded, and how."""

    folder: Path
    calls: tuple[str, ...] = ()
    """Patterns of identities whose calls are all recorded."""
    by_users: bool = False
    digits: str = ""
    format: str = "wav"
    channels: int = 2
    beep: bool = True
    min_free: int = 0
    longest: float = 14_400.0
    keep: float = 0.0


@dataclass(slots=True, eq=False)
class _Running:
    """One recording, until its file is finished."""

    key: str
    about: dict[str, Any]
    path: Path | None = None
    """None until there is room for it on the disk."""
    recording: Recording | None = None
    by_user: bool = False
    """Whether a user began it, neither a rule nor an operator."""
    ended: Callable[[], None] = field(default=lambda: None)


class Recordings:
    """Begins and ends them; an observer of the calls."""

    def __init__(
        self,
        settings: RecordingSettings,
        engine: MediaEngine,
        calls: Calls,
        wall_clock: Callable[[], float],
        is_user: Callable[[str], bool],
    ) -> None:
        """`is_user`: whether an id is a configured user's."""
        self._settings = settings
        self._engine = engine
        self._calls = calls
        self._wall_clock = wall_clock
        self._is_user = is_user
        self._running: dict[str, _Running] = {}
        """What goes on, by call id, or "room:NAME"."""
        self._unfinished: set[_Running] = set()
        """That, and what was ended and is not written to its end yet."""
        self._asked: dict[str, frozenset[str]] = {}
        """By call, who was in it when its rules were asked."""
        self._latest: dict[str, dict[str, str]] = {}
        """The latest digits of each party, by call."""
        self.changed: Callable[[Call], None] = lambda call: None
        """Told of a call whose recording has begun or ended."""
        self._over = asyncio.Event()
        self._lock = asyncio.Lock()
        self._writing: set[asyncio.Task[None]] = set()

    # -- rules -----------------------------------------------------------------------

    def call_changed(self, call: Call) -> None:
        """Record what the rules say, from its answer on or from when somebody they name comes to it."""
        if call.state is State.ENDED:
            self._asked.pop(call.id, None)
            self._latest.pop(call.id, None)
        elif call.bridge is not None:
            now = frozenset(leg.identity or "" for leg in call.legs)
            come = now - self._asked.get(call.id, frozenset())
            self._asked[call.id] = now
            if any(fnmatchcase(one, pattern) for one in come for pattern in self._settings.calls):
                try:
                    self.begin(call.id)
                except RecordingError as error:
                    if error.status != 501:
                        self._asked[call.id] = now - come  # for the next change: what is full may be emptied
                    log.warning("call not recorded", call_id=call.id, reason=str(error))

    def pressed(self, call: Call, leg: Leg, digit: str) -> None:
        """A digit of a call's leg: those that begin and end the recording of a user's own call are among them."""
        wanted = self._settings.digits
        if not wanted or call.bridge is None:
            return
        latest = self._latest.setdefault(call.id, {})
        digits = latest[leg.party.tag] = (latest.get(leg.party.tag, "") + digit)[-len(wanted) :]
        if digits == wanted and self.may_record(leg.identity):
            latest[leg.party.tag] = ""
            try:
                self.change(call.id, on=not self.is_recorded(call.id), by_user=True)
            except RecordingError as error:
                log.warning("call not recorded", call_id=call.id, reason=str(error))

    def may_record(self, identity: str | None) -> bool:
        """Whether somebody may record its own calls: a user, neither a trunk nor a guest."""
        return self._settings.by_users and identity is not None and self._is_user(identity)

    # -- recordings --------------------------------------------------------------------

    def is_recorded(self, call_id: str) -> bool:
        """Whether a call is being recorded."""
        return call_id in self._running

    def change(self, call_id: str, *, on: bool, by_user: bool = False) -> None:
        """Begin or end the recording of a call; raises RecordingError.

        `by_user`: for a user who is no operator, who may not end (403) what a rule or an operator began.
        """
        if on:
            self.begin(call_id, by_user=by_user)
        elif call_id in self._running:
            running = self._running[call_id]
            if by_user and not running.by_user:
                raise RecordingError("what a rule or an operator began is not yours to end", 403)
            # From now on it may be begun anew, into another file.
            del self._running[call_id]
            if running.recording is not None:
                running.recording.stop()

    def begin(self, call_id: str, *, by_user: bool = False) -> None:
        """Record a call from now on; one that is recorded already goes on. Raises RecordingError.

        What an operator wants recorded, too, is no longer the user's who began it.
        """
        call = self._calls.get(call_id)
        if call is None or call.bridge is None:
            raise RecordingError("there is no answered call of that id", 404)
        if call_id in self._running:
            self._running[call_id].by_user &= by_user
            return
        about = {
            "call": call.id,
            "caller": call.caller.address.uri,
            "dialled": call.record.dialled,
            "parties": [leg.address.uri for leg in call.legs],
        }
        try:
            running = self._begin(
                call_id, call_id, about, lambda file, ended: self._engine.record(call_id, file, ended)
            )
            running.by_user = by_user
            running.ended = lambda: self.changed(call)
            self.changed(call)
        except MediaError as error:
            raise RecordingError(error.reason, 501 if error.status == 501 else 503) from None

    def room(self, name: str, conference: Conference, ended: Callable[[], None]) -> Recording:
        """Record a room (gateway.conference.rooms.Recorder); raises MediaError."""
        plain = re.sub(r"[^A-Za-z0-9._+-]", "_", name)[:60]
        running = self._begin(f"room:{name}", f"room-{plain}", {"room": name}, conference.record)
        running.ended = ended
        assert running.recording is not None
        return running.recording

    def _begin(
        self,
        key: str,
        name: str,
        about: dict[str, Any],
        record: Callable[[RecordingFile, Callable[[str | None], None]], Recording],
    ) -> _Running:
        settings = self._settings
        began = datetime.fromtimestamp(self._wall_clock(), UTC)
        running = _Running(key, {**about, "began": began.isoformat(timespec="seconds")})
        wanted = RecordingFile(
            path=lambda: self._place(running, f"{began:%Y%m%d-%H%M%S}-{name}"),
            format=settings.format,
            channels=settings.channels,
            min_free=settings.min_free,
            longest=settings.longest,
            beep=settings.beep,
            about={key: value for key, value in about.items() if isinstance(value, str)},
        )
        running.recording = record(wanted, lambda reason: self._ended(running, reason))
        if running.recording.kept_by:
            running.about["kept_by"] = running.recording.kept_by
        self._running[key] = running
        self._unfinished.add(running)
        log.info("recording began", **about)
        return running

    def _place(self, running: _Running, stem: str) -> str:
        """A path that is nobody else's, held by what is known of the recording; in a thread. Raises OSError."""
        folder = self._settings.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(1, _MOST_ALIKE):
            path = folder / f"{stem}{f'.{number}' if number > 1 else ''}.{self._settings.format}"
            if not path.exists() and _reserved(path.with_suffix(".json"), running.about):
                running.path = path
                return str(path)
        raise OSError(errno.EEXIST, "too many recordings begin at once")

    def _ended(self, running: _Running, reason: str | None) -> None:
        if self._running.get(running.key) is running:
            del self._running[running.key]
        self._unfinished.discard(running)
        seconds = running.recording.seconds if running.recording is not None else 0.0
        running.about |= {"seconds": round(seconds, 2), "ended": reason or "as was wanted"}
        file = running.about.get("kept_by", running.path.name if running.path is not None else None)
        (log.info if reason is None else log.warning)("recording ended", reason=reason, file=file)
        if running.path is not None:
            self._describe(running.path.with_suffix(".json"), json.dumps(running.about))
        self._over.set()
        running.ended()

    def _describe(self, path: Path, text: str) -> None:
        """Write what is known of a recording beside it, not on the loop."""
        task = asyncio.get_running_loop().create_task(self._write(path, text))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, path: Path, text: str) -> None:
        async with self._lock:
            await asyncio.to_thread(_write, path, text)

    async def close(self) -> None:
        """End every recording, and wait until all is written."""
        for running in tuple(self._unfinished):
            if running.recording is not None:
                running.recording.stop("the gateway stopped")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                while self._unfinished:
                    self._over.clear()
                    await self._over.wait()
        await asyncio.gather(*self._writing, return_exceptions=True)

    # -- what is kept --------------------------------------------------------------------

    async def kept(self) -> list[dict[str, Any]]:
        """What is kept, the newest first: name, size, and what is known of each."""
        return await asyncio.to_thread(self._list)

    def _list(self) -> list[dict[str, Any]]:
        sounds = self._names()
        here = {Path(name).stem for name in sounds}
        notes = [name for name in self._names(_ABOUT) if name.endswith(".json") and Path(name).stem not in here]
        found = map(self._entry, sorted([*sounds, *notes], reverse=True))
        kept = (one for one in found if one["name"].endswith(_KINDS) or "kept_by" in one)
        return list(islice(kept, _MOST_LISTED))

    def _names(self, form: re.Pattern[str] = _NAME) -> list[str]:
        try:
            return [one for one in os.listdir(self._settings.folder) if form.fullmatch(one)]
        except OSError:
            return []

    def _entry(self, name: str) -> dict[str, Any]:
        path = self._settings.folder / name
        try:
            about = json.loads(path.with_suffix(".json").read_text())
        except (OSError, ValueError):
            about = {}
        try:
            size = 0 if path.suffix == ".json" else path.stat().st_size  # that one's sound is not here
        except OSError:
            size = 0
        return {**(about if isinstance(about, dict) else {}), "name": name, "size": size}

    async def path(self, name: str) -> Path:
        """The file of a recording; raises RecordingError 404."""
        path = self._settings.folder / name
        if _ABOUT.fullmatch(name):
            raise RecordingError("its sound is not the gateway's: GET /api/recordings says who has it", 404)
        if not _NAME.fullmatch(name) or not await asyncio.to_thread(path.is_file):
            raise RecordingError("there is no such recording", 404)
        return path

    async def remove(self, name: str) -> None:
        """Delete one; raises RecordingError 404."""
        path = await self.path(name)
        if any(running.path == path for running in self._unfinished):
            raise RecordingError("it is not over yet", 409)
        await asyncio.to_thread(_remove, path)

    async def expire(self, now: float) -> int:
        """Delete what was kept long enough; how many."""
        if not self._settings.keep:
            return 0
        return await asyncio.to_thread(self._expire, now - self._settings.keep)

    def _expire(self, before: float) -> int:
        running = {one.path.name for one in tuple(self._unfinished) if one.path is not None}
        removed = 0
        for name in self._names():
            path = self._settings.folder / name
            try:
                if path.name not in running and path.stat().st_mtime < before:
                    _remove(path)
                    removed += 1
            except OSError as error:
                log.warning("recording not deleted", file=path.name, reason=error.strerror)
        self._forget_soundless(before)
        return removed

    def _forget_soundless(self, before: float) -> None:
        """Delete what is said of recordings whose sound is not there: nothing was heard, or somebody deleted it."""
        unfinished = {one.path.stem for one in tuple(self._unfinished) if one.path is not None}
        there = {Path(name).stem for name in self._names()} | unfinished
        for name in self._names(_ABOUT):
            path = self._settings.folder / name
            try:
                if name.rpartition(".json")[0] not in there and path.stat().st_mtime < before:
                    path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("recording not deleted", file=path.name, reason=error.strerror)


def _reserved(path: Path, about: dict[str, Any]) -> bool:
    """Make a file that says this, unless there is one of that name already; raises OSError."""
    return write_whole(path, json.dumps(about), first_wins=True)


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        log.warning("what was recorded could not be noted", file=path.name, reason=error.strerror)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)
