"""Settings of a transport: by hand, from the environment, or a preset."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiortc import RTCConfiguration, RTCIceServer

from gateway.remotemedia.errors import TransportError

log = logging.getLogger(__name__)

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRtcTransportConfig:
    """Raises TransportError for values outside their range."""

    signaling_url: str = "ws://localhost:8080"
    """JSON-RPC over WebSocket; ws:// or wss://."""
    peer_id: str = field(default_factory=lambda: f"peer-{uuid.uuid4().hex[:12]}")
    """What we announce ourselves as."""
    token: str | None = field(default=None, repr=False)
    """Password or access token, where the id is an account's."""
    stun_servers: tuple[str, ...] = ()
    turn_servers: tuple[str, ...] = ()
    """"turn:host:port:username:credential"."""
    max_peers: int = 10
    """1 to 1000."""
    enable_data_channel: bool = True
    data_channel_ordered: bool = True
    """False: unreliable and unordered, for the lowest latency."""
    jitter_buffer_ms: int = 50
    """50 to 200 ms. Taken for compatibility, without effect: aiortc keeps at most 16 packets of audio, 4 at first."""
    rtcp_interval_ms: int = 5_000
    """1000 to 10000 ms. Taken for compatibility, without effect: aiortc sends RTCP every 0.5 to 1.5 s."""
    video_bitrate: int = 1_000_000
    """bit/s that a peer is asked not to exceed with its pictures (b=AS in our descriptions, RFC 8866 section 5.8)."""
    connect_timeout: float = 30.0
    """Seconds for signalling, ICE and DTLS of one peer."""
    reconnect_tries: int = 5
    reconnect_delay: float = 1.0
    """Seconds before the first new try of the signalling; doubled up to 30."""

    def __post_init__(self) -> None:
        if not self.signaling_url.startswith(("ws://", "wss://")):
            raise TransportError(f"signaling_url must begin with ws:// or wss://, not {self.signaling_url!r}")
        _within("max_peers", self.max_peers, 1, 1_000)
        _within("jitter_buffer_ms", self.jitter_buffer_ms, 50, 200)
        _within("rtcp_interval_ms", self.rtcp_interval_ms, 1_000, 10_000)
        for server in self.stun_servers:
            if not server.startswith(("stun:", "stuns:")):
                raise TransportError(f"a STUN server must begin with stun:, not {server!r}")
        for server in self.turn_servers:
            _turn(server)
        given = [name for name, usual in _WITHOUT_EFFECT.items() if getattr(self, name) != usual]
        if given:
            log.warning("without effect here, where aiortc has values of its own: %s", ", ".join(given))

    def rtc(self) -> RTCConfiguration:
        """The servers as aiortc wants them."""
        stun = [RTCIceServer(urls=url) for url in self.stun_servers]
        return RTCConfiguration(iceServers=stun + [_turn(server) for server in self.turn_servers])

    @classmethod
    def low_latency(cls, **changes: object) -> WebRtcTransportConfig:
        """Data without retransmission."""
        return cls(**{"data_channel_ordered": False, **changes})  # type: ignore[arg-type]  # checked by __post_init__

    @classmethod
    def high_quality(cls, **changes: object) -> WebRtcTransportConfig:
        """More bits."""
        return cls(**{"video_bitrate": 4_000_000, **changes})  # type: ignore[arg-type]

    @classmethod
    def mobile(cls, **changes: object) -> WebRtcTransportConfig:
        """For networks that lose and delay: fewer bits, fewer peers."""
        return cls(**{"video_bitrate": 500_000, "max_peers": 5, **changes})  # type: ignore[arg-type]

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> WebRtcTransportConfig:
        """WEBRTC_PRESET, then WEBRTC_SIGNALING_URL, WEBRTC_STUN_SERVERS and the others of the guide over it."""
        presets: dict[str, Callable[..., WebRtcTransportConfig]] = {
            "": cls,
            "low_latency": cls.low_latency,
            "high_quality": cls.high_quality,
            "mobile": cls.mobile,
        }
        make = presets.get(environ.get("WEBRTC_PRESET", ""))
        if make is None:
            raise TransportError("WEBRTC_PRESET must be low_latency, high_quality or mobile")
        changes: dict[str, object] = {}
        for name, key in (("SIGNALING_URL", "signaling_url"), ("PEER_ID", "peer_id"), ("TOKEN", "token")):
            if environ.get(f"WEBRTC_{name}"):
                changes[key] = environ[f"WEBRTC_{name}"]
        for name, key in (("STUN_SERVERS", "stun_servers"), ("TURN_SERVERS", "turn_servers")):
            if environ.get(f"WEBRTC_{name}"):
                changes[key] = tuple(part.strip() for part in environ[f"WEBRTC_{name}"].split(",") if part.strip())
        for name, key in (
            ("MAX_PEERS", "max_peers"),
            ("JITTER_BUFFER_MS", "jitter_buffer_ms"),
            ("RTCP_INTERVAL_MS", "rtcp_interval_ms"),
        ):
            if environ.get(f"WEBRTC_{name}"):
                changes[key] = _integer(f"WEBRTC_{name}", environ[f"WEBRTC_{name}"])
        if environ.get("WEBRTC_ENABLE_DATA_CHANNEL"):
            changes["enable_data_channel"] = _boolean(environ["WEBRTC_ENABLE_DATA_CHANNEL"])
        return make(**changes)


_WITHOUT_EFFECT = {"jitter_buffer_ms": 50, "rtcp_interval_ms": 5_000}
"""With the values that say nothing."""


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise TransportError(f"{name} must be from {low} to {high}, not {value}")


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TransportError(f"{name} must be a whole number, not {text!r}") from None


def _boolean(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise TransportError(f"WEBRTC_ENABLE_DATA_CHANNEL must be true or false, not {text!r}")
    return text.lower() in _TRUE


def _turn(server: str) -> RTCIceServer:
    """turn:host:port:username:credential; the credential may hold colons."""
    parts = server.split(":", 4)
    if len(parts) != 5 or parts[0] not in ("turn", "turns") or not parts[2].isdecimal():
        raise TransportError("a TURN server is written turn:host:port:username:credential")
    return RTCIceServer(urls=":".join(parts[:3]), username=parts[3], credential=parts[4])
