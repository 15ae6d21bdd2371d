"""Codecs as the values that offers and answers are about: what they are, and when two are the same.

A payload type is only a number that one side chose; a codec's identity is its name, clock rate and
channels, and for some codecs a few format parameters (RFC 3264 section 6.1, RFC 8829 section 5.3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from sdp.description import MediaDescription

DYNAMIC: Final = (*range(96, 128), *range(35, 64))
"""Payload types for codecs without a number of their own, in the order they are given out (RFC 3551 section 3)."""

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
"""What a payload type means where no rtpmap says it (RFC 3551 section 6); G722 samples at 16000, its clock is 8000."""

DECISIONS: Final = 256
"""How many decisions of one kind about lists of codecs are remembered: calls of the same browsers need the same."""
EVENT: Final = "telephone-event"
REPAIR: Final = frozenset({"rtx", "red", "ulpfec", "flexfec", "flexfec-03", "parityfec", "raptorfec"})
"""Formats that repeat or protect another format: no codec of their own."""
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
"""Parameters that must be equal for two codecs of that name to be the same, and what they are when left out."""

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
"""profile_idc, constraint bits (x: either), and the profile both make (RFC 6184 table 5)."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One format of an RTP section."""

    name: str
    """As its rtpmap spells it ("opus", "PCMU"); compared without case."""
    clock_rate: int
    """RTP clock, Hz."""
    channels: int = 1
    payload_type: int | None = None
    """0 to 127; None for a codec that nobody has numbered yet."""
    fmtp: str = ""
    """Format parameters as written, without the payload type."""
    feedback: tuple[str, ...] = ()
    """RTCP feedback for this format ("nack pli"; RFC 4585), without the payload type."""
    key: tuple[str, int, int] = field(init=False, repr=False, compare=False)
    """Name in lower case, clock rate, channels: equal for the same codec, but see `matches`."""
    traits: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The values of the parameters that belong to its identity."""
    is_event: bool = field(init=False, repr=False, compare=False)
    """Whether it carries DTMF (RFC 4733)."""
    is_media: bool = field(init=False, repr=False, compare=False)
    """Whether a section can run on it alone: not digits, comfort noise, repair or redundancy."""
    _hash: int = field(init=False, repr=False, compare=False)
    """Made once: what is decided about a browser's codecs is remembered by them."""

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
        """What stands in its rtpmap after the payload type."""
        name, rate, channels = self.name, self.clock_rate, self.channels
        return f"{name}/{rate}" if channels == 1 else f"{name}/{rate}/{channels}"

    def matches(self, other: Codec) -> bool:
        """Whether both are the same codec: what one encodes the other decodes, whatever their numbers."""
        return self.key == other.key and self.traits == other.traits

    def numbered(self, payload_type: int | None) -> Codec:
        """The same codec under another payload type."""
        if payload_type == self.payload_type:
            return self
        return _codec(self.name, self.clock_rate, self.channels, payload_type, self.fmtp, self.feedback)

    def with_fmtp(self, fmtp: str) -> Codec:
        """The same codec with these format parameters."""
        return _codec(self.name, self.clock_rate, self.channels, self.payload_type, fmtp, self.feedback)

    def saying(self, feedback: tuple[str, ...]) -> Codec:
        """The same codec with this RTCP feedback."""
        if feedback == self.feedback:
            return self
        return _codec(self.name, self.clock_rate, self.channels, self.payload_type, self.fmtp, feedback)


STATIC_CODECS: Final = {
    number: Codec(name, int(rate), int(channels or 1), number)
    for number, (name, _, rest) in [(number, text.partition("/")) for number, text in STATIC.items()]
    for rate, _, channels in [rest.partition("/")]
}
"""The codecs with a number of their own."""


def parameters(fmtp: str) -> dict[str, str]:
    """Format parameters "a=1;b=2" by name, lower case; what has no "=" is a name with an empty value."""
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
    """The profile that six hexadecimal digits name; themselves where they name none (RFC 6184 section 8.1)."""
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
    """Name, clock rate and channels; None where it is not of that form (RFC 8866 section 6.6)."""
    name, _, rest = rtpmap.strip().partition("/")
    rate, _, channels = rest.partition("/")
    if not (name and rate.isascii() and rate.isdigit() and len(rate) < 10 and int(rate)):
        return None
    return name, int(rate), _channels(name, int(rate), channels)


