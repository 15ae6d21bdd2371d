"""Which codecs one side's section names, and under which payload types (RFC 3264 sections 5.1, 6.1 and 8.3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from sdp.codecs import (
    DECISIONS,
    DYNAMIC,
    EVENT,
    NOISE,
    REPAIR,
    STATIC_CODECS,
    Codec,
    find_match,
    matched_codecs,
    parameters,
    renumbered,
)
from sdp.declaring import declaring
from sdp.plan import CodecPolicy

_STATIC_NUMBERS: Final = {codec.key: number for number, codec in STATIC_CODECS.items()}
_DYNAMIC_SET: Final = frozenset(DYNAMIC)
_EVENTS: Final = "0-15"
_COMMON: Final = "CB"
_VIDEO_RATE: Final = 90_000
"""Hz, of every video codec (RFC 3551 section 5)."""
_LONGEST_FOR_PHONES: Final = 400
"""Characters of parameters that no phone's codec needs."""


class Numbering:
    """Payload types given out for one description: kept from what was sent before, never used for two codecs.

    Sections that are bundled share one Numbering, and so one number for a codec that says the same in each
    (RFC 9143 section 10.1.1); `begin` comes before each section.
    """

    __slots__ = ("_before", "_earlier", "_taken", "_used", "_wished")

    def __init__(self, sent: Iterable[Codec] = ()) -> None:
        self._taken = {codec.payload_type: codec for codec in sent}
        self._wished: set[int | None] = set()
        self.begin(())

    def wish(self, codecs: Iterable[Codec]) -> None:
        """Keep the numbers of these for themselves while others are free."""
        self._wished.update(codec.payload_type for codec in codecs)

    def begin(self, earlier: tuple[Codec, ...]) -> None:
        """Start a section that named `earlier` when it was last sent."""
        self._earlier = earlier
        self._before = dict(self._taken)
        self._used: set[int] = set()

    def give(self, codec: Codec) -> Codec | None:
        """The codec under its earlier number, its static one, the other side's if free, or the next free one.

        None once all are used up, or for the second of two codecs with one static number.
        """
        number = self._known(codec)
        if number is None:
            number = _STATIC_NUMBERS.get(codec.key)
        if number is None:
            number = self._dynamic(codec)
        if number is None or number in self._used:
            return None
        self._used.add(number)
        self._taken.setdefault(number, codec)
        return codec.numbered(number)

    def give_all(self, codecs: Iterable[Codec]) -> list[Codec]:
        """Each codec with its number; those that found none left out."""
        return [given for given in map(self.give, codecs) if given is not None]

    def _known(self, codec: Codec) -> int | None:
        """Its number in this section before, else that of the same codec elsewhere in the description."""
        used = self._used
        for earlier in self._earlier:
            if _same(earlier, codec) and earlier.payload_type not in used:
                return earlier.payload_type
        for number, other in self._before.items():
            if other.key == codec.key and other.fmtp == codec.fmtp and number not in used:
                return number
        return None

    def _dynamic(self, codec: Codec) -> int | None:
        wanted, taken = codec.payload_type, self._taken
        if wanted in _DYNAMIC_SET and wanted not in taken:
            return wanted
        free = [number for number in DYNAMIC if number not in taken]
        return next((number for number in free if number not in self._wished), free[0] if free else None)


def _same(one: Codec, other: Codec) -> bool:
    if one.key[0] in REPAIR:
        return one.key == other.key and one.fmtp == other.fmtp
    return one.matches(other)


def _allowed(codecs: tuple[Codec, ...], kind: str, policy: CodecPolicy, webrtc: bool) -> list[Codec]:
    """Those that the policy lets this side be told of at all."""
    kept = list(codecs)
    if policy.drop:
        kept = [codec for codec in kept if codec.key[0] not in policy.drop]
    if not webrtc:
        never = REPAIR if kind != "text" else frozenset()
        kept = [c for c in kept if c.key[0] not in never and len(c.fmtp) <= _LONGEST_FOR_PHONES]
    if policy.video is not None and kind == "video":
        kept = [codec for codec in kept if codec.key[0] in policy.video]
    if policy.only and kind == "audio":
        kept = [codec for codec in kept if not codec.is_media or codec.key[0] in policy.only]
    return kept


