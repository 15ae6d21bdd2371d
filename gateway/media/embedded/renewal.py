"""A party in the place of one whose transport went with the packet plane: what was said goes on, over another one."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from gateway.media.embedded.describe import Former, codec_names, fingerprints_of, video_description
from gateway.media.embedded.party import PartyMedia
from gateway.media.engine import MediaError
from sdp import SessionDescription
from sdp.extensions import ORIENTATION


def former_of(party: PartyMedia) -> Former:
    """What is said with a party whose transport is about to be given up, or was said over the one before it."""
    before = party.former
    video = party.video.agreement if party.video is not None else None
    seen = video_description(video.receive, orientation=video.extensions.get(ORIENTATION)) if video is not None else ""
    return Former(
        timeline=party.identity.timeline,
        sent=party.sent,
        theirs=party.theirs,
        spoken=spoken_by(party),
        video=seen or (before.video if before is not None else ""),
        has_data=has_data(party),
        has_text=has_text(party),
        has_heard=party.has_heard,
    )


def begin_anew(party: PartyMedia, former: Former, random: Random) -> None:
    """Have our next description for a new party go on from what was said, as that of another DTLS association."""
    party.identity = replace(party.identity, timeline=former.timeline)
    party.sent, party.theirs, party.former = former.sent, former.theirs, former
    party.has_heard = former.has_heard
    if party.webrtc is not None:
        party.webrtc.tls_id = f"{random.getrandbits(128):032x}"


def require_new_association(party: PartyMedia, offer: SessionDescription) -> None:
    """Refuse to answer an offer that goes on with a DTLS association that is gone, MediaError 491: ours comes."""
    if party.webrtc is None or party.former is None or party.former.theirs is None:
        return
    if fingerprints_of(offer) == fingerprints_of(party.former.theirs):
        raise MediaError("another connection is about to be offered", 491)


def spoken_by(party: PartyMedia) -> tuple[str, ...]:
    """Names of the codecs that it takes, best first, as last agreed; () for none."""
    return codec_names(party.agreement) or (party.former.spoken if party.former is not None else ())


def has_data(party: PartyMedia) -> bool:
    """Whether an offer is to speak of data channels, because there are, or were over the transport that is gone."""
    if party.data is None:
        return False
    return party.data.is_agreed or (party.former is not None and party.former.has_data)


def has_text(party: PartyMedia) -> bool:
    """Whether an offer to a phone is to speak of text, because there is some, or was before."""
    if party.text is not None and party.text.agreement is not None:
        return True
    return party.former is not None and party.former.has_text
