"""Files played into calls, in the place of all that a party hears else."""

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
    """Play it to the parties of these tags, None: to all. `session` and this raise MediaError."""
    _listening(session(), tags)
    try:
        file = await asyncio.to_thread(PlayedFile, path)
    except AudioError as error:
        raise MediaError(str(error), 400) from None
    # Meanwhile somebody may have gone.
    for party in _listening(session(), tags):
        party.playing.file(file.frame)


def stop_files(session: Session) -> None:
    """Play no more of them."""
    for party in _listening(session, None):
        party.playing.stop_files()


def ring_back(party: PartyMedia, frames: Frames) -> None:
    """Have a caller hear these until it is joined to somebody, in the codec that its answer begins with: a phone that
    takes one at a time hears no other."""
    agreement = party.agreement
    if agreement is None:
        return
    told = {codec.key: codec for codec in agreement.send}
    codec = next((told[each.key] for each in agreement.receive if each.is_media and each.key in told), None)
    if codec is not None:
        party.playing.music(codec, frames.get(codec.key[0], ()))


def _listening(session: Session, tags: Sequence[str] | None) -> list[PartyMedia]:
    """Those who are no service of ours; raises MediaError 481."""
    parties = session.parties if tags is None else [session.party(tag) for tag in tags]
    return [party for party in parties if party.party.kind is not Kind.SERVICE]
