"""Picture size and rate limits of one side, and the common limits of many sides.

H.264 declares limits by level and extensions (RFC 6184 section 8.1), VP8 and VP9 by `max-fr` and `max-fs` (RFC 7741 and
9628 section 6.1), AV1 by `level-idx` and `tier`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sdp.codecs import Codec, parameters

PROFILE: Final = "profile-level-id"
ASYMMETRY: Final = "level-asymmetry-allowed"
_BY_FLAG: Final = frozenset({"42", "4D", "58"})
"""Values of profile_idc that write level 1b as level 1.1 with constraint_set3_flag (RFC 6184 section 8.1)."""
_SET3: Final = 0x10
_LEVEL_1B: Final = 21
_OF_LEVEL: Final = {
    20: (1_485, 99), 21: (1_485, 99), 22: (3_000, 396), 24: (6_000, 396), 26: (11_880, 396),
    40: (11_880, 396), 42: (19_800, 792), 44: (20_250, 1_620), 60: (40_500, 1_620), 62: (108_000, 3_600),
    64: (216_000, 5_120), 80: (245_760, 8_192), 82: (245_760, 8_192), 84: (522_240, 8_704), 100: (589_824, 22_080),
    102: (983_040, 36_864), 104: (2_073_600, 36_864),
}  # fmt: skip
"""Macroblocks per second and per picture, by twice the level_idc (ITU-T H.264 table A-1)."""
_BEYOND: Final = frozenset({"max-recv-level", "max-mbps", "max-smbps", "max-fs", "max-cpb", "max-dpb", "max-br"})
"""Parameters that extend the limits of a level (RFC 6184 section 8.1)."""
_UNBOUNDED: Final = 10**9
"""Value above any parsed number."""
_BOUNDS: Final = {
    "vp8": (("max-fr", _UNBOUNDED, 5), ("max-fs", _UNBOUNDED, 99)),
    "vp9": (("max-fr", _UNBOUNDED, 5), ("max-fs", _UNBOUNDED, 99)),
    "av1": (("level-idx", 5, 0), ("tier", 0, 0)),
}
"""Limiting parameters of other codecs: name, default if omitted, and minimum in `of_many`."""


class PictureLimit(NamedTuple):
    """H.264 limits of one side."""

    level: int
    """Twice the level_idc; 21 for level 1b, between levels 1 and 1.1."""
    rate: int
    """Macroblocks per second, of the level or of a larger `max-mbps`."""
    size: int
    """Macroblocks per picture, of the level or of a larger `max-fs`."""


Limit = tuple[int, ...]
"""Limits of one codec: `PictureLimit`, or values in the order of `_BOUNDS`."""
Limits = Mapping[tuple[str, ...], Limit]
"""Limits by `key_of`. A side often has lower limits in one profile or packetization mode."""


def key_of(codec: Codec) -> tuple[str, ...]:
    """Return the codec's name and `Codec.traits`: for H.264 packetization mode, then profile."""
    return (codec.key[0], *codec.traits)


def limits_of(codecs: Iterable[Codec]) -> Limits:
    """Return the limits declared by a side's codecs."""
    found: dict[tuple[str, ...], Limit] = {}
    for codec in codecs:
        key = key_of(codec)
        limit = _least([limit_of(codec), found.get(key)])
        if limit is not None:
            found[key] = limit
    return found


def limit_of(codec: Codec) -> Limit | None:
    """Return the limit declared by a codec; None for an unlimited codec, and for H.264 without level."""
    name = codec.key[0]
    if name in _BOUNDS:
        said = parameters(codec.fmtp)
        return tuple([_bound(said, bound, missing) for bound, missing, _ in _BOUNDS[name]])
    return _limit_of_h264(parameters(codec.fmtp)) if name == "h264" else None


def _limit_of_h264(said: dict[str, str]) -> PictureLimit | None:
    profile = said.get(PROFILE, "")
    if not is_written(profile):
        return None
    level = rank(profile)
    rate, size = _of(level)
    return PictureLimit(level, max(rate, _number(said, "max-mbps")), max(size, _number(said, "max-fs")))