def offered_codecs(
    source: tuple[Codec, ...], kind: str, policy: CodecPolicy, webrtc: bool, numbering: Numbering
) -> tuple[Codec, ...]:
    """What to offer this side when the other side has named `source`; () where nothing is left to offer.

    The other side's own codecs come first, since packets of a common codec are forwarded as they are.
    """
    kept = _allowed(source, kind, policy, webrtc)
    media = _ordered([codec for codec in kept if codec.is_media], policy)
    if _can_convert(source, kind, policy):
        more = [
            codec for codec in _allowed(policy.offer_also, kind, policy, webrtc) if find_match(codec, media) is None
        ]
        media += _ordered(more, policy)
    if kind == "video" and not webrtc:
        media = _one_of_each(media)
    side = _side_formats(source, kept, media, policy) if kind == "audio" else []
    numbering.wish(kept)
    if not media:
        return tuple(numbering.give_all(side))
    given = [(codec, number) for codec in media if (number := numbering.give(codec)) is not None]
    repair = _offered_repair(kept, {old.payload_type: new.payload_type for old, new in given}, numbering)
    if kind == "video" and webrtc and policy.repeats:
        bare = _without_rtx([codec for _, codec in given], repair)
        repair += numbering.give_all([Codec("rtx", _VIDEO_RATE, fmtp=f"apt={number}") for number in bare])
    return (*[codec for _, codec in given], *numbering.give_all(side), *repair)


@lru_cache(maxsize=DECISIONS)
def first_offered_codecs(source: tuple[Codec, ...], kind: str, policy: CodecPolicy, webrtc: bool) -> tuple[Codec, ...]:
    """`offered_codecs` of a section that has no history and shares its numbers with no other."""
    return offered_codecs(source, kind, policy, webrtc, Numbering())


def _digits_alone(said: tuple[Codec, ...], kept: list[Codec]) -> list[Codec]:
    """The digits of a section that has nothing else (RFC 4317 section 2.5).

    None where voice was said and the policy took it away: digits alone would be no call.
    """
    return [] if any(codec.is_media for codec in said) else [codec for codec in kept if codec.is_event]


def ordered(codecs: Sequence[Codec], policy: CodecPolicy) -> tuple[Codec, ...]:
    """These, the best of the policy first."""
    return tuple(_ordered(list(codecs), policy))


def _ordered(media: list[Codec], policy: CodecPolicy) -> list[Codec]:
    if not policy.order:
        return media
    rank = {name: place for place, name in enumerate(policy.order)}
    return sorted(media, key=lambda codec: rank.get(codec.key[0], len(rank)))


def _one_of_each(media: list[Codec]) -> list[Codec]:
    """One profile of each video codec, of H.264 one of each packetization mode: a phone's list stays short.

    Of H.264 the constrained baseline where there is one, which every phone and every browser decodes (RFC 7742).
    """
    seen: dict[object, Codec] = {}
    for codec in media:
        name = codec.key[0]
        what = (name, codec.traits[0]) if name == "h264" else name
        if what not in seen or (name == "h264" and codec.traits[1] == _COMMON != seen[what].traits[1]):
            seen[what] = codec
    return list(seen.values())


def _side_formats(said: tuple[Codec, ...], kept: list[Codec], media: list[Codec], policy: CodecPolicy) -> list[Codec]:
    """Comfort noise and digits at the clock rates of the audio codecs (RFC 3389, RFC 4733), noise first.

    Noise only beside codecs of the other side's own: a voice that is transcoded brings none.
    Digits 0-15 are said even where the other side leaves them to the default: some phones want to read it.
    """
    if not media:
        return _digits_alone(said, kept)
    rates = dict.fromkeys(codec.clock_rate for codec in media)
    forwarded = {codec.clock_rate for codec in kept if codec.is_media}
    noise = [codec for codec in kept if codec.key[0] == NOISE and codec.clock_rate in forwarded]
    events = {codec.clock_rate: codec for codec in reversed(kept) if codec.is_event}
    if policy.events and EVENT not in policy.drop:
        for rate in rates:
            events.setdefault(rate, Codec(EVENT, rate, fmtp=_EVENTS))
    digits = [events[rate] for rate in rates if rate in events]
    return noise + [codec if codec.fmtp else codec.with_fmtp(_EVENTS) for codec in digits]


