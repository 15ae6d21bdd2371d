"""Parameters in an answer that limit the media sent to the other side."""

from __future__ import annotations

from typing import Final

from sdp.codecs import COMPARED, Codec, parameters
from sdp.levels import ASYMMETRY, PROFILE, is_written, rank, with_level, written

_PICTURES: Final = frozenset({"h264", "h265", "vp8", "vp9", "av1"})


def declaring(codec: Codec, theirs: Codec) -> Codec:
    """Return the codec of an offer for its answer, after the other side accepted it as `theirs`.

    Identity parameters repeat the offer. Others come from `theirs`, if given: Opus parameters (RFC 7587 section 7.1),
    VP8 `max-fs` (RFC 7741 section 6.1) and H.264 `max-mbps` (RFC 6184 section 8.2.2) are declarative.
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
    """Return the offer's profile with the answering side's level; the lower level unless both allow asymmetry.

    Many phones omit the level and mean the offered one, where the RFC implies level 1.
    """
    differ = offered.get(ASYMMETRY) == said.get(ASYMMETRY) == "1"
    ours, theirs = offered.get(PROFILE, ""), said.get(PROFILE, "")
    if not (is_written(ours) and is_written(theirs)):
        return {key: value for key in (PROFILE, ASYMMETRY) if (value := offered.get(key)) is not None}
    if differ or rank(theirs) < rank(ours):
        ours = with_level(ours, rank(theirs))
    return {PROFILE: ours} | ({ASYMMETRY: "1" if differ else "0"} if ASYMMETRY in offered else {})
