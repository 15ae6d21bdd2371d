"""Values passed between the sides of a call besides codecs: feedback, bandwidth, packet times."""

from __future__ import annotations

from typing import Final

from sdp.attributes import DcMap, MaxPtime, Ptime, SctpPort
from sdp.codecs import Codec
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpSyntaxError
from sdp.extensions import COUNTED, TRANSPORT_CC, counted_in, counts
from sdp.plan import Plan

_KEPT_BANDWIDTHS: Final = ("AS", "CT", "TIAS")


def offered_feedback(codecs: tuple[Codec, ...], kind: str, plan: Plan) -> tuple[Codec, ...]:
    """Return the codecs with RTCP feedback supported by the other side or by us (RFC 4585)."""
    ours = plan.codecs.feedback if kind == "video" else ()
    if counts(kind, plan):
        ours = (*ours, COUNTED)
    result = []
    for codec in codecs:
        if codec.is_media:
            passing = [said for said in codec.feedback if _passes(said, plan) and said not in ours]
            codec = codec.saying((*passing, *ours))
        result.append(codec)
    return tuple(result)


def answered_feedback(
    codecs: tuple[Codec, ...], offered: MediaDescription, plan: Plan, other: tuple[Codec, ...] | None
) -> tuple[Codec, ...]:
    """Return the codecs with offered RTCP feedback limited to that supported by the other side or by us."""
    can = {said for codec in other or () for said in codec.feedback if _passes(said, plan)}
    if offered.kind == "video":
        can.update(plan.codecs.feedback)
    if counted_in(offered, plan):
        can.add(COUNTED)
    if not can:
        return tuple([codec.saying(()) for codec in codecs])
    return tuple([codec.saying(tuple([said for said in codec.feedback if said in can])) for codec in codecs])


def _passes(feedback: str, plan: Plan) -> bool:
    """Return True if feedback may pass; transport-wide feedback only together with its header extension."""
    if not plan.codecs.passes_feedback:
        return False
    return feedback != COUNTED or TRANSPORT_CC in plan.extensions


MOST_STREAM: Final = 1023
"""Highest named stream of a data channel; browsers use none beyond."""


def named_channels(media: MediaDescription, most: int) -> dict[int, DcMap]:
    """Return the data channels named by a section (RFC 8864), by stream, at most `most`.

    Malformed channels and streams beyond `MOST_STREAM` are skipped.
    """
    found: dict[int, DcMap] = {}
    for value in media.values("dcmap")[:most]:
        try:
            named = DcMap.parse(value)
        except SdpSyntaxError:
            continue
        if named.stream_id <= MOST_STREAM:
            found.setdefault(named.stream_id, named)
    return found


def mapped_port(media: MediaDescription) -> int | None:
    """Return the SCTP port of an m= line in the form before RFC 8841, "DTLS/SCTP 5000"; None for another form."""
    first = media.formats[0] if media.formats else ""
    return int(first) if first.isascii() and first.isdigit() and len(first) < 6 and int(first) < 65536 else None


def sctp_port(media: MediaDescription, otherwise: int) -> int:
    """Return the SCTP port of a data channel section: a=sctp-port, else the m= line's, else `otherwise`."""
    said, mapped = media.first(SctpPort), mapped_port(media)
    if said is not None:
        return said.value
    return otherwise if mapped is None else mapped


def kept_bandwidths(source: SessionDescription | MediaDescription) -> tuple[str, ...]:
    """Return the b= lines of one level with equal meaning on the other side."""
    return tuple([f"b={bandwidth}" for bandwidth in source.bandwidths if bandwidth.type in _KEPT_BANDWIDTHS])


def packet_times(source: MediaDescription | None, plan: Plan) -> tuple[str, ...]:
    """Return the a= lines for packet times: the other side's, unless the plan sets ptime."""
    lines = []
    longest = source.first(MaxPtime) if source is not None else None
    if longest is not None:
        lines.append(f"a=maxptime:{longest}")
    wanted = source.first(Ptime) if source is not None else None
    if plan.ptime is not None:
        lines.append(f"a=ptime:{plan.ptime}")
    elif wanted is not None:
        lines.append(f"a=ptime:{wanted}")
    return tuple(lines)