def _offered_repair(kept: list[Codec], numbers: dict[int | None, int | None], numbering: Numbering) -> list[Codec]:
    """Retransmission, redundancy and FEC of the codecs that stayed, pointing at their new numbers."""
    repair = []
    for codec in kept:
        if codec.key[0] in REPAIR:
            pointed = renumbered(codec, numbers)
            given = numbering.give(pointed) if pointed is not None else None
            if given is not None:
                repair.append(given)
                numbers[codec.payload_type] = given.payload_type
    return repair


def _without_rtx(media: Iterable[Codec], repair: Iterable[Codec]) -> list[str]:
    """Payload types of the codecs that no rtx repeats (RFC 4588 section 8.1)."""
    repeated = {_repeats(codec) for codec in repair}
    return [number for codec in media if (number := str(codec.payload_type)) not in repeated]


def _repeats(codec: Codec) -> str | None:
    """The payload type that an rtx repeats; None for other formats."""
    return parameters(codec.fmtp).get("apt") if codec.key[0] == "rtx" else None


@lru_cache(maxsize=DECISIONS)
def answered_codecs(
    offered: tuple[Codec, ...], other: tuple[Codec, ...] | None, kind: str, policy: CodecPolicy, webrtc: bool
) -> tuple[Codec, ...]:
    """What to answer to `offered` when the other side of the call has accepted `other`; () refuses the section.

    All are codecs of the offer under its payload types. Where `other` is None (the other side has not
    answered yet, or we are the far end), those of `offer_also` are taken in the policy's order.
    """
    usable = _allowed(offered, kind, policy, webrtc)
    common = [(codec, theirs) for theirs, codec in matched_codecs(other, tuple(usable))] if other else []
    chosen = [declaring(codec, theirs) for codec, theirs in common if codec.is_media]
    if not chosen:
        common = []
        media = [codec for codec in usable if codec.is_media]
        if other is None:
            chosen = _ordered(list(_convertible(media, kind, policy)) if policy.offer_also else media, policy)
        elif _can_convert(other, kind, policy):
            chosen = _ordered(list(_convertible(media, kind, policy)), policy)
    if not chosen and kind == "audio" and (other is None or not any(codec.is_media for codec in other)):
        chosen = _digits_alone(offered, usable)
    if not chosen:
        return ()
    rest = [codec for codec, _ in common if not codec.is_media and not codec.is_event]
    if kind == "audio" and (policy.events or any(codec.is_event for codec in other or ())):
        rest += _events_for(chosen, usable)
    if kind == "video" and webrtc and policy.repeats:
        bare = _without_rtx(chosen, rest)
        rest += [codec for codec in usable if _repeats(codec) in bare]
    return _once((*chosen, *rest))


def _once(codecs: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """Each payload type once: two codecs of the other side may have met in one of the offer."""
    found: dict[int | None, Codec] = {}
    for codec in codecs:
        found.setdefault(codec.payload_type, codec)
    return tuple(found.values())


def _can_convert(codecs: Iterable[Codec], kind: str, policy: CodecPolicy) -> bool:
    """Whether one of the other side's codecs is among those that we decode: audio only."""
    decoded = policy.made_of if policy.made_of is not None else policy.offer_also
    return kind == "audio" and any(codec.is_media and find_match(codec, decoded) for codec in codecs)


def _convertible(codecs: Iterable[Codec], kind: str, policy: CodecPolicy) -> Iterator[Codec]:
    """Those that we can make of others: audio only."""
    if kind == "audio":
        for codec in codecs:
            if codec.is_media and find_match(codec, policy.offer_also):
                yield codec


def _events_for(chosen: list[Codec], usable: list[Codec]) -> list[Codec]:
    """The offer's digits at the clock rates of the chosen codecs (RFC 4733 section 2.1).

    Where it has none at the rate of any, those that it has: Firefox and many phones say telephone-event/8000
    beside Opus, and digits at another clock are better than none.
    """
    events = {codec.clock_rate: codec for codec in reversed(usable) if codec.is_event}
    fitting = [events[rate] for rate in dict.fromkeys(codec.clock_rate for codec in chosen) if rate in events]
    return fitting or list(events.values())[::-1]
