"""Choice of codecs and payload types for one side's section (RFC 3264 sections 5.1, 6.1 and 8.3.2)."""

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
"""Clock rate in Hz of every video codec (RFC 3551 section 5)."""
_LONGEST_FOR_PHONES: Final = 400
"""Longest parameters in characters that a phone's codec needs."""


class Numbering:
    """Payload types of one description: kept from the previous one, never reused for another codec.

    Bundled sections have a common Numbering, and so one number for a codec with equal parameters (RFC 9143 section
    10.1.1); `begin` precedes each section.
    """

    __slots__ = ("_before", "_earlier", "_taken", "_used", "_wished")

    def __init__(self, sent: Iterable[Codec] = ()) -> None:
        self._taken = {codec.payload_type: codec for codec in sent}
        self._wished: set[int | None] = set()
        self.begin(())

    def wish(self, codecs: Iterable[Codec]) -> None:
        """Reserve the numbers of the codecs as long as others are free."""
        self._wished.update(codec.payload_type for codec in codecs)

    def begin(self, earlier: tuple[Codec, ...]) -> None:
        """Start a section; `earlier`: its previous codecs."""
        self._earlier = earlier
        self._before = dict(self._taken)
        self._used: set[int] = set()

    def give(self, codec: Codec) -> Codec | None:
        """Return the codec with its previous, static, wished or next free number.

        None if all are used up, or for the second of two codecs with one static number.
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
        """Return the codecs with numbers, without those for which none is left."""
        return [given for given in map(self.give, codecs) if given is not None]

    def _known(self, codec: Codec) -> int | None:
        """Return the codec's previous number in the section, else its number elsewhere in the description."""
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
    """Return the codecs allowed by the policy."""
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
    """Return the offer to one side for the other side's codecs `source`; () if nothing is left.

    The other side's own codecs come first, as packets of a common codec are forwarded unchanged.
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
    """Return `offered_codecs` for a section without history or shared numbers."""
    return offered_codecs(source, kind, policy, webrtc, Numbering())


def _digits_alone(said: tuple[Codec, ...], kept: list[Codec]) -> list[Codec]:
    """Return the DTMF events of a section without other codecs (RFC 4317 section 2.5).

    None if the policy removed all voice codecs: DTMF alone is no call.
    """
    return [] if any(codec.is_media for codec in said) else [codec for codec in kept if codec.is_event]


def ordered(codecs: Sequence[Codec], policy: CodecPolicy) -> tuple[Codec, ...]:
    """Return the codecs in the policy's order."""
    return tuple(_ordered(list(codecs), policy))


def _ordered(media: list[Codec], policy: CodecPolicy) -> list[Codec]:
    if not policy.order:
        return media
    rank = {name: place for place, name in enumerate(policy.order)}
    return sorted(media, key=lambda codec: rank.get(codec.key[0], len(rank)))


def _one_of_each(media: list[Codec]) -> list[Codec]:
    """Return one profile of each video codec, for H.264 one per packetization mode, to keep a phone's list short.

    H.264 prefers the constrained baseline, which every phone and browser decodes (RFC 7742).
    """
    seen: dict[object, Codec] = {}
    for codec in media:
        name = codec.key[0]
        what = (name, codec.traits[0]) if name == "h264" else name
        if what not in seen or (name == "h264" and codec.traits[1] == _COMMON != seen[what].traits[1]):
            seen[what] = codec
    return list(seen.values())


def _side_formats(said: tuple[Codec, ...], kept: list[Codec], media: list[Codec], policy: CodecPolicy) -> list[Codec]:
    """Return comfort noise and DTMF at the audio clock rates (RFC 3389, RFC 4733), noise first.

    Noise only with the other side's own codecs, as transcoded audio has none. The default events 0-15 are always
    written, as some phones require the parameter.
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
    """Return retransmission, redundancy and FEC for the remaining codecs, with their new payload types."""
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
    """Return payload types of codecs without rtx (RFC 4588 section 8.1)."""
    repeated = {_repeats(codec) for codec in repair}
    return [number for codec in media if (number := str(codec.payload_type)) not in repeated]


def _repeats(codec: Codec) -> str | None:
    """Return the payload type repeated by an rtx; None for other formats."""
    return parameters(codec.fmtp).get("apt") if codec.key[0] == "rtx" else None


@lru_cache(maxsize=DECISIONS)
def answered_codecs(
    offered: tuple[Codec, ...], other: tuple[Codec, ...] | None, kind: str, policy: CodecPolicy, webrtc: bool
) -> tuple[Codec, ...]:
    """Return the answer to `offered` after the other side accepted `other`; () rejects the section.

    All are offered codecs with their payload types. If `other` is None (no answer yet, or we are the far end), the
    codecs of `offer_also` are taken in the policy's order.
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
    """Return each payload type once, as two codecs of the other side may match one of the offer."""
    found: dict[int | None, Codec] = {}
    for codec in codecs:
        found.setdefault(codec.payload_type, codec)
    return tuple(found.values())


def _can_convert(codecs: Iterable[Codec], kind: str, policy: CodecPolicy) -> bool:
    """Return True if we can decode one of the other side's codecs: audio only."""
    decoded = policy.made_of if policy.made_of is not None else policy.offer_also
    return kind == "audio" and any(codec.is_media and find_match(codec, decoded) for codec in codecs)


def _convertible(codecs: Iterable[Codec], kind: str, policy: CodecPolicy) -> Iterator[Codec]:
    """Yield the codecs into which we can transcode: audio only."""
    if kind == "audio":
        for codec in codecs:
            if codec.is_media and find_match(codec, policy.offer_also):
                yield codec


def _events_for(chosen: list[Codec], usable: list[Codec]) -> list[Codec]:
    """Return the offered DTMF events at the clock rates of the chosen codecs (RFC 4733 section 2.1).

    Without a matching rate, all offered events: Firefox and many phones offer telephone-event/8000 with Opus, and
    events on another clock are better than none.
    """
    events = {codec.clock_rate: codec for codec in reversed(usable) if codec.is_event}
    fitting = [events[rate] for rate in dict.fromkeys(codec.clock_rate for codec in chosen) if rate in events]
    return fitting or list(events.values())[::-1]