def all_take(many: Sequence[Limits]) -> Limits:
    """Return the common limits of several sides; a missing H.264 profile counts as the nearest profile present."""
    keys = dict.fromkeys([key for limits in many for key in limits])
    return {key: limit for key in keys if (limit := _least([_taken(limits, key) for limits in many])) is not None}


def of_many(limits: Limits) -> Limits:
    """Return the limits raised to at least H.264's lowest level, so that no member degrades the picture for all."""
    return {
        key: tuple([max(bound, least) for bound, (_, _, least) in zip(limit, _BOUNDS[key[0]], strict=True)])
        if key[0] in _BOUNDS
        else limit
        for key, limit in limits.items()
    }


def _taken(limits: Limits, key: tuple[str, ...]) -> Limit | None:
    """Return a side's limit for a codec; for H.264 in its mode and profile, else in any profile of its mode."""
    known = limits.get(key)
    if known is not None or key[0] != "h264":
        return known
    return _least([limit for near, limit in limits.items() if near[:2] == key[:2]])


def _least(limits: Iterable[Limit | None]) -> Limit | None:
    said = [limit for limit in limits if limit is not None]
    return tuple(map(min, *said)) if len(said) > 1 else next(iter(said), None)


def limited(codec: Codec, limits: Limits) -> Codec:
    """Return the codec with parameters lowered to the limit; unchanged without a known limit."""
    own, limit = limit_of(codec), limits.get(key_of(codec))
    if own is None or limit is None or own == limit:
        return codec
    said = parameters(codec.fmtp)
    if codec.key[0] == "h264":
        return codec.with_fmtp(written(_limited_h264(said, PictureLimit(*limit))))
    for (name, *_), bound in zip(_BOUNDS[codec.key[0]], limit, strict=True):
        said[name] = str(bound)
        if bound == _UNBOUNDED:
            del said[name]
    return codec.with_fmtp(written(said))


def _limited_h264(said: dict[str, str], limit: PictureLimit) -> dict[str, str]:
    found = {name: value for name, value in said.items() if name not in _BEYOND}
    found[PROFILE] = with_level(found[PROFILE], limit.level)
    rate, size = _of(limit.level)
    found |= {"max-mbps": str(limit.rate)} if limit.rate > rate else {}
    found |= {"max-fs": str(limit.size)} if limit.size > size else {}
    return found


def _of(level: int) -> tuple[int, int]:
    """Return the limits of the highest known level up to `level`."""
    return next((most for known, most in reversed(_OF_LEVEL.items()) if known <= level), _OF_LEVEL[20])


def _number(said: dict[str, str], name: str, missing: int = 0) -> int:
    """Return a parameter's number, or `missing`."""
    text = said.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else missing


def _bound(said: dict[str, str], name: str, missing: int) -> int:
    """Return `_number`, but `missing` for a picture of no macroblocks or none per second."""
    found = _number(said, name, missing)
    return missing if missing == _UNBOUNDED and not found else found


def written(said: dict[str, str]) -> str:
    """Return format parameters as text, the inverse of `parameters`."""
    return ";".join([f"{key}={value}" if value else key for key, value in said.items() if key])


def is_written(profile_level_id: str) -> bool:
    """Return True for six hexadecimal digits."""
    return re.fullmatch(r"[0-9A-Fa-f]{6}", profile_level_id) is not None


def rank(profile_level_id: str) -> int:
    """Return the level in the form of `PictureLimit`."""
    level = int(profile_level_id[4:], 16)
    has_flag = profile_level_id[:2].upper() in _BY_FLAG and bool(int(profile_level_id[2:4], 16) & _SET3)
    return _LEVEL_1B if level == 9 or (level == 11 and has_flag) else 2 * level


def with_level(profile_level_id: str, level: int) -> str:
    """Return the profile with another level."""
    idc, flags, number = profile_level_id[:2], int(profile_level_id[2:4], 16), level // 2
    if idc.upper() in _BY_FLAG:
        number = 11 if level == _LEVEL_1B else number
        flags = flags | _SET3 if level == _LEVEL_1B else flags & ~_SET3
    elif level == _LEVEL_1B:
        number = 9
    return f"{idc}{flags:02x}{number:02x}"
