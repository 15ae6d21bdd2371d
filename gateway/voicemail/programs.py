"""Voicemail: the program that takes messages, and the one by which a user hears them on a phone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from gateway.call.leg import DigitPressed
from gateway.call.status import Cause
from gateway.identity.model import User
from gateway.legs.application import Session, SessionError
from gateway.legs.speech import Samples
from gateway.legs.tones import DONE, LEFT, PROMPT, REFUSED, sound
from gateway.media.engine import MediaError, Recording, RecordingFile
from gateway.people.board import Board
from gateway.people.mailboxes import MailboxCounts
from gateway.voicemail.mailboxes import Mailboxes, VoiceMessage

log = structlog.get_logger(__name__)

VOICEMAIL = "voicemail"
LISTEN = "voicemail-listen"
"""Names of the two programs (gateway.dialing.applications.Application.serve)."""
_CHOICE = 5.0
"""Seconds that a user has to press a digit after a message."""
_GREETING_LONGEST = 60.0
_RATE = 16_000
"""Samples a second of sound that is read."""
REPEAT, NEXT, DELETE = "1", "2", "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoicemailSettings:
    """Whose mailboxes there are, and how much they bear."""

    folder: Path
    users: tuple[str, ...] = ()
    """Ids; "*": everybody."""
    after: float = 25.0
    greeting: Path | None = None
    max_messages: int = 50
    longest: float = 180.0
    shortest: float = 1.0
    min_free: int = 0
    keep: float = 0.0


class Voicemail:
    """The mailboxes, their programs, and the lamps."""

    def __init__(
        self,
        settings: VoicemailSettings,
        is_user: Callable[[str], bool],
        board: Board[MailboxCounts],
        read_audio: Callable[[str, int, float], Samples],
        wall_clock: Callable[[], float],
        new_token: Callable[[], str],
    ) -> None:
        """`read_audio(path, rate, seconds)` gives the sound of a file, or raises; it blocks."""
        self.settings = settings
        """Whose boxes there are, and greetings, may be others in the course of things."""
        self._is_user = is_user
        self._board = board
        self._read_audio = read_audio
        self._wall_clock = wall_clock
        self._new_token = new_token
        self._boxes = Mailboxes(
            settings.folder, max_messages=settings.max_messages, keep=settings.keep, longest=settings.longest
        )
        self._leaving: dict[str, set[asyncio.Future[None]]] = {}
        """Messages that are being left, by user; each is done when its user is no more."""

    def has(self, user: User) -> bool:
        """Whether a user has a mailbox."""
        return user.id in self.settings.users or "*" in self.settings.users

    @property
    def after(self) -> float:
        """Seconds until a call that nobody answers comes here."""
        return self.settings.after

    async def load(self) -> None:
        """Say what waits for whom, and what was being said when a process died, at the start of this one."""
        await self._look(is_start=True)

    async def _look(self, *, is_start: bool) -> None:
        users = await self._boxes.users()
        for user in users:
            for message, path in await self._boxes.unfinished(user, is_start=is_start):
                await self._finish(user, message, path)
        await self._count(users)

    async def _finish(self, user: str, message: VoiceMessage, path: Path) -> None:
        """What is too short stays until it is old."""
        try:
            pcm = await asyncio.to_thread(self._read_audio, str(path), _RATE, self.settings.longest)
            if len(pcm) >= self.settings.shortest * _RATE:
                await self._boxes.put(user, replace(message, seconds=len(pcm) / _RATE))
        except Exception as error:
            log.warning("message not kept", user=user, reason=type(error).__name__)
        finally:
            self._boxes.give_up(user, message.id)

    async def expire(self, now: float) -> int:
        """Delete what was kept long enough; of how many users. Find what other processes have left or put there."""
        await self._look(is_start=False)
        changed = await self._boxes.expire(now)
        await self._count(changed)
        return len(changed)

    async def forget(self, user: str) -> None:
        """Nothing of a user is left, nor what is being said to it; raises OSError."""
        for gone in self._leaving.pop(user, ()):
            gone.set_result(None)
        await self._boxes.forget(user)
        await self._count([user])

    async def _count(self, users: Iterable[str]) -> None:
        for user in users:
            messages = await self._boxes.messages(user)
            new = sum(one.new for one in messages)
            counts = replace(self._board.of(user), voice_new=new, voice_old=len(messages) - new)
            self._board.set(user, counts)

    # -- pages -----------------------------------------------------------------------

    async def listed(self, user: str) -> list[dict[str, Any]]:
        """A user's messages, the new ones first."""
        return [
            {
                "id": one.id,
                "caller": one.caller,
                "display_name": one.display_name,
                "at": one.at,
                "seconds": one.seconds,
                "new": one.new,
            }
            for one in await self._boxes.messages(user)
        ]

    async def sound(self, user: str, message_id: str) -> Path | None:
        """The file of a message, which is not new any more; None where there is none."""
        found = next((one for one in await self._boxes.messages(user) if one.id == message_id), None)
        path = self._boxes.sound(user, message_id) if found is not None else None
        if found is not None and path is not None:
            await self._heard(user, found)
        return path

    async def remove(self, user: str, message_id: str) -> bool:
        """Delete a message; False where there is none."""
        removed = await self._boxes.drop(user, message_id)
        await self._count([user])
        return removed

    async def _heard(self, user: str, message: VoiceMessage) -> None:
        if message.new:
            with contextlib.suppress(OSError):
                await self._boxes.heard(user, message)
            await self._count([user])

    # -- programs ----------------------------------------------------------------------

    async def leave(self, session: Session, user: str) -> None:
        """Take a message for a user: greeting, tone, then what is said until # or the end of the call."""
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        leaving = self._leaving.setdefault(user, set())
        leaving.add(gone)
        try:
            await self._leave(session, user, gone)
        finally:
            leaving.discard(gone)
            if not leaving and self._leaving.get(user) is leaving:
                del self._leaving[user]

    async def _leave(self, session: Session, user: str, gone: asyncio.Future[None]) -> None:
        waiting = len(await self._boxes.messages(user))
        if waiting + len(self._leaving.get(user, ())) > self.settings.max_messages:
            log.info("mailbox full", user=user)
            await session.reject(Cause.BUSY)
            return
        await session.answer()
        greeting = self.settings.greeting
        if greeting is not None:
            await self._say(session, str(greeting))
        await session.play(sound(PROMPT))
        if gone.done():
            await session.play(sound(REFUSED))
        else:
            await self._take(session, user, gone)

    async def _take(self, session: Session, user: str, gone: asyncio.Future[None]) -> None:
        now = self._wall_clock()
        message_id = f"{datetime.fromtimestamp(now, UTC):%Y%m%d-%H%M%S}-{self._new_token()}"
        ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        caller = session.caller
        message = VoiceMessage(
            id=message_id, caller=caller.uri, display_name=caller.display_name, at=now, seconds=0.0, new=True
        )
        try:
            recording = await self._record(session, user, message, ended.set_result)
        except (OSError, MediaError) as error:
            log.warning("message not taken", user=user, reason=str(error))
            await session.play(sound(REFUSED))
            return
        hash_pressed = asyncio.ensure_future(_until_hash(session))
        try:
            await asyncio.wait((hash_pressed, ended, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hash_pressed.cancel()
            recording.stop()
            # Also where this program is being stopped: what was said is kept.
            is_kept = await asyncio.shield(self._keep(user, message, ended, lambda: recording.seconds, gone))
        if session.ended is None:
            await session.play(sound(DONE if is_kept else REFUSED))

    async def _record(
        self, session: Session, user: str, message: VoiceMessage, ended: Callable[[str | None], None]
    ) -> Recording:
        """Begin to write what is said; raises OSError, MediaError, SessionError."""
        settings = self.settings
        path = await self._boxes.place(user, message)
        wanted = RecordingFile(
            path=str(path), format="opus", channels=1, min_free=settings.min_free, longest=settings.longest
        )
        try:
            return session.record(wanted, ended)
        except (MediaError, SessionError):
            await self._boxes.drop(user, message.id)
            raise

    async def _keep(
        self,
        user: str,
        message: VoiceMessage,
        ended: asyncio.Future[str | None],
        seconds: Callable[[], float],
        gone: asyncio.Future[None],
    ) -> bool:
        """Whether it is one that its user will find."""
        reason = await ended
        if reason is not None:
            log.info("message ended", user=user, reason=reason)
        message = replace(message, seconds=seconds())
        try:
            is_kept = await self._boxes.put(user, message) and message.seconds >= self.settings.shortest
        except OSError as error:
            log.warning("message not kept", user=user, reason=error.strerror)
            is_kept = False
        if gone.done():
            is_kept = False
            await self._boxes.discard(user, message.id)
        elif not is_kept:  # who has left it is told so
            with contextlib.suppress(OSError):
                await self._boxes.drop(user, message.id)
        await self._count([user])
        return is_kept

    async def listen(self, session: Session, _: str) -> None:
        """Let a user hear its messages: 1 again, 2 or # the next one, 3 delete it."""
        await session.answer()
        user = session.identity
        if user is None or not self._is_user(user):
            await session.play(sound(REFUSED))
            return
        for message in await self._boxes.messages(user):
            path = self._boxes.sound(user, message.id)
            while path is not None and session.ended is None:
                digit = await self._hear(session, str(path))
                await self._heard(user, message)
                if digit == REPEAT:
                    continue
                if digit == DELETE:
                    await self.remove(user, message.id)
                    session.say(sound(DONE))
                break
        await session.play(sound(LEFT))

    async def _hear(self, session: Session, path: str) -> str | None:
        """One message after a tone; the digit that was pressed in it, or soon after."""
        session.say(sound(PROMPT))
        playing = asyncio.ensure_future(self._say(session, path))
        digit = asyncio.ensure_future(session.digit())
        try:
            await asyncio.wait((playing, digit), return_when=asyncio.FIRST_COMPLETED)
            if not digit.done():
                await asyncio.wait((digit,), timeout=_CHOICE)
            return digit.result() if digit.done() else None
        finally:
            for task in (playing, digit):
                task.cancel()
            await asyncio.gather(playing, digit, return_exceptions=True)

    async def _say(self, session: Session, path: str) -> None:
        """Play a file in pieces, for a program may not have more than a minute wait."""
        try:
            pcm = await asyncio.to_thread(self._read_audio, path, _RATE, max(self.settings.longest, _GREETING_LONGEST))
        except Exception as error:
            log.warning("sound not played", file=Path(path).name, reason=str(error))
            return
        for start in range(0, len(pcm), _PIECE):
            if not await session.play(pcm[start : start + _PIECE]):
                return


_PIECE = 30 * _RATE
"""Samples played at once."""


async def _until_hash(session: Session) -> None:
    """Return when the caller presses #, or hangs up."""
    with contextlib.suppress(SessionError):
        async for event in session:
            if isinstance(event, DigitPressed) and event.digit == "#":
                return
