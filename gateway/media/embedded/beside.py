"""What two parties have beside their voices: picture, data and text, spoken of and joined."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.media.embedded.data.text import TextEnd
from gateway.media.embedded.describe import (
    CHANNEL_SECTION,
    has_video,
    service_of,
    takes_text,
    video_description,
)
from gateway.media.embedded.party import PartyMedia
from gateway.media.embedded.renewal import has_data, has_text
from gateway.media.embedded.settings import EmbeddedConfig
from gateway.media.embedded.video import VideoStream
from sdp import SessionDescription
from sdp import text as sdp_text
from sdp.extensions import ORIENTATION
from sdp.levels import limited


async def open_for(
    config: EmbeddedConfig,
    offer: SessionDescription,
    caller: PartyMedia,
    callee: PartyMedia,
    opened: list[Callable[[], None]],
) -> None:
    """Be able to speak of what the offer does, to both; `opened` gets what takes it back. Raises MediaError."""
    parties = (caller, callee)
    if has_video(config, offer) and all(service_of(each.party) is None or each.party.video for each in parties):
        for each in parties:
            opened += [each.close_video] if await each.open_video() else []
    if config.text.enabled and sdp_text.has_text(offer) and all(map(_can_type, parties)):
        for each in parties:
            opened += [each.close_text] if await each.open_text() else []


def _can_type(party: PartyMedia) -> bool:
    if service_of(party.party) is not None:
        return takes_text(party.party)
    return party.rtp is not None or (party.data is not None and party.data.plan is not None)


def as_told(config: EmbeddedConfig, description: SessionDescription, party: PartyMedia) -> SessionDescription:
    """What another party has said, in the way in which text is spoken of to this one."""
    if not config.text.enabled:
        return description
    if party.data is not None:
        told = sdp_text.text_as_channel(description)
        # A phone that drops its text leaves the browser its data channels, with nobody at the far end.
        kept = party.data.is_agreed and not any(media.kind == "application" for media in told.media)
        return told.with_media([*told.media, sdp_text.CHANNEL]) if kept else told
    if party.text is None:
        return description
    offered = (
        [sdp_text.is_text(media) for media in party.offered.media if media.kind == "text"] if party.offered else []
    )
    return sdp_text.text_as_stream(description, offered.index(True) if True in offered else 0)


async def offered_beside(party: PartyMedia, peer: PartyMedia | None) -> str:
    """The sections of an offer of ours beside the voice: what the peer has, or what this party had before."""
    sections = await _video_for(party, peer)
    could = party.data is not None and party.data.plan is not None
    if has_data(party) or (could and (_types(peer) or (peer is not None and has_data(peer)))):
        return sections + CHANNEL_SECTION
    if (has_text(party) or _types(peer)) and party.rtp is not None and (party.text or await party.open_text()):
        return sections + "".join(f"{line}\r\n" for line in sdp_text.TEXT_SECTION)
    return sections


def said_with_picture(party: PartyMedia) -> SessionDescription | None:
    """The peer's own description, where a picture is agreed with it."""
    if party.agreed is None or party.video is None or party.video.agreement is None:
        return None
    offer, answer, side = party.agreed
    return answer if side == "offerer" else offer


def _types(peer: PartyMedia | None) -> bool:
    """Whether it has text now."""
    if peer is None:
        return False
    return (peer.text is not None and peer.text.agreement is not None) or (peer.data is not None and peer.data.has_text)


async def _video_for(party: PartyMedia, known: PartyMedia | None) -> str:
    """The section that offers what the peer shows, or what this party shows or was shown before."""
    if known is not None and known.transport is None and not known.party.video:
        return ""  # a service: there is nobody to be seen
    video = known.video if known is not None and known.video is not None else party.video
    seen = party.former.video if party.former is not None else ""
    if seen and (party.video or await party.open_video()):
        return _offering(party, seen)
    if video is None or video.agreement is None:
        return ""
    await party.open_video()
    # How pictures lie is said to those alone who say it themselves: nobody else turns what they are shown.
    if video is not party.video:
        shown = video.agreement.extensions.get(ORIENTATION)
        # The party may send what the other one takes, whoever that one was joined to before.
        codecs = tuple([limited(codec, video.level.takes) for codec in video.agreement.receive])
        return _offering(party, video_description(codecs, orientation=shown))
    among = known is not None and bool(known.party.video)
    codecs = video.level.wanted if among else video.agreement.receive
    said = partial(video_description, codecs, orientation=video.orientation if among else None)
    if not among:
        return _offering(party, said())
    await video.open_views()
    return _offering(party, said() + said("sendonly") * len(video.views))


def _offering(party: PartyMedia, sections: str) -> str:
    """These, which say how pictures lie or do not."""
    if party.video is not None:
        party.video.turning.offered(ORIENTATION in sections)
    return sections


def join_beside(first: PartyMedia, second: PartyMedia) -> None:
    """Let them see each other, and have each other's data and text, as far as both have agreed to it."""
    if first.audio is None is second.audio:
        _show_each_other(first.video, second.video)
    both = ((first, second), (second, first))
    for party, other in both:
        if party.data is not None:
            is_echo = service_of(other.party) == "echo"
            party.data.join(party.data if is_echo else other.data, _text_of(other))
    for party, other in both:
        if party.data is not None:
            continue
        if party.text is not None:
            end = party.text if service_of(other.party) == "echo" else _reads(other)
            if end is not None:
                party.text.tell(end)
            else:
                party.text.part()
        elif party.audio is not None:
            party.audio.text.reader = _reads(other)


def _text_of(party: PartyMedia) -> TextEnd | None:
    """Who reads what a browser types to it, but another browser."""
    if party.audio is not None:
        return party.audio.text if party.party.text else None
    return party.text if party.text is not None and party.text.agreement is not None else None


def _reads(party: PartyMedia) -> TextEnd | None:
    """Who reads what is typed to it; None: nobody."""
    return party.data if party.data is not None and party.data.is_agreed else _text_of(party)


def show_among(caller: PartyMedia, program: PartyMedia) -> None:
    """Show the caller's picture where the program has given it a place that it does not hold, to nobody else."""
    audio, agreement = program.audio, caller.agreement
    if audio is not None and audio.seat is not None:
        holds = agreement is not None and audio.holds(agreement.direction, caller.has_heard)
        audio.seat.show(caller.video if program.party.video and not holds else None)
    elif caller.video is not None:
        caller.video.part()


def _show_each_other(first: VideoStream | None, second: VideoStream | None) -> None:
    """Who is joined sees each other's picture, where both speak of one; else nobody sees either's."""
    if first is not None and second is not None:
        first.show_to(second)
        second.show_to(first)
        return
    for each in (first, second):
        if each is not None:
            each.part()
