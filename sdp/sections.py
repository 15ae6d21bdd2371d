"""Writing of one media section, or the session part, from decisions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from sdp.attributes import Direction, SetupRole
from sdp.codecs import DECISIONS, Codec, know_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.fields import Connection, Origin
from sdp.frozen import filled_at_once
from sdp.index import Index, read_lines
from sdp.pairing import Family
from sdp.passing import kept_bandwidths, mapped_port, named_channels
from sdp.plan import DataChannelPlan, IceParameters, Plan, TransportPlan

_CHANNELS: Final = "webrtc-datachannel"
_STREAMS: Final = 1024
"""Number of streams in a=sctpmap, as browsers wrote it."""


@filled_at_once
@dataclass(frozen=True, slots=True)
class SectionPlan:
    """Content of one section."""

    kind: str
    profile: str
    family: Family
    transport: TransportPlan
    mid: str | None
    setup: SetupRole
    """Our DTLS role, written if the family has one."""
    ice: bool
    """True if the peer supports ICE, so that our parameters may be written."""
    direction: Direction = Direction.SENDRECV
    codecs: tuple[Codec, ...] = ()
    rtcp_mux: bool = False
    ssrc: int | None = None
    repair: int = 0
    """SSRC of the retransmissions; 0 for none."""
    bandwidths: tuple[str, ...] = ()
    """Complete b= lines."""
    lines: tuple[str, ...] = ()
    """Complete a= lines, written last."""
    formats: tuple[str, ...] = ()
    """Formats of a section other than RTP."""


def connection_of(address: str) -> Connection:
    """Return the c= value of a literal address."""
    return Connection(address, "IP6" if ":" in address else "IP4")


def write_section(section: SectionPlan, plan: Plan) -> MediaDescription:
    """Return the section's lines in the order used by browsers."""
    transport = section.transport
    formats = section.formats or [str(codec.payload_type) for codec in section.codecs]
    lines = [f"m={section.kind} {transport.port} {section.profile} {' '.join(formats)}"]
    if plan.is_webrtc or transport.address != session_address(plan):
        lines.append(f"c={connection_of(transport.address)}")
    lines += section.bandwidths
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    if section.family != "sctp":
        lines.append(f"a={section.direction}")
        _write_rtcp(lines, section)
    if section.ice and transport.ice is not None:
        _write_ice(lines, transport.ice)
    if section.family in ("dtls", "sctp"):
        lines += [f"a=fingerprint:{fingerprint}" for fingerprint in transport.fingerprints]
        lines.append(f"a=setup:{section.setup}")
        if transport.tls_id is not None:
            lines.append(f"a=tls-id:{transport.tls_id}")
    elif section.family == "sdes":
        lines += [f"a=crypto:{crypto}" for crypto in transport.crypto]
    if plan.is_webrtc and section.ssrc is not None and section.direction.sends:
        lines.append(f"a=msid:{plan.stream or '-'} {section.kind}-{section.ssrc}")
        if plan.cname:
            _write_sources(lines, section, plan.cname)
    has_feedback = "AVPF" in section.profile
    of_codecs, index = _codec_lines(section.codecs, has_feedback)
    written = MediaDescription((*lines, *of_codecs, *section.lines))
    written.know_index([*lines, *section.lines], index)
    if section.codecs and has_feedback:
        know_codecs(written, section.codecs)
    return written


def _write_sources(lines: list[str], section: SectionPlan, cname: str) -> None:
    """Append our SSRC and the SSRC of its retransmissions (RFC 5576 section 4.2)."""
    repeats = section.repair and any(codec.key[0] == "rtx" for codec in section.codecs)
    if repeats:
        lines.append(f"a=ssrc-group:FID {section.ssrc} {section.repair}")
    lines += [f"a=ssrc:{ssrc} cname:{cname}" for ssrc in (section.ssrc, section.repair if repeats else 0) if ssrc]


def _write_rtcp(lines: list[str], section: SectionPlan) -> None:
    port, rtcp_port = section.transport.port, section.transport.rtcp_port
    if section.rtcp_mux:
        lines.append("a=rtcp-mux")
    elif rtcp_port is not None and rtcp_port != port + 1:
        lines.append(f"a=rtcp:{rtcp_port}")


