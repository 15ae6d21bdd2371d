"""Codecs as values for offers and answers: identity and equality.

A payload type is an arbitrary number of one side. The identity of a codec is its name, clock rate and channels, and for
some codecs a few format parameters (RFC 3264 section 6.1, RFC 8829 section 5.3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from sdp.description import MediaDescription

DYNAMIC: Final = (*range(96, 128), *range(35, 64))
"""Payload types for codecs without a static number, in order of assignment (RFC 3551 section 3)."""

STATIC: Final[dict[int, str]] = {
    0: "PCMU/8000",
    3: "GSM/8000",
    4: "G723/8000",
    5: "DVI4/8000",
    6: "DVI4/16000",
    7: "LPC/8000",
    8: "PCMA/8000",
    9: "G722/8000",
    10: "L16/44100/2",
    11: "L16/44100",
    12: "QCELP/8000",
    13: "CN/8000",
    14: "MPA/90000",
    15: "G728/8000",
    16: "DVI4/11025",
    17: "DVI4/22050",
    18: "G729/8000",
    25: "CelB/90000",
    26: "JPEG/90000",
    28: "nv/90000",
    31: "H261/90000",
    32: "MPV/90000",
    33: "MP2T/90000",
    34: "H263/90000",
}
"""Codecs of static payload types without rtpmap (RFC 3551 section 6); G722 samples at 16000, its clock is 8000."""

DECISIONS: Final = 256
"""Cached decisions of one kind on lists of codecs, as calls of equal browsers repeat them."""
EVENT: Final = "telephone-event"
REPAIR: Final = frozenset({"rtx", "red", "ulpfec", "flexfec", "flexfec-03", "parityfec", "raptorfec"})
"""Formats that repeat or protect another format, and are no codecs of their own."""
NOISE: Final = "cn"
_OPUS_CLOCK: Final = 48_000
AUXILIARY: Final = REPAIR | {EVENT, NOISE}
"""Formats that make no section usable by themselves."""

COMPARED: Final[dict[str, dict[str, str]]] = {
    "h264": {"packetization-mode": "0"},
    "vp9": {"profile-id": "0"},
    "av1": {"profile": "0"},
    "h265": {"profile-id": "1", "tier-flag": "0", "tx-mode": "srst"},
    "amr": {"octet-align": "0"},
    "amr-wb": {"octet-align": "0"},
    "g7221": {"bitrate": ""},
}
"""Parameters that must be equal for two codecs of a name to match, with the defaults of omitted parameters."""

_H264_PROFILES: Final = (
    ("42", "x1xx0000", "CB"),
    ("4D", "1xxx0000", "CB"),
    ("58", "11xx0000", "CB"),
    ("42", "x0xx0000", "B"),
    ("58", "10xx0000", "B"),
    ("4D", "0x0x0000", "M"),
    ("64", "00000000", "H"),
    ("64", "00001100", "CH"),
    ("6E", "0xxxxxxx", "H10"),
    ("7A", "0xxxxxxx", "H422"),
    ("F4", "0xxxxxxx", "H444"),
)
"""profile_idc, constraint bits (x: either), and the resulting profile (RFC 6184 table 5)."""


@dataclass(frozen=True, slots=True)
class Codec:
    """Format of an RTP section."""

    name: str
    """Name as in its rtpmap ("opus", "PCMU"); compared without case."""
    clock_rate: int
    """RTP clock in Hz."""
    channels: int = 1
    payload_type: int | None = None
    """0 to 127; None for an unnumbered codec."""
    fmtp: str = ""
    """Format parameters as written, without the payload type."""
    feedback: tuple[str, ...] = ()
    """RTCP feedback for the format ("nack pli"; RFC 4585), without the payload type."""
    key: tuple[str, int, int] = field(init=False, repr=False, compare=False)
    """Lower-case name, clock rate, channels: equal for equal codecs, but see `matches`."""
    traits: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Values of the parameters that belong to the codec's identity."""
    is_event: bool = field(init=False, repr=False, compare=False)
    """True for DTMF events (RFC 4733)."""
    is_media: bool = field(init=False, repr=False, compare=False)
    """True if a section can run on the codec alone: not DTMF, comfort noise, repair or redundancy."""
    _hash: int = field(init=False, repr=False, compare=False)
    """Precomputed hash, as codecs are the keys of cached decisions."""

    def __post_init__(self) -> None:
        name = self.name.lower()
        object.__setattr__(self, "is_event", name == EVENT)
        object.__setattr__(self, "is_media", name not in AUXILIARY)
        object.__setattr__(self, "key", (name, self.clock_rate, self.channels))
        object.__setattr__(self, "traits", _traits(name, self.fmtp) if name in COMPARED else ())
        object.__setattr__(self, "_hash", hash((self.key, self.payload_type, self.fmtp, self.feedback)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def rtpmap(self) -> str:
        """Return the text of the rtpmap after the payload type."""
        name, rate, channels = self.name, self.clock_rate, self.channels
        return f"{name}/{rate}" if channels == 1 else f"{name}/{rate}/{channels}"

    def matches(self, other: Codec) -> bool:
        """Return True if the codecs are equal, so that either side decodes the other's packets, whatever their
        numbers."""
        return self.key == other.key and self.traits == other.traits

    def numbered(self, payload_type: int | None) -> Codec:
        """Return the codec with another payload type."""
        if payload_type == self.payload_type:
            return self
        return _codec(self.name, self.clock_rate, self.channels, payload_type, self.fmtp, self.feedback)

    def with_fmtp(self, fmtp: str) -> Codec:
        """Return the codec with other format parameters."""
        return _codec(self.name, self.clock_rate, self.channels, self.payload_type, fmtp, self.feedback)

    def saying(self, feedback: tuple[str, ...]) -> Codec:
        """Return the codec with other RTCP feedback."""
        if feedback == self.feedback:
            return self
        return _codec(self.name, self.clock_rate, self.channels, self.payload_type, self.fmtp, feedback)


STATIC_CODECS: Final = {
    number: Codec(name, int(rate), int(channels or 1), number)
    for number, (name, _, rest) in [(number, text.partition("/")) for number, text in STATIC.items()]
    for rate, _, channels in [rest.partition("/")]
}
"""Codecs with a static payload type."""


def parameters(fmtp: str) -> dict[str, str]:
    """Return format parameters "a=1;b=2" by lower-case name; a name without "=" gets an empty value."""
    found = {}
    for part in fmtp.split(";"):
        name, _, value = part.strip().partition("=")
        if name:
            found[name.strip().lower()] = value.strip()
    return found


def _traits(name: str, fmtp: str) -> tuple[str, ...]:
    given = parameters(fmtp)
    traits = tuple([given.get(parameter, default).lower() for parameter, default in COMPARED[name].items()])
    return (*traits, _h264_profile(given.get("profile-level-id", "420010"))) if name == "h264" else traits


def _h264_profile(profile_level_id: str) -> str:
    """Return the profile for six hexadecimal digits, or the text itself for an unknown profile (RFC 6184 section
    8.1)."""
    text = profile_level_id.upper()
    try:
        bits = f"{int(text[2:4], 16):08b}"
    except ValueError:
        return text
    for idc, pattern, profile in _H264_PROFILES:
        if text[:2] == idc and all(want in ("x", bit) for want, bit in zip(pattern, bits, strict=False)):
            return profile
    return text[:4]


def _read_rtpmap(rtpmap: str) -> tuple[str, int, int] | None:
    """Return name, clock rate and channels; None for a malformed rtpmap (RFC 8866 section 6.6)."""
    name, _, rest = rtpmap.strip().partition("/")
    rate, _, channels = rest.partition("/")
    if not (name and rate.isascii() and rate.isdigit() and len(rate) < 10 and int(rate)):
        return None
    return name, int(rate), _channels(name, int(rate), channels)


def _channels(name: str, rate: int, said: str) -> int:
    """Return the number of channels, 1 if unreadable."""
    if name.lower() == "opus" and rate == _OPUS_CLOCK:
        return 2  # RFC 7587 section 7 allows no other number; some phones omit it.
    usable = said.isascii() and said.isdigit() and 0 < int(said[:3]) < 256 and len(said) < 4
    return int(said) if usable else 1


_LONGEST_REMEMBERED: Final = 200
"""Longest cached parameters in characters, so that strangers cannot fill memory."""
_remembered_codec = lru_cache(maxsize=2048)(Codec)


def _codec(
    name: str, clock_rate: int, channels: int, payload_type: int | None, fmtp: str, feedback: tuple[str, ...]
) -> Codec:
    """Return a codec, from the cache if short: calls of equal browsers repeat their codecs."""
    short = len(fmtp) + len(name) < _LONGEST_REMEMBERED and len(feedback) < 10 and sum(map(len, feedback)) < 400
    return (_remembered_codec if short else Codec)(name, clock_rate, channels, payload_type, fmtp, feedback)


def read_codecs(media: MediaDescription) -> tuple[Codec, ...]:
    """Return the codecs of an RTP section with their payload types, best first.

    Skipped as unknowable: formats other than payload types, without usable rtpmap or static meaning, or repeated. The
    rest of the section remains usable.
    """
    found: tuple[Codec, ...] | None = media._views.get(read_codecs)
    if found is None:
        found = media._views[read_codecs] = _read_known(
            (media.formats, media.values("rtpmap"), media.values("fmtp"), media.values("rtcp-fb"))
        )
    return found


def know_codecs(media: MediaDescription, codecs: tuple[Codec, ...]) -> None:
    """Set the result of `read_codecs` for a section written from exactly these codecs, feedback included."""
    media._views[read_codecs] = codecs


_CodecLines = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Formats of the m= line, and the values of its rtpmap, fmtp and rtcp-fb lines."""


def _read_known(lines: _CodecLines) -> tuple[Codec, ...]:
    """Return `_read_codecs` from a cache, as calls of equal browsers repeat the lines."""
    found = _known_sections.get(lines)
    if found is None:
        found = _read_codecs(*lines)
        if sum(len(value) for values in lines for value in values) < _LONGEST_SECTION_REMEMBERED:
            if len(_known_sections) >= _SECTIONS_REMEMBERED:
                del _known_sections[next(iter(_known_sections))]
            _known_sections[lines] = found
    return found


def _read_codecs(
    formats: tuple[str, ...], maps: tuple[str, ...], fmtps: tuple[str, ...], feedbacks: tuple[str, ...]
) -> tuple[Codec, ...]:
    rtpmaps = _by_payload_type(maps)
    parameters_of = _by_payload_type(fmtps)
    feedback = _feedback(feedbacks)
    to_all = feedback.get("*", ())
    codecs: dict[int, Codec] = {}
    for text in formats:
        payload_type = payload_number(text)
        if payload_type is None or payload_type in codecs:
            continue
        rtpmap = _read_rtpmap(rtpmaps.get(text, "")) or _read_rtpmap(STATIC.get(payload_type, ""))
        if rtpmap is not None:
            said = (*to_all, *feedback.get(text, ()))
            codecs[payload_type] = _codec(*rtpmap, payload_type, parameters_of.get(text, ""), said)
    return tuple(codecs.values())


_known_sections: Final[dict[_CodecLines, tuple[Codec, ...]]] = {}
_SECTIONS_REMEMBERED: Final = 128
_LONGEST_SECTION_REMEMBERED: Final = 8192
"""Longest cached codec lines of a section in characters, so that strangers cannot fill memory."""


def payload_number(text: str) -> int | None:
    """Return a format as payload type, 0 to 127; None for other formats."""
    if text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
        return number if number < 128 else None
    return None


def _by_payload_type(values: Iterable[str]) -> dict[str, str]:
    """Return the first value of each payload type ("111 opus/48000/2")."""
    found: dict[str, str] = {}
    for value in values:
        payload_type, _, rest = value.lstrip(" ").partition(" ")
        if payload_type not in found:
            found[payload_type] = rest.strip()
    return found


def _feedback(values: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    grouped: dict[str, list[str]] = {}
    for value in values:
        payload_type, _, rest = value.partition(" ")
        grouped.setdefault(payload_type, []).append(rest.strip())
    for payload_type, rest_of in grouped.items():
        found[payload_type] = tuple(rest_of)
    return found


def find_match(codec: Codec, among: Iterable[Codec]) -> Codec | None:
    """Return the first codec of `among` equal to `codec`.

    Otherwise a codec with equal name, rate and number counts: some phones echo a payload type but omit the parameters
    of its identity.
    """
    key, traits = codec.key, codec.traits
    echoed = None
    for other in among:
        if other.key == key:
            if other.traits == traits:
                return other
            if other.payload_type == codec.payload_type and codec.payload_type is not None:
                echoed = other
    return echoed


def renumbered(codec: Codec, numbers: Mapping[int | None, int | None]) -> Codec | None:
    """Return a repair format (rtx, red) with its payload types mapped by `numbers`.

    None if a payload type has no successor. Other formats are returned unchanged.
    """
    if codec.key[0] == "rtx":
        target = numbers.get(payload_number(parameters(codec.fmtp).get("apt", "")))
        return codec.with_fmtp(f"apt={target}") if target is not None else None
    if codec.key[0] == "red" and codec.fmtp:
        levels = [numbers.get(payload_number(level)) for level in codec.fmtp.split("/")]
        if None in levels:
            return None
        return codec.with_fmtp("/".join(map(str, levels)))
    return codec


@lru_cache(maxsize=DECISIONS)
def matched_codecs(ours: tuple[Codec, ...], theirs: tuple[Codec, ...]) -> tuple[tuple[Codec, Codec], ...]:
    """Return each of `ours` also among `theirs`, in the order of `ours`, with its counterpart.

    Of several counterparts the codec with an equal payload type wins, else the first. Repair formats match only if the
    repaired codecs match (RFC 4588 section 8.6).
    """
    by_number = {codec.payload_type: codec for codec in theirs}
    found: list[tuple[Codec, Codec]] = []
    repair: list[tuple[int, Codec]] = []
    numbers: dict[int | None, int | None] = {}
    for codec in ours:
        if codec.key[0] in REPAIR:
            repair.append((len(found) + len(repair), codec))
            continue
        number = codec.payload_type
        other = by_number.get(number)
        if other is None or other.key != codec.key or other.traits != codec.traits:
            other = find_match(codec, theirs)
        if other is not None:
            found.append((codec, other))
            numbers[number] = other.payload_type
    for place, codec in repair:
        pointed = renumbered(codec, numbers)
        if pointed is not None and (other := _same_repair(pointed, theirs)) is not None:
            found.insert(place, (codec, other))
            numbers[codec.payload_type] = other.payload_type
    return tuple(found)


def _same_repair(pointed: Codec, theirs: Iterable[Codec]) -> Codec | None:
    exact = pointed.key[0] == "rtx"
    return next((c for c in theirs if c.key == pointed.key and (not exact or _apt(c) == _apt(pointed))), None)


def _apt(codec: Codec) -> str:
    return parameters(codec.fmtp).get("apt", "")


def payload_map(receive: Iterable[Codec], send: Iterable[Codec]) -> dict[int, int]:
    """Return a relay's payload type mapping: type received on one side to type to send on the other.

    `receive`: receive codecs of one agreement, `send`: send codecs of the other. Formats known to only one are absent;
    their packets need transcoding or are dropped.
    """
    return {
        codec.payload_type: target.payload_type
        for codec, target in matched_codecs(tuple(receive), tuple(send))
        if codec.payload_type is not None and target.payload_type is not None
    }


def event_map(codecs: Iterable[Codec]) -> dict[int, int]:
    """Return payload types of telephone-event by clock rate in Hz, equal to the audio codec's rate (RFC 4733)."""
    found: dict[int, int] = {}
    for codec in codecs:
        if codec.is_event and codec.payload_type is not None:
            found.setdefault(codec.clock_rate, codec.payload_type)
    return found
