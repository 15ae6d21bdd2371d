"""Playback of sound files into calls, in place of other audio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.media.embedded.audio.pcm import AudioError
from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.session import Session
from gateway.media.embedded.sources.files import PlayedFile
from gateway.media.embedded.sources.music import Frames
from gateway.media.engine import Kind, MediaError


async def play_file(session: Callable[[], Session], path: str, tags: Sequence[str] | None) -> None:
    """Play a file to the parties with `tags`, or by default to all.

    Raises MediaError: 400 for an unusable file, 481 for an unknown call or party.
    """
    _listening(session(), tags)
    try:
        file = await asyncio.to_thread(PlayedFile, path)
    except AudioError as error:
        raise MediaError(str(error), 400) from None
    # Parties may have left while the file was loaded.
    for party in _listening(session(), tags):
        party.playing.file(file.frame)


def stop_files(session: Session) -> None:
    """Stop all files of the call."""
    for party in _listening(session, None):
        party.playing.stop_files()


def ring_back(party: PartyMedia, frames: Frames) -> None:
    """Play ringback to a caller until the call is joined.

    The frames are in the first codec of our answer, since some phones accept only one codec at a time.
    """
    agreement = party.agreement
    if agreement is None:
        return
    told = {codec.key: codec for codec in agreement.send}
    codec = next((told[each.key] for each in agreement.receive if each.is_media and each.key in told), None)
    if codec is not None:
        party.playing.music(codec, frames.get(codec.key[0], ()))


def _listening(session: Session, tags: Sequence[str] | None) -> list[PartyMedia]:
    """Return the parties with `tags`, or all, without services; raises MediaError 481."""
    parties = session.parties if tags is None else [session.party(tag) for tag in tags]
    return [party for party in parties if party.party.kind is not Kind.SERVICE]
