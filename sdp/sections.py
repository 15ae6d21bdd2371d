"""Writing one media section, or the session part, from decisions already taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sdp.attributes import Direction, SetupRole
from sdp.codecs import STATIC, Codec
from sdp.description import MediaDescription
from sdp.fields import Connection
from sdp.pairing import Family
from sdp.plan import Plan, TransportPlan


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """What one section is to say."""

    kind: str
    profile: str
    family: Family
    transport: TransportPlan
    direction: Direction
    codecs: tuple[Codec, ...]
    mid: str | None
    rtcp_mux: bool
    setup: SetupRole | None
    ice: bool
    """Whether the peer does ICE, so that our parameters may be named."""
    ssrc: int | None
    lines: tuple[str, ...] = ()
    """Whole lines that pass from the other side: b= first, then a=."""
    formats: tuple[str, ...] = ()
    """Formats of a section that is not RTP."""
    connection: bool = True
    """Write a c= line here."""


def connection_of(address: str) -> Connection:
    """The c= value of a literal address."""
    return Connection(address, "IP6" if ":" in address else "IP4")


def write_section(section: SectionPlan, plan: Plan) -> MediaDescription:
    """The section's lines, in the order that browsers write them."""
    transport = section.transport
    formats = section.formats or [str(codec.payload_type) for codec in section.codecs]
    lines = [f"m={section.kind} {transport.port} {section.profile} {' '.join(formats)}"]
    if section.connection:
        lines.append(f"c={connection_of(transport.address)}")
    lines += [line for line in section.lines if line.startswith("b=")]
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    if section.family != "sctp":
        lines.append(f"a={section.direction}")
    _write_transport(lines, section)
    if section.codecs:
        _write_source(lines, section, plan)
        _write_codecs(lines, section.codecs, "AVPF" in section.profile or "SAVPF" in section.profile)
    lines += [line for line in section.lines if not line.startswith("b=")]
    return MediaDescription(tuple(lines))


def _write_transport(lines: list[str], section: SectionPlan) -> None:
    transport = section.transport
    if section.family != "sctp":
        if section.rtcp_mux:
            lines.append("a=rtcp-mux")
        if transport.rtcp_port not in (None, transport.port + 1) and not (section.rtcp_mux and section.ice):
            lines.append(f"a=rtcp:{transport.rtcp_port}")
    if section.ice and transport.ice is not None:
        ice = transport.ice
        lines += [f"a=ice-ufrag:{ice.ufrag}", f"a=ice-pwd:{ice.password}"]
        if ice.options:
            lines.append(f"a=ice-options:{' '.join(ice.options)}")
        lines += [f"a=candidate:{candidate.removeprefix('candidate:')}" for candidate in ice.candidates]
        if ice.complete:
            lines.append("a=end-of-candidates")
    if section.family in ("dtls", "sctp"):
        lines += [f"a=fingerprint:{fingerprint}" for fingerprint in transport.fingerprints]
        if section.setup is not None:
            lines.append(f"a=setup:{section.setup}")
        if transport.tls_id is not None:
            lines.append(f"a=tls-id:{transport.tls_id}")
    elif section.family == "sdes":
        lines += [f"a=crypto:{crypto}" for crypto in transport.crypto]


def _write_source(lines: list[str], section: SectionPlan, plan: Plan) -> None:
    if not plan.is_webrtc or not section.direction.sends:
        return
    if section.ssrc is not None:
        track = f"{section.kind}-{section.ssrc}"
        lines.append(f"a=msid:{plan.stream or '-'} {track}")
        if plan.cname:
            lines.append(f"a=ssrc:{section.ssrc} cname:{plan.cname}")


def _write_codecs(lines: list[str], codecs: Iterable[Codec], feedback: bool) -> None:
    for codec in codecs:
        number = codec.payload_type
        rtpmap = codec.rtpmap
        lines.append(f"a=rtpmap:{number} {rtpmap}")
        if feedback:
            lines += [f"a=rtcp-fb:{number} {said}" for said in codec.feedback]
        if codec.fmtp:
            lines.append(f"a=fmtp:{number} {codec.fmtp}")


def refused_section(media: MediaDescription) -> MediaDescription:
    """The same m= line with port 0 (RFC 3264 section 6), its mid kept (RFC 8829 section 5.3.1)."""
    line = media.media_line
    formats = " ".join(line.formats) or "0"
    mid = media.value("mid")
    lines = [f"m={line.kind} 0 {line.protocol} {formats}", "c=IN IP4 0.0.0.0"]
    if mid is not None:
        lines.append(f"a=mid:{mid}")
    lines.append("a=inactive")
    return MediaDescription(tuple(lines))


__all__ = ["STATIC", "SectionPlan", "connection_of", "refused_section", "write_section"]
