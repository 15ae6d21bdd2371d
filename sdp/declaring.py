"""What an answer tells one side of the other: the parameters by which that one limits what it is sent."""

from __future__ import annotations

import re
from typing import Final

from sdp.codecs import COMPARED, Codec, parameters

_PICTURES: Final = frozenset({"h264", "h265", "vp8", "vp9", "av1"})
_PROFILE: Final = "profile-level-id"
_ASYMMETRY: Final = "level-asymmetry-allowed"
_BY_FLAG: Final = frozenset({"42", "4D", "58"})
"""Values of profile_idc with which level 1b is level 1.1 with constraint_set3_flag (RFC 6184 section 8.1)."""
_SET3: Final = 0x10


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
    found |= {key: value for key, value in said.items() if key not in identity and key not in (_PROFILE, _ASYMMETRY)}
    if name == "h264":
        found |= _level(offered, said)
    return codec.with_fmtp(";".join([f"{key}={value}" if value else key for key, value in found.items() if key]))


def _level(offered: dict[str, str], said: dict[str, str]) -> dict[str, str]:
    """The profile of the offer and the level of whoever said so; the lower one unless both allow that they differ.

    Many phones leave it out and mean what they were offered, where the RFC would have them mean level 1.
    """
    differ = offered.get(_ASYMMETRY) == said.get(_ASYMMETRY) == "1"
    ours, theirs = offered.get(_PROFILE, ""), said.get(_PROFILE, "")
    if not (_is_written(ours) and _is_written(theirs)):
        return {key: value for key in (_PROFILE, _ASYMMETRY) if (value := offered.get(key)) is not None}
    if differ or _rank(theirs) < _rank(ours):
        ours = _with_level_of(ours, theirs)
    return {_PROFILE: ours} | ({_ASYMMETRY: "1" if differ else "0"} if _ASYMMETRY in offered else {})


def _is_written(profile_level_id: str) -> bool:
    return re.fullmatch(r"[0-9A-Fa-f]{6}", profile_level_id) is not None


def _rank(profile_level_id: str) -> int:
    """Twice the level_idc; 21 of level 1b, which is between 1 and 1.1."""
    level = int(profile_level_id[4:], 16)
    return 21 if level == 9 or (level == 11 and _has_flag(profile_level_id)) else 2 * level


def _has_flag(profile_level_id: str) -> bool:
    return profile_level_id[:2].upper() in _BY_FLAG and bool(int(profile_level_id[2:4], 16) & _SET3)


def _with_level_of(one: str, other: str) -> str:
    """The profile of `one` with the level of `other`, which is of the same profile."""
    flags = int(one[2:4], 16)
    if one[:2].upper() in _BY_FLAG:
        flags = flags & ~_SET3 | (_SET3 if _has_flag(other) else 0)
    return f"{one[:2]}{flags:02x}{other[4:]}"
