"""Which codecs one side's section names, and under which payload types (RFC 3264 sections 5.1, 6.1 and 8.3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sdp.codecs import (
    DYNAMIC,
    EVENT,
    NOISE,
    REPAIR,
    STATIC,
    Codec,
    find_match,
    parameters,
)
from sdp.plan import CodecPolicy, Plan

_STATIC_NUMBERS: Final = {text.lower(): number for number, text in STATIC.items()}
_EVENTS: Final = "0-15"


class Numbering:
    """Payload types given out for one description: kept from what was sent before, never used for two codecs."""

    __slots__ = ("_kept", "_taken")

    def __init__(self, kept: Iterable[Codec] = ()) -> None:
        self._kept = tuple(kept)
        self._taken = {codec.payload_type: codec for codec in self._kept if codec.payload_type is not None}

    def give(self, codec: Codec) -> Codec | None:
        """The codec under its earlier number, its static one, the other side's if free, or the next free one.

        None once all are used up.
        """
        for kept in self._kept:
            if _same(kept, codec):
                return codec.numbered(kept.payload_type)
        number = _STATIC_NUMBERS.get(codec.rtpmap.lower())
        if number is None:
            number = self._dynamic(codec)
        if number is None:
            return None
        self._taken.setdefault(number, codec)
        return codec.numbered(number)

    def give_all(self, codecs: Iterable[Codec]) -> list[Codec]:
        """Each codec with its number; those that found none left out."""
        return [given for given in map(self.give, codecs) if given is not None]

    def _dynamic(self, codec: Codec) -> int | None:
        wanted, taken = codec.payload_type, self._taken
        if wanted is not None and wanted in DYNAMIC and (wanted not in taken or _same(taken[wanted], codec)):
            return wanted
        return next((number for number in DYNAMIC if number not in taken), None)


def _same(one: Codec, other: Codec) -> bool:
    if one.key[0] in REPAIR:
        return one.key == other.key and one.fmtp == other.fmtp
    return one.matches(other)


def allowed(codec: Codec, kind: str, plan: Plan) -> bool:
    """Whether the policy lets this side be told of the codec at all."""
    name = codec.key[0]
    policy = plan.codecs
    if name in policy.drop or (name in REPAIR and not plan.is_webrtc):
        return False
    return not (policy.only and kind == "audio" and codec.is_media and name not in policy.only)


def offered_codecs(source: tuple[Codec, ...], kind: str, plan: Plan, numbering: Numbering) -> tuple[Codec, ...]:
    """What to offer this side when the other side has named `source`; () where nothing is left to offer.

    The other side's own codecs come first, since packets of a common codec are forwarded as they are.
    """
    policy = plan.codecs
    kept = [codec for codec in source if allowed(codec, kind, plan)]
    media = _ordered([codec for codec in kept if codec.is_media], policy)
    if kind == "audio" and any(find_match(codec, policy.offer_also) for codec in source if codec.is_media):
        more = [codec for codec in policy.offer_also if find_match(codec, media) is None]
        media += _ordered([codec for codec in more if allowed(codec, kind, plan)], policy)
    if kind == "video" and not plan.is_webrtc:
        media = _one_of_each(media)
    if not media:
        return ()
    chosen = numbering.give_all(media)
    repair = _offered_repair(kept, media, chosen, numbering)
    side = numbering.give_all(_side_formats(kept, media, policy)) if kind == "audio" else []
    return (*chosen, *side, *repair)


def _ordered(media: list[Codec], policy: CodecPolicy) -> list[Codec]:
    if not policy.order:
        return media
    rank = {name: place for place, name in enumerate(policy.order)}
    return sorted(media, key=lambda codec: rank.get(codec.key[0], len(rank)))


def _one_of_each(media: list[Codec]) -> list[Codec]:
    """One profile of each video codec, of H.264 one of each packetization mode: a phone's list stays short (C21)."""
    seen: dict[object, Codec] = {}
    for codec in media:
        name = codec.key[0]
        seen.setdefault((name, codec.traits[0]) if name == "h264" else name, codec)
    return list(seen.values())


def _side_formats(kept: list[Codec], media: list[Codec], policy: CodecPolicy) -> list[Codec]:
    """Comfort noise and digits at the clock rates of the audio codecs (RFC 3389, RFC 4733), noise first."""
    rates = dict.fromkeys(codec.clock_rate for codec in media)
    noise = [codec for codec in kept if codec.key[0] == NOISE and codec.clock_rate in rates]
    events = {codec.clock_rate: codec for codec in reversed(kept) if codec.is_event}
    if policy.events and EVENT not in policy.drop:
        for rate in rates:
            events.setdefault(rate, Codec(EVENT, rate, fmtp=_EVENTS))
    return noise + [events[rate] for rate in rates if rate in events]


