"""What an answer tells one side of the other: the parameters by which that one limits what it is sent."""

from __future__ import annotations

from typing import Final

from sdp.codecs import COMPARED, Codec, parameters
from sdp.levels import ASYMMETRY, PROFILE, is_written, rank, with_level, written

_PICTURES: Final = frozenset({"h264", "h265", "vp8", "vp9", "av1"})


def declaring(codec: Codec, theirs: Codec) -> Codec:
    """The codec of an offer as its answer names it, where the other side has accepted it as `theirs`.

    What makes it this codec is said as it was offered; all else (how large and how fast a picture may be, what its own
    stream is made of) as the other side said it: Opus declares only (RFC 7587 section 7.1), and so do VP8's `max-fs`
    (RFC 7741 section 6.1) and H.264's `max-mbps` (RFC 6184 section 8.2.2). Where it said nothing the offer stands.
    """
    name = codec.key[0]
    if not theirs.fmtp or theirs.fmtp == codec.fmtp:
        return codec
    if name == "opus":
        return codec.with_fmtp(theirs.fmtp)
    if name not in _PICTURES:
        return codec
    offered, said, identity = parameters(codec.fmtp), parameters(theirs.fmtp), COMPARED.get(name, {})
    found = {key: value for key, value in offered.items() if key in identity}
    found |= {key: value for key, value in said.items() if key not in identity and key not in (PROFILE, ASYMMETRY)}
    if name == "h264":
        found |= _level(offered, said)
    return codec.with_fmtp(written(found))


def _level(offered: dict[str, str], said: dict[str, str]) -> dict[str, str]:
    """The profile of the offer and the level of whoever said so; the lower one unless both allow that they differ.

    Many phones leave it out and mean what they were offered, where the RFC would have them mean level 1.
    """
    differ = offered.get(ASYMMETRY) == said.get(ASYMMETRY) == "1"
    ours, theirs = offered.get(PROFILE, ""), said.get(PROFILE, "")
    if not (is_written(ours) and is_written(theirs)):
        return {key: value for key in (PROFILE, ASYMMETRY) if (value := offered.get(key)) is not None}
    if differ or rank(theirs) < rank(ours):
        ours = with_level(ours, rank(theirs))
    return {PROFILE: ours} | ({ASYMMETRY: "1" if differ else "0"} if ASYMMETRY in offered else {})
