"""Settings of the embedded engine, each limit with a safe default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.media.described import LIMITS
from gateway.media.embedded.audio.opus import OpusSettings
from gateway.media.embedded.rtp.latching import LatchRules
from gateway.media.embedded.webrtc.config import WebRtcConfig
from sdp import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig:
    """Video codecs and limits."""

    codecs: tuple[str, ...] = ("vp8", "h264", "vp9", "av1")
    """Forwarded codecs, lower case; () refuses video."""
    max_bitrate: int = 2_500_000
    """Bits a second that a peer may send at most."""
    max_packets_per_second: int = 1000
    """Video packets accepted from a peer in a second; the rest is dropped and counted."""
    dscp: int = 0
    """DSCP of video toward phones (RFC 2474)."""
    kept_packets: int = 256
    """Sent packets kept for retransmission to a peer; 0 disables retransmission."""
    key_frame_interval: float = 0.5
    """Minimum seconds between key frame requests to a peer."""
    report_interval: float = 1.0
    """Mean seconds between RTCP reports about video, varied at random from 0.5 to 1.5 times the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Limits of browsers' data channels."""

    max_channels: int = 16
    """Open channels of a browser; 0 refuses data channels."""
    max_message: int = 65_536
    """Maximum message size in octets, as in a=max-message-size."""
    max_waiting: int = 1_048_576
    """Octets queued toward a browser; a channel that exceeds the limit closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """Real-time text: T.140 over RTP toward phones, over a data channel toward browsers."""

    enabled: bool = True
    """True if text may be agreed."""
    cps: int = 30
    """Characters a second sent to a phone without a=fmtp cps, averaged over ten seconds (RFC 4103)."""
    max_waiting: int = 4096
    """Characters queued toward a party; the excess is dropped and replaced by a mark of loss."""
    max_packets_per_second: int = 50
    """Text packets accepted from a phone in a second; the rest is dropped and counted."""
    dscp: int = 0
    """DSCP of text toward phones (RFC 2474)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedConfig:
    """Addresses, codecs, timeouts and limits of the engine."""

    webrtc: WebRtcConfig = field(default_factory=WebRtcConfig)
    """Settings of the port that all browsers share."""
    rtp_hosts: tuple[tuple[str, str | None], ...] = (("127.0.0.1", None),)
    """Bind addresses of phones' RTP, at most one for each IP version, the default first, with the advertised address.

    None advertises the bind address, or the machine's own address for a wildcard."""
    rtp_ports: tuple[int, int] = (10_000, 19_999)
    """First and last UDP port; even ports carry RTP, odd ports RTCP. (0, 0) uses any free port."""
    port_rest: float = 10.0
    """Seconds before a port pair is reused."""
    latching: LatchRules = field(default_factory=LatchRules)
    max_packets_per_second: int = 500
    """Audio packets accepted from a phone in a second; the rest is dropped and counted."""
    dscp: int = 0
    """DSCP of audio toward phones (RFC 2474)."""

    webrtc_codecs: tuple[str, ...] = ("opus", "g722", "pcmu", "pcma")
    """Audio codecs toward browsers, lower case, best first."""
    rtp_codecs: tuple[str, ...] = ("opus", "g722", "pcmu", "pcma")
    """Audio codecs toward phones, lower case, best first."""
    passed_codecs: tuple[str, ...] = ("g729", "g723", "ilbc", "gsm", "amr", "amr-wb")
    """Codecs that are only forwarded between phones, if both sides support them."""
    video: VideoConfig = field(default_factory=VideoConfig)
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    telephone_event: bool = True
    transcode: bool = True
    """Transcode calls without a common codec; False refuses such calls with 488."""
    opus: OpusSettings = field(default_factory=OpusSettings)
    srtp_suites: tuple[str, ...] = (
        "AEAD_AES_128_GCM",
        "AEAD_AES_256_GCM",
        "AES_CM_128_HMAC_SHA1_80",
        "AES_256_CM_HMAC_SHA1_80",
        "AES_CM_128_HMAC_SHA1_32",
    )
    """SRTP suites toward phones with SDES, best first."""

    max_sessions: int = 1000
    """Concurrent calls; further calls are refused with 503."""
    max_callees: int = 16
    """Parties that a call may be offered to at a time."""
    unanswered_kept: float = 300.0
    """Seconds before an unanswered callee is removed after a different callee has answered."""
    media_timeout: float = 60.0
    """Seconds without RTP or RTCP from a phone before MediaTimeout; 0 disables the timeout."""
    doubted_timeout: float = 10.0
    """Timeout, at most `media_timeout`, while the signalling of the phone's trunk does not respond; 0 disables."""
    held_timeout: float = 3600.0
    """Timeout in place of `media_timeout` while the agreement lets the phone send nothing; 0 disables the timeout."""
    silence_after: float = 1.0
    """Seconds without packets to a phone before the gateway sends silence; 0 disables silence."""
    silence_interval: float = 5.0
    """Seconds between packets of silence, which keep NAT bindings and streams alive (RFC 6263).

    0.02 is the full packet rate, for phones that hang up at lower rates."""
    tone_frequency: int = 440
    """Frequency of the tone service in Hz."""
    tone_level: float = -16.0
    """Level of the tone service in dBm0."""
    hold_music: str | None = None
    """Music on hold: a sound file or "generated"; None sends silence, or the holder's own audio."""
    hold_music_of: Mapping[str, str] = field(default_factory=dict)
    """Music on hold by owner of the holding party (`Party.owner`): a user's id or "trunk:NAME"."""
    ringback_of: Mapping[str, str] = field(default_factory=dict)
    """Ringback, a sound file or "generated", by the names of `Capabilities.ringbacks`."""
    echo_delay: float = 0.0
    """Delay of the echo service in seconds."""
    report_interval: float = 5.0
    """Mean seconds between RTCP reports, varied at random from 0.5 to 1.5 times the value (RFC 3550 section 6.2)."""
    sdp_limits: Limits = LIMITS
    """Size limits of received descriptions."""