def _channels(name: str, rate: int, said: str) -> int:
    """Return the number of channels, 1 where none can be read."""
    if name.lower() == "opus" and rate == _OPUS_CLOCK:
        return 2  # RFC 7587 section 7 allows no other number; some phones leave it out.
    usable = said.isascii() and said.isdigit() and 0 < int(said[:3]) < 256 and len(said) < 4
    return int(said) if usable else 1


_LONGEST_REMEMBERED: Final = 200
"""Characters of parameters that are worth remembering, so that strangers cannot fill memory."""
_remembered_codec = lru_cache(maxsize=2048)(Codec)


def _codec(
    name: str, clock_rate: int, channels: int, payload_type: int | None, fmtp: str, feedback: tuple[str, ...]
) -> Codec:
    """The value, the one made before where it is short: every call of one browser needs the same."""
    short = len(fmtp) + len(name) < _LONGEST_REMEMBERED and len(feedback) < 10 and sum(map(len, feedback)) < 400
    return (_remembered_codec if short else Codec)(name, clock_rate, channels, payload_type, fmtp, feedback)


def read_codecs(media: MediaDescription) -> tuple[Codec, ...]:
    """The codecs of an RTP section, best first, with their payload types.

    A format that is no payload type, has no usable rtpmap and no static meaning, or comes twice is left
    out: what it is cannot be known, and the rest of the section is still good.
    """
    found: tuple[Codec, ...] | None = media._views.get(read_codecs)
    if found is None:
        found = media._views[read_codecs] = _read_known(
            (media.formats, media.values("rtpmap"), media.values("fmtp"), media.values("rtcp-fb"))
        )
    return found


def know_codecs(media: MediaDescription, codecs: tuple[Codec, ...]) -> None:
    """Spare `read_codecs` the reading of a section that was written from just these, feedback included."""
    media._views[read_codecs] = codecs


_CodecLines = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Formats of the m= line, and the values of its rtpmap, fmtp and rtcp-fb lines."""


def _read_known(lines: _CodecLines) -> tuple[Codec, ...]:
    """`_read_codecs`, remembered: every call of one browser brings the same lines."""
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
        rtpmap = _read_rtpmap(rtpmaps.get(text) or STATIC.get(payload_type, ""))
        if rtpmap is not None:
            said = (*to_all, *feedback.get(text, ()))
            codecs[payload_type] = _codec(*rtpmap, payload_type, parameters_of.get(text, ""), said)
    return tuple(codecs.values())


_known_sections: Final[dict[_CodecLines, tuple[Codec, ...]]] = {}
_SECTIONS_REMEMBERED: Final = 128
_LONGEST_SECTION_REMEMBERED: Final = 8192
"""Characters of a section's codec lines that are remembered, so that strangers cannot fill memory."""


def payload_number(text: str) -> int | None:
    """A format as a payload type, 0 to 127; None for anything else."""
    if text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
        return number if number < 128 else None
    return None


def _by_payload_type(values: Iterable[str]) -> dict[str, str]:
    """The first value of each payload type ("111 opus/48000/2")."""
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
    """The first of `among` that is the same codec as `codec`.

    Where none is, one of the same name, rate and number counts: some phones echo a payload type and
    leave out the parameters that would make it the same.
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
    """A repair format whose parameters name payload types (rtx, red), naming those of `numbers` instead.

    None where one of them has no successor. Other formats are returned as they are.
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
    """Each of `ours` that is also among `theirs`, in the order of `ours`, with its counterpart.

    Of several counterparts the one under the same payload type is taken, else the first.
    A repair format is the same only where what it repairs is (RFC 4588 section 8.6).
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
    """How a relay renumbers packets: payload type received on one side -> payload type to send on the other.

    `receive` is what one agreement says arrives, `send` what the other says may be sent; formats that
    only one of them knows are absent, so their packets need transcoding or are dropped.
    """
    return {
        codec.payload_type: target.payload_type
        for codec, target in matched_codecs(tuple(receive), tuple(send))
        if codec.payload_type is not None and target.payload_type is not None
    }


def event_map(codecs: Iterable[Codec]) -> dict[int, int]:
    """Payload types of telephone-event by clock rate in Hz, which is the audio codec's own (RFC 4733)."""
    found: dict[int, int] = {}
    for codec in codecs:
        if codec.is_event and codec.payload_type is not None:
            found.setdefault(codec.clock_rate, codec.payload_type)
    return found
