"""How large and fast the H.264 pictures are that a side takes (RFC 6184 section 8.1), and what many sides all take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sdp.codecs import Codec, parameters

PROFILE: Final = "profile-level-id"
ASYMMETRY: Final = "level-asymmetry-allowed"
_BY_FLAG: Final = frozenset({"42", "4D", "58"})
"""Values of profile_idc with which level 1b is level 1.1 with constraint_set3_flag (RFC 6184 section 8.1)."""
_SET3: Final = 0x10
_LEVEL_1B: Final = 21
_OF_LEVEL: Final = {
    20: (1_485, 99), 21: (1_485, 99), 22: (3_000, 396), 24: (6_000, 396), 26: (11_880, 396),
    40: (11_880, 396), 42: (19_800, 792), 44: (20_250, 1_620), 60: (40_500, 1_620), 62: (108_000, 3_600),
    64: (216_000, 5_120), 80: (245_760, 8_192), 82: (245_760, 8_192), 84: (522_240, 8_704), 100: (589_824, 22_080),
    102: (983_040, 36_864), 104: (2_073_600, 36_864),
}  # fmt: skip
"""Macroblocks a second and a picture, by twice the level_idc (ITU-T H.264 table A-1)."""
_BEYOND: Final = frozenset({"max-mbps", "max-smbps", "max-fs", "max-cpb", "max-dpb", "max-br"})
"""By what a side says that it takes more than its level."""


class PictureLimit(NamedTuple):
    """What one side takes."""

    level: int
    """Twice the level_idc; 21 of level 1b, which is between 1 and 1.1."""
    rate: int
    """Macroblocks a second, of the level or as `max-mbps` says beyond it."""
    size: int
    """Macroblocks a picture, of the level or as `max-fs` says beyond it."""


Limits = Mapping[tuple[str, ...], PictureLimit]
"""By `Codec.traits`: packetization mode, then profile. A side often takes less in one of them."""


def limits_of(codecs: Iterable[Codec]) -> Limits:
    """What the side takes that has said these."""
    found: dict[tuple[str, ...], PictureLimit] = {}
    for codec in codecs:
        limit = _least([limit_of(codec), found.get(codec.traits)])
        if limit is not None:
            found[codec.traits] = limit
    return found


def limit_of(codec: Codec) -> PictureLimit | None:
    """What the side takes that has said this of H.264; None where it has said no level, or of another codec."""
    said = parameters(codec.fmtp) if codec.key[0] == "h264" else {}
    profile = said.get(PROFILE, "")
    if not is_written(profile):
        return None
    level = rank(profile)
    rate, size = _of(level)
    return PictureLimit(level, max(rate, _number(said, "max-mbps")), max(size, _number(said, "max-fs")))


def all_take(many: Sequence[Limits]) -> Limits:
    """What each of them takes; who has not one of the profiles gets it as the nearest that it has."""
    keys = dict.fromkeys([key for limits in many for key in limits])
    return {key: limit for key in keys if (limit := _least([_taken(limits, key) for limits in many])) is not None}


def _taken(limits: Limits, key: tuple[str, ...]) -> PictureLimit | None:
    """What a side takes of that mode and profile, or of any profile in that mode."""
    known = limits.get(key)
    return known if known is not None else _least([limit for near, limit in limits.items() if near[:1] == key[:1]])


def _least(limits: Iterable[PictureLimit | None]) -> PictureLimit | None:
    said = [limit for limit in limits if limit is not None]
    return PictureLimit(*map(min, *said)) if len(said) > 1 else next(iter(said), None)


def limited(codec: Codec, limits: Limits) -> Codec:
    """H.264 as said by a side that takes no more than that; another codec, or one without a level, as it is."""
    own, limit = limit_of(codec), limits.get(codec.traits)
    if own is None or limit is None or own == limit:
        return codec
    said = {name: value for name, value in parameters(codec.fmtp).items() if name not in _BEYOND}
    said[PROFILE] = with_level(said[PROFILE], limit.level)
    rate, size = _of(limit.level)
    said |= {"max-mbps": str(limit.rate)} if limit.rate > rate else {}
    said |= {"max-fs": str(limit.size)} if limit.size > size else {}
    return codec.with_fmtp(written(said))


def _of(level: int) -> tuple[int, int]:
    """Of the highest level that is known, up to this one."""
    return next((most for known, most in reversed(_OF_LEVEL.items()) if known <= level), _OF_LEVEL[20])


def _number(said: dict[str, str], name: str) -> int:
    """A parameter's number; 0 where it has none."""
    text = said.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def written(said: dict[str, str]) -> str:
    """Format parameters as `parameters` reads them."""
    return ";".join([f"{key}={value}" if value else key for key, value in said.items() if key])


def is_written(profile_level_id: str) -> bool:
    """Whether it is six hexadecimal digits."""
    return re.fullmatch(r"[0-9A-Fa-f]{6}", profile_level_id) is not None


def rank(profile_level_id: str) -> int:
    """The level, as `PictureLimit` has it."""
    level = int(profile_level_id[4:], 16)
    has_flag = profile_level_id[:2].upper() in _BY_FLAG and bool(int(profile_level_id[2:4], 16) & _SET3)
    return _LEVEL_1B if level == 9 or (level == 11 and has_flag) else 2 * level


def with_level(profile_level_id: str, level: int) -> str:
    """The same profile with another level."""
    idc, flags, number = profile_level_id[:2], int(profile_level_id[2:4], 16), level // 2
    if idc.upper() in _BY_FLAG:
        number = 11 if level == _LEVEL_1B else number
        flags = flags | _SET3 if level == _LEVEL_1B else flags & ~_SET3
    elif level == _LEVEL_1B:
        number = 9
    return f"{idc}{flags:02x}{number:02x}"