def _offered_repair(kept: list[Codec], media: list[Codec], chosen: list[Codec], numbering: Numbering) -> list[Codec]:
    """Retransmission, redundancy and FEC of the codecs that stayed, pointing at their new numbers."""
    renumbered = {str(old.payload_type): new for old, new in zip(media, chosen, strict=False)}
    repair = []
    for codec in kept:
        name = codec.key[0]
        if name not in REPAIR:
            continue
        pointed = renumber_fmtp(codec, {old: str(new.payload_type) for old, new in renumbered.items()})
        given = numbering.give(pointed) if pointed is not None else None
        if given is not None:
            repair.append(given)
            renumbered[str(codec.payload_type)] = given
    return repair


def renumber_fmtp(codec: Codec, numbers: dict[str, str]) -> Codec | None:
    """A repair format whose parameters name other payload types, with those of `numbers`; None where one is gone."""
    if codec.key[0] == "rtx":
        apt = numbers.get(parameters(codec.fmtp).get("apt", ""))
        return replace(codec, fmtp=f"apt={apt}") if apt is not None else None
    if codec.key[0] == "red" and codec.fmtp:
        levels = [numbers.get(level) for level in codec.fmtp.split("/")]
        return replace(codec, fmtp="/".join(level for level in levels if level)) if all(levels) else None
    return codec


def answered_codecs(
    offered: tuple[Codec, ...], other: tuple[Codec, ...] | None, kind: str, plan: Plan
) -> tuple[Codec, ...]:
    """What to answer to `offered` when the other side of the call has accepted `other`; () refuses the section.

    All are codecs of the offer under its payload types. Where `other` is None (the other side has not
    answered yet, or we are the far end), those of `offer_also` are taken in the policy's order.
    """
    policy = plan.codecs
    usable = [codec for codec in offered if allowed(codec, kind, plan)]
    media = [codec for codec in usable if codec.is_media]
    chosen, partners = _chosen(media, other, policy)
    if not chosen:
        return ()
    side = _answered_side(usable, chosen, other, policy) if kind == "audio" else []
    repair = _answered_repair(usable, chosen, partners, other or ())
    return (*chosen, *side, *repair)


def _chosen(
    media: list[Codec], other: tuple[Codec, ...] | None, policy: CodecPolicy
) -> tuple[list[Codec], dict[int | None, Codec]]:
    """The accepted codecs, best first, and the other side's codec for each payload type."""
    convertible = [codec for codec in media if find_match(codec, policy.offer_also)]
    if other is None:
        return _ordered(convertible if policy.offer_also else media, policy), {}
    chosen: list[Codec] = []
    partners: dict[int | None, Codec] = {}
    for theirs in other:
        codec = find_match(theirs, media) if theirs.is_media else None
        if codec is not None and codec.payload_type not in partners:
            chosen.append(replace(codec, fmtp=theirs.fmtp) if _declares(codec, theirs) else codec)
            partners[codec.payload_type] = theirs
    if chosen:
        return chosen, partners
    if any(find_match(theirs, policy.offer_also) for theirs in other):
        return _ordered(convertible, policy), {}
    return [], {}


def _declares(codec: Codec, theirs: Codec) -> bool:
    """Whether the parameters only say what their writer wants to receive, so that the other side's hold for us."""
    return codec.key[0] == "opus" and bool(theirs.fmtp)


def _answered_side(
    usable: list[Codec], chosen: list[Codec], other: tuple[Codec, ...] | None, policy: CodecPolicy
) -> list[Codec]:
    rates = dict.fromkeys(codec.clock_rate for codec in chosen)
    side = [codec for codec in usable if codec.key[0] == NOISE and other and find_match(codec, other)]
    if policy.events or (other and any(codec.is_event for codec in other)):
        events = {codec.clock_rate: codec for codec in reversed(usable) if codec.is_event}
        side += [events[rate] for rate in rates if rate in events]
    return side


def _answered_repair(
    usable: list[Codec], chosen: list[Codec], partners: dict[int | None, Codec], other: tuple[Codec, ...]
) -> list[Codec]:
    """Repair formats of the offer that the other side has too, for the codecs that stayed."""
    ours = {str(codec.payload_type): str(codec.payload_type) for codec in chosen}
    theirs = {str(codec.payload_type): str(pt) for pt, codec in partners.items()}
    has = set()
    for codec in other:
        if codec.key[0] in REPAIR:
            pointed = renumber_fmtp(codec, theirs)
            if pointed is not None:
                has.add((pointed.key, pointed.fmtp if codec.key[0] == "rtx" else ""))
                theirs[str(codec.payload_type)] = str(codec.payload_type)
    repair = []
    for codec in usable:
        if codec.key[0] in REPAIR and renumber_fmtp(codec, ours) is not None:
            fmtp = f"apt={parameters(codec.fmtp).get('apt', '')}" if codec.key[0] == "rtx" else ""
            if (codec.key, fmtp) in has:
                repair.append(codec)
                ours[str(codec.payload_type)] = str(codec.payload_type)
    return repair
