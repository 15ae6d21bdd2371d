"""Video, data channels and text of two parties: offered beside the audio, and connected."""

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
    """Open the video and text that the offer contains for both parties. Raises MediaError.

    `opened` receives the functions that close the streams again.
    """
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
    """Return the peer's description with its text in the form that `party` uses: data channel or text stream."""
    if not config.text.enabled:
        return description
    if party.data is not None:
        told = sdp_text.text_as_channel(description)
        # If a phone drops text, the browser keeps its data channels without a far end.
        kept = party.data.is_agreed and not any(media.kind == "application" for media in told.media)
        return told.with_media([*told.media, sdp_text.CHANNEL]) if kept else told
    if party.text is None:
        return description
    offered = (
        [sdp_text.is_text(media) for media in party.offered.media if media.kind == "text"] if party.offered else []
    )
    return sdp_text.text_as_stream(description, offered.index(True) if True in offered else 0)


async def offered_beside(party: PartyMedia, peer: PartyMedia | None) -> str:
    """Return the media sections of our offer beside audio: the peer's streams, or the party's previous streams."""
    sections = await _video_for(party, peer)
    could = party.data is not None and party.data.plan is not None
    if has_data(party) or (could and (_types(peer) or (peer is not None and has_data(peer)))):
        return sections + CHANNEL_SECTION
    if (has_text(party) or _types(peer)) and party.rtp is not None and (party.text or await party.open_text()):
        return sections + "".join(f"{line}\r\n" for line in sdp_text.TEXT_SECTION)
    return sections


def said_with_picture(party: PartyMedia) -> SessionDescription | None:
    """Return the party's own description if video is agreed with the party."""
    if party.agreed is None or party.video is None or party.video.agreement is None:
        return None
    offer, answer, side = party.agreed
    return answer if side == "offerer" else offer


def _types(peer: PartyMedia | None) -> bool:
    """Return True if text is agreed with the peer."""
    if peer is None:
        return False
    return (peer.text is not None and peer.text.agreement is not None) or (peer.data is not None and peer.data.has_text)


async def _video_for(party: PartyMedia, known: PartyMedia | None) -> str:
    """Return the video sections of an offer: the peer's video, or video that the party sends or had before."""
    if known is not None and known.transport is None and not known.party.video:
        return ""  # a service without video
    video = known.video if known is not None and known.video is not None else party.video
    seen = party.former.video if party.former is not None else ""
    if seen and (party.video or await party.open_video()):
        return _offering(party, seen)
    if video is None or video.agreement is None:
        return ""
    await party.open_video()
    # The orientation extension is sent only to senders of the extension: further parties may not rotate video.
    if video is not party.video:
        shown = video.agreement.extensions.get(ORIENTATION)
        # The party may send up to the peer's own level, regardless of the peer's previous partners.
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
    """Record if the offered sections include the orientation extension, and return the sections."""
    if party.video is not None:
        party.video.turning.offered(ORIENTATION in sections)
    return sections


def join_beside(first: PartyMedia, second: PartyMedia) -> None:
    """Connect video, data channels and text of two parties, as far as both have agreed to each."""
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
    """Return the end that reads text from a browser, if the party is a program or a phone; None for no reader."""
    if party.audio is not None:
        return party.audio.text if party.party.text else None
    return party.text if party.text is not None and party.text.agreement is not None else None


def _reads(party: PartyMedia) -> TextEnd | None:
    """Return the end that reads text sent to the party; None without a reader."""
    return party.data if party.data is not None and party.data.is_agreed else _text_of(party)


def show_among(caller: PartyMedia, program: PartyMedia) -> None:
    """Show the caller's video in its seat of the conference unless the caller holds; without a seat, to nobody."""
    audio, agreement = program.audio, caller.agreement
    if audio is not None and audio.seat is not None:
        holds = agreement is not None and audio.holds(agreement.direction, caller.has_heard)
        audio.seat.show(caller.video if program.party.video and not holds else None)
    elif caller.video is not None:
        caller.video.part()


def _show_each_other(first: VideoStream | None, second: VideoStream | None) -> None:
    """Connect the video of two joined parties if both have video; otherwise disconnect both."""
    if first is not None and second is not None:
        first.show_to(second)
        second.show_to(first)
        return
    for each in (first, second):
        if each is not None:
            each.part()