def _write_ice(lines: list[str], ice: IceParameters) -> None:
    lines += [f"a=ice-ufrag:{ice.ufrag}", f"a=ice-pwd:{ice.password}"]
    if ice.options:
        lines.append(f"a=ice-options:{' '.join(ice.options)}")
    lines += [f"a=candidate:{candidate.removeprefix('candidate:')}" for candidate in ice.candidates]
    if ice.complete:
        lines.append("a=end-of-candidates")


@lru_cache(maxsize=DECISIONS)
def _codec_lines(codecs: tuple[Codec, ...], feedback: bool) -> tuple[tuple[str, ...], Index]:
    """Return the lines for codecs, with their index."""
    lines: list[str] = []
    for codec in codecs:
        number = codec.payload_type
        lines.append(f"a=rtpmap:{number} {codec.rtpmap}")
        if feedback:
            lines += [f"a=rtcp-fb:{number} {said}" for said in codec.feedback]
        if codec.fmtp:
            lines.append(f"a=fmtp:{number} {codec.fmtp}")
    return tuple(lines), read_lines(lines)


def channel_plan(
    plan: Plan,
    transport: TransportPlan,
    profile: str,
    setup: SetupRole,
    mid: str | None,
    ice: bool,
    named: MediaDescription | None = None,
) -> SectionPlan:
    """Return the section of our data channels (RFC 8841), with the channels named in `named` (RFC 8864 section 6).

    The form follows `named`, if in the drafts before RFC 8841.
    """
    channel = plan.data_channel or DataChannelPlan()
    is_old = named is not None and mapped_port(named) is not None
    port = f"sctpmap:{channel.sctp_port} {_CHANNELS} {_STREAMS}" if is_old else f"sctp-port:{channel.sctp_port}"
    names = named_channels(named, channel.most_named) if named is not None else {}
    return SectionPlan(
        kind="application",
        profile=profile,
        family="sctp",
        transport=transport,
        mid=mid,
        setup=setup,
        ice=ice,
        lines=(
            f"a={port}",
            f"a=max-message-size:{channel.max_message_size}",
            *[f"a=dcmap:{each}" for each in names.values()],
        ),
        formats=(str(channel.sctp_port) if is_old else _CHANNELS,),
    )


def refused_section(media: MediaDescription, *, mid: str | None = None, profile: str = "") -> MediaDescription:
    """Return the m= line with port 0 (RFC 3264 section 6), keeping its mid (RFC 8829 section 5.3.1).

    `mid` and `profile` replace those of the other side's section, rejected in advance.
    """
    line = media.media_line
    lines = [f"m={line.kind} 0 {profile or line.protocol} {' '.join(line.formats) or '0'}"]
    mid = mid or media.mid
    if mid is not None:
        lines += ["c=IN IP4 0.0.0.0", f"a=mid:{mid}"]
    lines.append("a=inactive")
    return MediaDescription(tuple(lines))


def session_address(plan: Plan) -> str:
    """Return the address of the session's c= line for phones."""
    return plan.transports[0].address if plan.transports else plan.address


def write_session(
    sections: list[MediaDescription], plan: Plan, other: SessionDescription | None, bundle: tuple[str, ...], timing: str
) -> SessionDescription:
    """Return the description; its version rises only if the text differs from the previous one."""
    previous = plan.previous
    origin = previous.origin if previous is not None else None
    if origin is None:
        address_type = "IP6" if ":" in plan.address else "IP4"
        origin = Origin("-", str(plan.session_id), plan.session_version, plan.address, address_type)
    lines = ["v=0", f"o={origin}", "s=-"]
    if not plan.is_webrtc:
        lines.append(f"c={connection_of(session_address(plan))}")
    if other is not None:
        lines += kept_bandwidths(other)
    lines.append(f"t={timing}")
    if bundle:
        lines.append("a=group:BUNDLE " + " ".join(bundle))
    lite = any(transport.ice is not None and transport.ice.lite for transport in plan.transports)
    if lite and any(section.has("ice-ufrag") for section in sections):
        lines.append("a=ice-lite")
    described = SessionDescription(tuple(lines), tuple(sections))
    if previous is None or described == previous:
        return described
    lines[1] = f"o={replace(origin, session_version=origin.session_version + 1)}"
    return described.with_lines(lines)
