"""Voice mailboxes on disk: a folder for each user, a file of sound and one beside it for each message."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from gateway.files import sync_file, write_whole

log = structlog.get_logger(__name__)

_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8,40}")
_USER = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}")
SOUND = ".opus"
_BEGUN = ".part"
"""Beside the sound of a message that is being left, what is known of it, for whoever finds it if the process dies,
which locks it until then."""
_SLACK = 60.0
"""Seconds between the end of a message and when it is surely kept."""
_REMOVALS = 10
"""How often a folder to which somebody adds is emptied anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceMessage:
    """What somebody has said to a mailbox."""

    id: str
    caller: str
    """SIP URI."""
    display_name: str
    at: float
    """Unix seconds."""
    seconds: float
    new: bool
    """Nobody has heard it yet."""


class Mailboxes:
    """Of all users. What is written survives the process; methods that touch the disk run in threads."""

    def __init__(self, folder: Path, *, max_messages: int, keep: float, longest: float) -> None:
        """`keep` in seconds, 0: for ever; `longest`: how long a message is at most (s)."""
        self._folder = folder
        self._max_messages = max_messages
        self._keep = keep
        self._longest = longest
        self._lock = asyncio.Lock()
        self._locked: dict[Path, int | None] = {}
        """Descriptors of the messages that are this process's to keep; None on a disk that knows no locks."""

    async def messages(self, user: str) -> list[VoiceMessage]:
        """The new ones first, each the oldest first."""
        return await asyncio.to_thread(self._read, user)

    async def users(self) -> list[str]:
        """Who has a folder."""
        return await asyncio.to_thread(self._users)

    async def is_full(self, user: str) -> bool:
        """Whether no further message fits."""
        return len(await self.messages(user)) >= self._max_messages

    async def place(self, user: str, message: VoiceMessage) -> Path:
        """The file for the sound of a message that is about to be left; raises OSError."""
        path = self._path(user, message.id)
        begun = path.with_suffix(_BEGUN)

        def begin() -> None:
            begun.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(begun, _about(message))
            self._take(begun, fcntl.LOCK_EX)

        self._locked[begun] = None
        try:
            await asyncio.to_thread(begin)
        except OSError:
            self._let_go(begun)
            raise
        return path

    async def unfinished(self, user: str, *, is_start: bool) -> list[tuple[VoiceMessage, Path]]:
        """What was being left when a process died, each with its sound; this one's until it is put or given up.

        On a disk that knows no locks, where nobody can tell who is alive, at the start of this process only.
        """

        def found() -> list[tuple[VoiceMessage, Path]]:
            begun = [(one, self._path(user, one.id)) for one in self._read(user, _BEGUN)]
            return [(one, path) for one, path in begun if self._is_left(path.with_suffix(_BEGUN), is_start)]

        return await asyncio.to_thread(found)

    def _is_left(self, begun: Path, is_start: bool) -> bool:
        """Whether nobody is to keep it, or has; it is locked then."""
        try:
            if begun in self._locked or not self._take(begun, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return False
        except OSError as error:
            log.warning("message not kept", user=begun.parent.name, reason=error.strerror)
            return False
        is_free = is_start or self._locked[begun] is not None
        # One that was kept may have been heard since, though its process died before it had tidied up.
        if is_free and begun.is_file() and not begun.with_suffix(".json").is_file():
            return True
        self._let_go(begun)
        return False

    async def put(self, user: str, message: VoiceMessage) -> bool:
        """List a message whose sound is complete, unless another process has deleted the message.

        Returns whether the message is listed. Both files survive a power cut from then on. Raises OSError.
        """
        path = self._path(user, message.id).with_suffix(".json")
        begun = path.with_suffix(_BEGUN)

        def keep() -> bool:
            if begun.is_file():
                sync_file(path.with_suffix(SOUND))  # first: no message is listed without its sound
                write_whole(path, _about(message))
                begun.unlink(missing_ok=True)
            return path.is_file()

        try:
            async with self._lock:
                return await asyncio.to_thread(keep)
        finally:
            self._let_go(begun)

    def give_up(self, user: str, message_id: str) -> None:
        """Whoever looks next may keep the message."""
        self._let_go(self._path(user, message_id).with_suffix(_BEGUN))

    def _take(self, begun: Path, operation: int) -> bool:
        """Lock it until the process ends; False where another has, or it is there no more. Raises OSError."""
        try:
            descriptor = os.open(begun, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:  # of a disk that knows no locks
            os.close(descriptor)
            self._locked[begun] = None
            return True
        self._locked[begun] = descriptor
        return True

    def _let_go(self, begun: Path) -> None:
        descriptor = self._locked.pop(begun, None)
        if descriptor is not None:
            os.close(descriptor)

    async def heard(self, user: str, message: VoiceMessage) -> None:
        """Keep that a message was heard, unless it was deleted meanwhile; raises OSError."""
        path = self._path(user, message.id).with_suffix(".json")
        async with self._lock:
            if await asyncio.to_thread(path.is_file):
                await asyncio.to_thread(write_whole, path, _about(replace(message, new=False)))

    async def drop(self, user: str, message_id: str) -> bool:
        """Delete a message; False where there is none."""
        if not self._is_message(user, message_id):
            return False
        async with self._lock:
            there = await asyncio.to_thread(_unlink, self._path(user, message_id))
        self.give_up(user, message_id)
        return there

    def sound(self, user: str, message_id: str) -> Path | None:
        """The file of a message."""
        if not self._is_message(user, message_id):
            return None
        path = self._path(user, message_id)
        return path if path.with_suffix(".json").is_file() and path.is_file() else None

    async def forget(self, user: str) -> None:
        """Delete everything of a user; raises OSError."""
        if _USER.fullmatch(user):
            await asyncio.to_thread(_remove_folder, self._folder / user)

    async def discard(self, user: str, message_id: str) -> None:
        """Delete a message that came too late, with the folder that it alone is in; raises OSError."""
        if self._is_message(user, message_id):
            path = self._path(user, message_id)
            await asyncio.to_thread(_unlink, path)
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    async def expire(self, now: float) -> list[str]:
        """Delete what was kept long enough, and sound of no message; whose mailboxes are others now."""
        changed = []
        for user in await self.users():
            await asyncio.to_thread(self._tidy, user, now - self._longest - _SLACK)
            old = [one for one in await self.messages(user) if self._keep and one.at < now - self._keep]
            for message in old:
                await self.drop(user, message.id)
            changed += [user] if old else []
        return changed

    def _path(self, user: str, message_id: str) -> Path:
        return self._folder / user / f"{message_id}{SOUND}"

    @staticmethod
    def _is_message(user: str, message_id: str) -> bool:
        return bool(_USER.fullmatch(user) and _ID.fullmatch(message_id))

    def _tidy(self, user: str, before: float) -> None:
        """Delete what a process that ended left of messages that nobody has finished since."""
        folder = self._folder / user
        with contextlib.suppress(OSError):
            names = set(os.listdir(folder))
            for name in names:
                stem = name.partition(".")[0]
                if _ID.fullmatch(stem) and f"{stem}.json" not in names and (folder / name).stat().st_mtime < before:
                    (folder / name).unlink(missing_ok=True)
                    self._let_go(folder / name)

    def _users(self) -> list[str]:
        try:
            return sorted(one for one in os.listdir(self._folder) if _USER.fullmatch(one))
        except OSError:
            return []

    def _read(self, user: str, wanted: str = ".json") -> list[VoiceMessage]:
        if not _USER.fullmatch(user):
            return []
        found = []
        try:
            names = sorted(os.listdir(self._folder / user))
        except OSError:
            return []
        for name in names:
            stem, kind = os.path.splitext(name)
            if kind == wanted and _ID.fullmatch(stem):
                message = _message(self._folder / user / name, stem)
                if message is not None:
                    found.append(message)
        return sorted(found, key=lambda one: (not one.new, one.at))


def _about(message: VoiceMessage) -> str:
    """What is kept of a message beside its sound."""
    return json.dumps(
        {
            "caller": message.caller,
            "display_name": message.display_name,
            "at": message.at,
            "seconds": round(message.seconds, 1),
            "new": message.new,
        }
    )


def _message(path: Path, message_id: str) -> VoiceMessage | None:
    try:
        about: dict[str, Any] = json.loads(path.read_text())
        return VoiceMessage(
            id=message_id,
            caller=str(about["caller"]),
            display_name=str(about["display_name"]),
            at=float(about["at"]),
            seconds=float(about["seconds"]),
            new=bool(about["new"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("voice message unreadable", file=path.name, reason=type(error).__name__)
        return None


def _remove_folder(folder: Path) -> None:
    """Delete a folder to which messages that are being left may still add; raises OSError."""
    for left in reversed(range(_REMOVALS)):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:  # the folder, or a file that its own writer has deleted meanwhile
            pass
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not left:
                raise
        if not folder.exists():
            return


def _unlink(path: Path) -> bool:
    there = path.with_suffix(".json").is_file()
    for suffix in (".json", _BEGUN, SOUND):
        path.with_suffix(suffix).unlink(missing_ok=True)
    return there
