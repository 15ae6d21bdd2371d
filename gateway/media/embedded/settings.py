"""Settings of the embedded engine; every limit has a safe default."""

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
    """Which video is forwarded, and how much of it."""

    codecs: tuple[str, ...] = ("vp8", "h264", "vp9", "av1")
    """Lower case; (): video is refused."""
    max_bitrate: int = 2_500_000
    """Bits a second that a browser is told to send at most."""
    max_packets_per_second: int = 1000
    """Packets of video taken from one peer; the rest is dropped and counted."""
    dscp: int = 0
    """Marks video toward phones (RFC 2474)."""
    kept_packets: int = 256
    """Packets of video toward one browser that are kept to be sent again; 0: none, and no retransmission is agreed."""
    key_frame_interval: float = 0.5
    """Seconds between two requests for a key frame to one peer, at least."""
    report_interval: float = 1.0
    """Seconds between RTCP reports about video, each drawn between half and one and a half of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Data channels of browsers, and how much of theirs is held."""

    max_channels: int = 16
    """At a time, of one browser; 0: none are agreed."""
    max_message: int = 65_536
    """Octets of the longest message taken, as descriptions say."""
    max_waiting: int = 1_048_576
    """Octets that may wait on their way to one browser; a channel with more closes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """Real-time text: T.140 over RTP toward phones, over a data channel toward browsers."""

    enabled: bool = True
    """Whether any is agreed."""
    cps: int = 30
    """Characters a second sent to a phone that asks for no other number, over ten seconds."""
    max_waiting: int = 4096
    """Characters that may wait on their way to one side; what is more is lost, and marked so."""
    max_packets_per_second: int = 50
    """Packets of text taken from one phone; the rest is dropped and counted."""
    dscp: int = 0
    """Marks text toward phones (RFC 2474)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedConfig:
    """Where the engine listens, what it says of itself, how long and how much it bears."""

    webrtc: WebRtcConfig = field(default_factory=WebRtcConfig)
    """The one port of all browsers."""
    rtp_hosts: tuple[tuple[str, str | None], ...] = (("127.0.0.1", None),)
    """IP addresses that RTP toward phones is bound to, at most one of each version, the first for whose version nobody
    knows; with each what descriptions say in its place, None: itself, or what its wildcard stands for."""
    rtp_ports: tuple[int, int] = (10_000, 19_999)
    """First and last UDP port, an even one for RTP and the next for RTCP; (0, 0): any that is free."""
    port_rest: float = 10.0
    """Seconds before a pair of ports is used again."""
    latching: LatchRules = field(default_factory=LatchRules)
    max_packets_per_second: int = 500
    """Packets taken from one phone; the rest is dropped and counted."""
    dscp: int = 0
    """Marks audio toward phones (RFC 2474)."""

    webrtc_codecs: tuple[str, ...] = ("opus", "g722", "pcmu", "pcma")
    """Toward browsers, lower case, best first."""
    rtp_codecs: tuple[str, ...] = ("opus", "g722", "pcmu", "pcma")
    """Toward phones, lower case, best first."""
    passed_codecs: tuple[str, ...] = ("g729", "g723", "ilbc", "gsm", "amr", "amr-wb")
    """Names of codecs that only pass from phone to phone: they are taken where both sides say them."""
    video: VideoConfig = field(default_factory=VideoConfig)
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    telephone_event: bool = True
    transcode: bool = True
    """Turn one codec into the other where none is common; otherwise such calls are refused with 488."""
    opus: OpusSettings = field(default_factory=OpusSettings)
    srtp_suites: tuple[str, ...] = (
        "AEAD_AES_128_GCM",
        "AEAD_AES_256_GCM",
        "AES_CM_128_HMAC_SHA1_80",
        "AES_256_CM_HMAC_SHA1_80",
        "AES_CM_128_HMAC_SHA1_32",
    )
    """Toward phones with SDES, best first."""

    max_sessions: int = 1000
    """Calls at once; more are refused with 503."""
    max_callees: int = 16
    """Parties one call may be offered to at once."""
    unanswered_kept: float = 300.0
    """Seconds that a callee is kept after another one of the same call has answered."""
    media_timeout: float = 60.0
    """Seconds without RTP or RTCP from a phone before MediaTimeout; 0: never."""
    doubted_timeout: float = 10.0
    """The same while the signalling of the phone's trunk does not answer either; 0: no other time."""
    held_timeout: float = 3600.0
    """The same while the phone has no reason to send; 0: never."""
    silence_after: float = 1.0
    """Seconds without anything to send to a phone before it gets silence instead; 0: never."""
    silence_interval: float = 5.0
    """Seconds between two packets of silence (RFC 6263: enough that no address translator and no phone takes the
    stream for dead); 0.02 is full rate, for phones that hang up without it."""
    tone_frequency: int = 440
    """Hz of the tone service."""
    tone_level: float = -16.0
    """dBm0 of the tone service."""
    hold_music: str | None = None
    """What who is on hold, or parked, hears: a sound file, or "generated"; None: silence, and what the holder sends."""
    hold_music_of: Mapping[str, str] = field(default_factory=dict)
    """The same for who is held by one of these: by the id of a user and "trunk:NAME" (Party.owner)."""
    ringback_of: Mapping[str, str] = field(default_factory=dict)
    """Sound files, or "generated", that callers hear while it rings, by the names of `Capabilities.ringbacks`."""
    echo_delay: float = 0.0
    """Seconds by which the echo service speaks later."""
    report_interval: float = 5.0
    """Seconds between RTCP reports, each drawn between half and one and a half of it (RFC 3550 section 6.2)."""
    sdp_limits: Limits = LIMITS
    """What a stranger's description may be at most."""
