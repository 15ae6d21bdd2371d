"""Table of lint rules for descriptions that browsers or phones reject or misread.

A WebRTC section (DTLS with feedback profile, or SCTP over DTLS) is checked against browsers' demands, any other against
phones'; both against RFC 8866.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import sdp.lint.media as lint_media
import sdp.lint.session as lint_session
import sdp.lint.webrtc as lint_webrtc
from sdp.description import SessionDescription
from sdp.errors import SdpSyntaxError
from sdp.grammar import DEFAULT_LIMITS, Limits
from sdp.lint.reading import Hit, Reading


class Severity(StrEnum):
    """Severity of a finding."""

    ERROR = "error"
    """A conforming peer rejects the description or the section."""
    WARNING = "warning"
    """Some peers misread the description, or lose information."""


class Stumbles(StrEnum):
    """Kind of peer with the problem."""

    BROWSER = "browser"
    PHONE = "phone"
    BOTH = "browser and phone"


@dataclass(frozen=True, slots=True)
class Rule:
    """Row of the table."""

    code: str
    severity: Severity
    stumbles: Stumbles
    reference: str
    """RFC and section; "" if each hit names its own."""
    text: str
    """Single sentence; "{}" stands for the detail of the hit."""
    check: Callable[[Reading], Iterable[Hit]]


@dataclass(frozen=True, slots=True)
class Finding:
    """Problem in a description for some peers."""

    severity: Severity
    line: int
    """Line number from 1."""
    code: str
    stumbles: Stumbles
    message: str
    reference: str

    def to_dict(self) -> dict[str, str | int]:
        """Return the finding as JSON values."""
        return {
            "severity": self.severity.value,
            "line": self.line,
            "code": self.code,
            "stumbles": self.stumbles.value,
            "message": self.message,
            "reference": self.reference,
        }


_E, _W = Severity.ERROR, Severity.WARNING
_BROWSER, _PHONE, _BOTH = Stumbles.BROWSER, Stumbles.PHONE, Stumbles.BOTH

RULES: Final = (
    # The whole description
    Rule("no-origin", _E, _BOTH, "RFC 8866 section 5.2", "there is no o= line", lint_session.no_origin),
    Rule("no-name", _E, _BOTH, "RFC 8866 section 5.3", "there is no s= line", lint_session.no_name),
    Rule("no-timing", _E, _BOTH, "RFC 8866 section 5.9", "there is no t= line", lint_session.no_timing),
    Rule("twice", _E, _BOTH, "RFC 8866 section 5", "a second {}= line", lint_session.twice),
    Rule("unknown-line", _E, _BOTH, "RFC 8866 section 5", "{}= is no line type", lint_session.unknown_line),
    Rule(
        "session-order", _E, _BROWSER, "RFC 8866 section 5",
        "{}= stands after a line it belongs before", lint_session.session_order,
    ),
    Rule(
        "media-order", _W, _BOTH, "RFC 8866 section 5",
        "{}= stands after a line it belongs before", lint_session.media_order,
    ),
    Rule("malformed", _E, _BOTH, "", "{}", lint_session.malformed),
    Rule("tolerated", _W, _BOTH, "", "{}", lint_session.tolerated),
    Rule("wrong-level", _W, _BOTH, "", "a={} does not belong at this level", lint_session.wrong_level),
    Rule("no-media", _W, _BOTH, "RFC 3264 section 5", "there is no media section", lint_session.no_media),
    Rule(
        "too-long-for-udp", _W, _PHONE, "RFC 3261 section 18.1.1",
        "{} bytes do not fit one UDP datagram together with a SIP header", lint_session.too_long_for_udp,
    ),
    # Every media section
    Rule(
        "no-connection", _E, _PHONE, "RFC 8866 section 5.7",
        "no c= line holds for this section", lint_media.no_connection,
    ),
    Rule("no-formats", _E, _BOTH, "RFC 8866 section 5.14", "the m= line names no format", lint_media.no_formats),
    Rule("format-twice", _W, _BROWSER, "RFC 8866 section 5.14", "format {} is named twice", lint_media.format_twice),
    Rule(
        "no-rtpmap", _W, _BOTH, "RFC 8866 section 6.6",
        "payload type {} is dynamic and has no rtpmap", lint_media.no_rtpmap,
    ),
    Rule("rtpmap-twice", _W, _BOTH, "RFC 8866 section 6.6", "payload type {} is mapped twice", lint_media.rtpmap_twice),
    Rule("rtpmap-clash", _E, _BOTH, "RFC 8866 section 6.6", "payload type {} is two codecs", lint_media.rtpmap_clash),
    Rule("stray-rtpmap", _W, _BOTH, "RFC 8866 section 6.6", "the m= line does not name {}", lint_media.stray_rtpmap),
    Rule("stray-fmtp", _W, _PHONE, "RFC 8866 section 6.15", "the m= line does not name {}", lint_media.stray_fmtp),
    Rule(
        "direction-twice", _W, _BOTH, "RFC 8866 section 6.7",
        "a second direction; the first holds", lint_media.direction_twice,
    ),
    Rule(
        "ptime-above-maxptime", _W, _BOTH, "RFC 8866 section 6.5",
        "ptime is above maxptime {}", lint_media.ptime_above_maxptime,
    ),
    Rule(
        "opus-rtpmap", _E, _BOTH, "RFC 7587 section 7",
        "Opus is written opus/48000/2, whatever it carries", lint_media.opus_rtpmap,
    ),
    Rule("g722-rtpmap", _W, _BOTH, "RFC 3551 section 4.5.2", "the RTP clock of G.722 is 8000", lint_media.g722_rtpmap),
    Rule(
        "event-clock", _W, _PHONE, "RFC 4733 section 2.2",
        "telephone-event/{} has no codec of its clock rate beside it", lint_media.event_clock,
    ),
    Rule(
        "rtx-without-apt", _E, _BROWSER, "RFC 4588 section 8.6",
        "rtx {} does not say which payload type it repeats", lint_media.rtx_without_apt,
    ),
    Rule(
        "h264-profile", _W, _BOTH, "RFC 6184 section 8.1",
        "H.264 payload type {} without profile-level-id means Baseline level 1", lint_media.h264_profile,
    ),
    Rule(
        "fingerprint-hash", _E, _BOTH, "RFC 8122 section 5",
        "{} must not be used for a fingerprint", lint_media.fingerprint_hash,
    ),
    Rule(
        "fingerprint-length", _E, _BOTH, "RFC 8122 section 5",
        "the digest has not the length of {}", lint_media.fingerprint_length,
    ),
    Rule(
        "fingerprint-sha1", _W, _BOTH, "RFC 8122 section 5",
        "SHA-1 fingerprints are on their way out", lint_media.fingerprint_sha1,
    ),
    Rule("extmap-twice", _W, _BOTH, "RFC 8285 section 5", "extension id {} is used twice", lint_media.extmap_twice),
    Rule("extmap-id", _W, _BOTH, "RFC 8285 section 4.2", "extension id {} is reserved", lint_media.extmap_id),
    Rule("crypto-tag-twice", _E, _PHONE, "RFC 4568 section 4.1", "tag {} is used twice", lint_media.crypto_tag_twice),
    Rule(
        "crypto-key-length", _E, _PHONE, "RFC 4568 section 6.2",
        "the key has not the length of {}", lint_media.crypto_key_length,
    ),
    Rule(
        "crypto-suite", _W, _PHONE, "RFC 4568 section 6.2",
        "crypto suite {} is known to few", lint_media.crypto_suite,
    ),
    Rule(
        "crypto-mki", _W, _PHONE, "RFC 4568 section 6.1",
        "many phones refuse a key with an MKI", lint_media.crypto_mki,
    ),
    Rule("mid-twice", _E, _BOTH, "RFC 5888 section 4", "mid {} is used twice", lint_session.mid_twice),
    Rule(
        "group-of-strangers", _E, _BOTH, "RFC 5888 section 5",
        "no section has mid {}", lint_session.group_of_strangers,
    ),
    Rule(
        "ssrc-group-of-strangers", _E, _BROWSER, "RFC 5576 section 4.2",
        "no a=ssrc line declares {}", lint_media.ssrc_group_of_strangers,
    ),
    # Demands of phones
    Rule("no-keys", _E, _PHONE, "RFC 4568 section 6", "{} needs a=crypto or a=fingerprint", lint_media.no_keys),
    Rule(
        "crypto-without-srtp", _W, _PHONE, "RFC 4568 section 6",
        "a=crypto in a section that is not SRTP", lint_media.crypto_without_srtp,
    ),
    Rule(
        "feedback-without-avpf", _W, _PHONE, "RFC 4585 section 4.2",
        "a=rtcp-fb in a section that is not AVPF", lint_media.feedback_without_avpf,
    ),
    Rule(
        "old-hold", _W, _PHONE, "RFC 3264 section 8.4",
        "0.0.0.0 is the old way to hold; say sendonly or inactive", lint_media.old_hold,
    ),
    Rule(
        "private-address", _W, _PHONE, "RFC 1918 section 3",
        "{} is reached only inside its own network", lint_media.private_address,
    ),
    Rule(
        "no-address", _E, _PHONE, "RFC 8866 section 5.7",
        "{} is neither an IP address nor a host name", lint_media.no_address,
    ),
    Rule("host-name", _W, _PHONE, "RFC 8866 section 5.7", "few phones look up the name {}", lint_media.host_name),
    # Demands of browsers
    Rule(
        "stray-parameters", _E, _BROWSER, "RFC 8866 section 6.15",
        "the m= line does not name {}", lint_webrtc.stray_fmtp,
    ),
    Rule(
        "extmap-range", _E, _BROWSER, "RFC 8285 section 5",
        "browsers take extension ids from 1 to 255, not {}", lint_webrtc.extmap_range,
    ),
    Rule(
        "simulcast-without-extension", _E, _BROWSER, "RFC 8852 section 4",
        "simulcast needs the header extension sdes:rtp-stream-id", lint_webrtc.simulcast_without_extension,
    ),
    Rule("no-ice", _E, _BROWSER, "RFC 8839 section 5.4", "no {} holds for this section", lint_webrtc.no_ice),
    Rule("short-ice", _E, _BROWSER, "RFC 8839 section 5.4", "a={} is too short", lint_webrtc.short_ice),
    Rule(
        "ice-characters", _W, _BROWSER, "RFC 8839 section 5.4",
        "a={} holds characters ICE does not allow", lint_webrtc.ice_characters,
    ),
    Rule(
        "no-fingerprint", _E, _BROWSER, "RFC 8827 section 6.5",
        "no a=fingerprint holds for this section", lint_webrtc.no_fingerprint,
    ),
    Rule("no-setup", _W, _BROWSER, "RFC 8842 section 5.1", "no a=setup holds for this section", lint_webrtc.no_setup),
    Rule("sdes-in-webrtc", _W, _BROWSER, "RFC 8827 section 6.5", "browsers take no SDES keys", lint_webrtc.sdes),
    Rule("no-rtcp-mux", _E, _BROWSER, "RFC 8829 section 4.1.1", "browsers demand a=rtcp-mux", lint_webrtc.no_rtcp_mux),
    Rule("no-mid", _W, _BROWSER, "RFC 8829 section 5.2.1", "the section has no a=mid", lint_webrtc.no_mid),
    Rule(
        "bundle-payload-types", _W, _BROWSER, "RFC 8843 section 9.1",
        "payload type {} means another codec in the same bundle", lint_webrtc.bundle_payload_types,
    ),
    Rule(
        "bundle-extensions", _E, _BROWSER, "RFC 8285 section 5",
        "extension id {} means another URI in the same bundle", lint_webrtc.bundle_extensions,
    ),
    Rule(
        "bundle-only-port", _W, _BROWSER, "RFC 8843 section 6",
        "a=bundle-only goes with port 0", lint_webrtc.bundle_only_port,
    ),
    Rule(
        "mdns-candidate", _W, _BOTH, "draft-ietf-mmusic-mdns-ice-candidates section 3",
        "a .local name is resolved only in its own network", lint_webrtc.mdns_candidate,
    ),
    Rule(
        "no-sctp-port", _W, _BROWSER, "RFC 8841 section 5",
        "the section has neither a=sctp-port nor a=sctpmap", lint_webrtc.no_sctp_port,
    ),
    Rule(
        "simulcast-of-strangers", _W, _BROWSER, "RFC 8853 section 5.2",
        "no a=rid line declares {}", lint_webrtc.simulcast_of_strangers,
    ),
)  # fmt: skip
"""All rules, in the order of findings for one line."""


def lint(text: str | bytes | SessionDescription, limits: Limits = DEFAULT_LIMITS) -> tuple[Finding, ...]:
    """Return every finding, by line; a single error, "unreadable", for an unreadable description."""
    try:
        # Parsed again, so that a built description has line numbers too
        description = SessionDescription.parse(bytes(text) if isinstance(text, SessionDescription) else text, limits)
    except SdpSyntaxError as error:
        message = f"column {error.column}: expected {error.expected}"
        return (Finding(_E, error.line, "unreadable", _BOTH, message, "RFC 8866 section 9"),)
    reading = Reading(description)
    findings = [_finding(rule, hit) for rule in RULES for hit in rule.check(reading)]
    return tuple(sorted(findings, key=lambda finding: finding.line))


def _finding(rule: Rule, hit: Hit) -> Finding:
    message = rule.text.format(hit.detail)
    return Finding(rule.severity, hit.line, rule.code, rule.stumbles, message, hit.reference or rule.reference)
