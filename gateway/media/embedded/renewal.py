"""Continuation of a party's negotiated state over a new transport, after the loss of the previous transport."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from gateway.media.embedded.describe import Former, codec_names, fingerprints_of, video_description
from gateway.media.embedded.party import PartyMedia
from gateway.media.engine import MediaError
from sdp import SessionDescription
from sdp.extensions import ORIENTATION


def former_of(party: PartyMedia) -> Former:
    """Return the negotiated state of a party whose transport is about to close."""
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
    """Continue descriptions of a new party from `former`; a new `tls-id` marks a new DTLS association."""
    party.identity = replace(party.identity, timeline=former.timeline)
    party.sent, party.theirs, party.former = former.sent, former.theirs, former
    party.has_heard = former.has_heard
    if party.webrtc is not None:
        party.webrtc.tls_id = f"{random.getrandbits(128):032x}"


def require_new_association(party: PartyMedia, offer: SessionDescription) -> None:
    """Raise MediaError 491 for an offer that continues a lost DTLS association: our own offer is about to follow."""
    if party.webrtc is None or party.former is None or party.former.theirs is None:
        return
    if fingerprints_of(offer) == fingerprints_of(party.former.theirs):
        raise MediaError("another connection is about to be offered", 491)


def spoken_by(party: PartyMedia) -> tuple[str, ...]:
    """Return names of the codecs that the party accepts, best first, as last agreed; () without an agreement."""
    return codec_names(party.agreement) or (party.former.spoken if party.former is not None else ())


def has_data(party: PartyMedia) -> bool:
    """Return True if data channels are agreed, or were agreed over the lost transport."""
    if party.data is None:
        return False
    return party.data.is_agreed or (party.former is not None and party.former.has_data)


def has_text(party: PartyMedia) -> bool:
    """Return True if a phone's text is agreed, or was agreed over the lost transport."""
    if party.text is not None and party.text.agreement is not None:
        return True
    return party.former is not None and party.former.has_text
