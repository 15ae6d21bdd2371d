"""What the engine gives to programs: the sound of their calls, recordings, and conferences of their callers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


class AudioPort(Protocol):
    """What a program hears and says as one side of a call: mono PCM, int16 in this machine's order of octets."""

    @property
    def waiting(self) -> float:
        """Seconds that were given to `say` and are not said yet."""

    def listen(self, heard: Callable[[bytes], None], rate: int = 16_000) -> Callable[[], None]:
        """Have `heard` called in the event loop with every 20 ms of what the other side says; returns what ends that.

        Gaps come as silence; after some seconds without a packet nothing comes until there is one. It must be quick.
        `rate`: 8,000, 16,000, 32,000 or 48,000 samples a second; MediaError 400 for another.
        """

    def say(self, pcm: bytes, rate: int = 16_000) -> int:
        """Say this after all that waits; gives its number, which is higher than that of anything said before.

        MediaError 503 where a minute waits already, 400 for half a sample and for another rate than above.
        """

    def clear(self, last: int | None = None) -> None:
        """Forget what was not said yet, of what has no higher number than `last`; None: all of it."""

    def on_text(self, heard: Callable[[str], None]) -> Callable[[], None]:
        """Have `heard` called in the event loop with what the other side types (`Party.text`); returns what ends that.

        T.140: "\\b" erases one character, U+2028 or CR LF ends a line, U+FFFD stands where text was lost.
        """

    def type(self, text: str) -> None:
        """Show this to the other side, as soon as may be; nothing where it has no text."""

    def on_said(self, said: Callable[[], None]) -> None:
        """Have `said` called each time the last of what waited is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingFile:
    """Where a recording goes, and how far."""

    path: str | Callable[[], str]
    """Of a file that is made, in a folder that is there; or what makes room for it, in a thread: raises OSError.

    Where the sound is kept elsewhere (`Recording.kept_by`) only room is made."""
    format: str = "wav"
    """"wav" (16 bits, 16,000 samples a second) or "opus" (in Ogg)."""
    channels: int = 2
    """2: who called on the left, the other side on the right; 1: mixed."""
    min_free: int = 0
    """Octets of the disk that must stay free; it ends before."""
    longest: float = 4 * 3600.0
    """Seconds after which it ends."""
    beep: bool = False
    """Say by a tone to both sides, or to all members and whoever comes in, that it begins."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What it is of, for who keeps it elsewhere."""


class Recording(Protocol):
    """A recording under way; the file is whole to the last second at any moment, whatever ends this process."""

    @property
    def seconds(self) -> float:
        """What is in the file."""

    @property
    def kept_by(self) -> str:
        """Who has the file, and under which name, where that is not a file of ours; "": it is at its path."""

    def stop(self, reason: str | None = None) -> None:
        """End it; idempotent. Its `ended` hears `reason` once the file is finished."""


class Seat(Protocol):
    """One party's place in a conference."""

    muted: bool
    """Whether the others do not hear it."""

    @property
    def shows(self) -> bool:
        """Whether it sends a picture."""

    @property
    def sees(self) -> str | None:
        """Name of whom it sees: the one who speaks, of that one the one who spoke before; None: nobody.

        Of a browser that has several pictures the one of the first.
        """

    @property
    def pictures(self) -> dict[str, str]:
        """Names of all whom it sees, by the mid of the section in which it does; of browsers."""

    def leave(self, *, is_sent: bool = False) -> None:
        """Give it up; idempotent.

        `is_sent`: away, by others: of what it has typed they read no more than they have read.
        """


class Conference(Protocol):
    """Programs' callers that hear each other; see `MediaEngine.conference`."""

    def seat(self, audio: AudioPort, name: str, group: str | None = None, label: str = "") -> Seat:
        """Let the caller of a program hear all the others and be heard, in place of the program's `listen` and `say`.

        What the program says it alone hears, what the program hears is the caller. `name` is its own in the conference;
        who has the same `group` does not hear each other here. What it types (`Party.text`) all others read, line by
        line, with `label` before it, "": the name. MediaError 500 where it has a place already.
        """

    def say(self, pcm: bytes, rate: int = 16_000) -> None:
        """Say this to everybody; MediaError as `AudioPort.say`."""

    def on_speaker(self, told: Callable[[str | None], None]) -> None:
        """Have `told` called with the name of who speaks loudest, each time that is another, None: nobody does."""

    def on_pictures(self, told: Callable[[str], None]) -> None:
        """Have `told` called with the name of each who sees others than before (`Seat.pictures`)."""

    def record(self, wanted: RecordingFile, ended: Callable[[str | None], None]) -> Recording:
        """Record all of it, mixed, as `MediaEngine.record` does."""

    def close(self) -> None:
        """Everybody leaves."""
