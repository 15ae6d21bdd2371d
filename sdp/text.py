"""Real-time text toward each side: m=text for phones (RFC 4103), a data channel for browsers (RFC 8865)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sdp.attributes import Direction
from sdp.codecs import read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.negotiation import said_direction
from sdp.pairing import families, is_live
from sdp.passing import named_channels

T140: Final = "t140"
"""Codec of m=text, and subprotocol of the data channel."""
MOST_NAMED: Final = 256
"""Channels of a section examined."""
TEXT_SECTION: Final = (
    "m=text 9 RTP/AVP 98 99",
    "c=IN IP4 192.0.2.1",
    "a=rtpmap:98 t140/1000",
    "a=rtpmap:99 red/1000",
    "a=fmtp:99 98/98/98",
)
"""Text with two generations of redundancy (RFC 4103 section 4); the address is reserved for documentation (RFC
5737)."""
_DEAD: Final = MediaDescription(("m=text 0 RTP/AVP 98", "a=inactive"))
CHANNEL: Final = MediaDescription(
    ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 192.0.2.1", "a=sctp-port:5000")
)
"""Data channels of a side that has described no details."""


def is_text(media: MediaDescription) -> bool:
    """Return True for a live section with T.140 over RTP."""
    if media.kind != "text" or "RTP/" not in media.protocol or not is_live(media):
        return False
    return any(codec.key[0] == T140 for codec in read_codecs(media))


def may_be_text(description: SessionDescription, media: MediaDescription) -> bool:
    """Return True for live data channels that may carry T.140.

    A section that names channels must name one for T.140 (RFC 8864); browsers name none and open channels in-band (RFC
    8832).
    """
    if media.kind != "application" or not is_live(media) or "sctp" not in families(description, media):
        return False
    if not media.has("dcmap"):
        return True
    named = named_channels(media, MOST_NAMED).values()
    return any(each.parameters.get("subprotocol", "").lower() == T140 for each in named)


def has_text(description: SessionDescription) -> bool:
    """Return True if the description has, or may have, text in either form."""
    return any(is_text(media) or may_be_text(description, media) for media in description.media)


def text_as_stream(description: SessionDescription, dead: int = 0) -> SessionDescription:
    """Return the description with m=text instead of possible text channels; unchanged without these.

    Data channels have no direction: text is held with the voice. `dead` rejected text sections come first, to match the
    positions of the offer.
    """
    direction = Direction.SENDRECV
    for media in description.media:
        if media.kind == "audio" and is_live(media) and not said_direction(description, media).receives:
            direction = said_direction(description, media)
    section = MediaDescription((*TEXT_SECTION, f"a={direction}"))
    told = _with(description, lambda media: may_be_text(description, media), section)
    return told.with_media([*[_DEAD] * dead, *told.media]) if dead and told is not description else told


def text_as_channel(description: SessionDescription) -> SessionDescription:
    """Return the description with data channels instead of m=text; unchanged without text."""
    return _with(description, is_text, CHANNEL)


def _with(
    description: SessionDescription, replaced: Callable[[MediaDescription], bool], section: MediaDescription
) -> SessionDescription:
    if not any(map(replaced, description.media)):
        return description
    return description.with_media([section if replaced(media) else media for media in description.media])
