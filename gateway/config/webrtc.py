"""Configuration of browsers' media: ICE, DTLS-SRTP, STUN and TURN servers."""

from __future__ import annotations

from pydantic import Field, field_validator

from gateway.config.srtp import SrtpProfile
from gateway.config.values import AdvertisedValue, HostPort, HostPortValue, Secret, Section, Text


def _ice_url(url: str) -> str:
    if url.partition(":")[0] not in ("stun", "stuns", "turn", "turns") or not url.partition(":")[2]:
        raise ValueError(f"{url!r} must begin with stun:, stuns:, turn: or turns:")
    return url


class IceServer(Section):
    """STUN or TURN server for browsers."""

    urls: tuple[Text, ...] = Field(min_length=1)
    """URLs: "stun:host:port", "turn:host:port?transport=udp", "turns:..."."""
    username: Text | None = None
    """TURN user name."""
    credential: Secret | None = None
    """TURN password; without one, `webrtc.turn_secret` generates one for each permitted caller."""
    guests: bool = False
    """Give the permanent password to guests as well; otherwise only to users with an account."""

    @property
    def relays(self) -> bool:
        """Return True for a TURN server."""
        return any(url.startswith("turn") for url in self.urls)

    @field_validator("urls", mode="before")
    @classmethod
    def _one_or_many(cls, urls: object) -> object:
        return (urls,) if isinstance(urls, str) else urls

    @field_validator("urls")
    @classmethod
    def _known_schemes(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_ice_url(url) for url in urls)


class WebRtcConfig(Section):
    """Media of browsers: ICE, DTLS-SRTP, one UDP port for all browsers."""

    listen: HostPortValue = HostPort("127.0.0.1", 40000)
    """Address and UDP port of all browsers' media."""
    advertised: tuple[AdvertisedValue, ...] = ()
    """Addresses in ICE candidates, best first, each a host or host:port; default: the listen address, or for 0.0.0.0
    the address of the interface with the default route."""
    tcp: bool = False
    """Accept TCP connections on the address and port too, for browsers in networks that block UDP (RFC 6544)."""
    tcp_max_connections: int = Field(default=1_000, ge=1)
    """Concurrent TCP connections; at the limit connections not yet assigned to a call make room for new ones."""
    tcp_max_connections_per_source: int = Field(default=64, ge=1)
    """Concurrent TCP connections from one source (an IPv4 address, a /64 of IPv6)."""
    max_browsers: int = Field(default=10_000, ge=1)
    """Concurrent media connections of browsers, by UDP and TCP; beyond the limit calls are rejected with 503."""
    dscp: int = Field(default=46, ge=0, le=63)
    """DSCP of all packets toward browsers (RFC 2474), 46 is EF; audio and video share the port."""
    own_addresses: bool = True
    """With a loopback `listen` and nothing advertised: also offer the machine's own addresses, but accept datagrams
    from the machine only (Firefox rejects loopback candidates)."""
    stun_server: Text | None = None
    """STUN server for browsers ("stun:stun.example.com:3478"); also set by the variable STUN_SERVER."""
    turn_server: Text | None = None
    """TURN server for browsers ("turn:turn.example.com:3478")."""
    turn_username: Text | None = None
    """User name at the TURN server."""
    turn_credential: Secret | None = None
    """Password at the TURN server."""
    turn_secret: Secret | None = None
    """Secret shared with the TURN servers (coturn's `static-auth-secret`): every permitted caller gets temporary
    credentials, for servers here and in `web.ice_servers` without credentials."""
    turn_lifetime: int = Field(default=600, ge=120, le=86_400)
    """Time for which temporary credentials open new relays (s); the page requests new ones after a minute."""
    turn_guest_lifetime: int = Field(default=120, ge=120, le=86_400)
    """Lifetime of a guest's temporary credentials (s); the user name identifies the guest's source, so that TURN
    servers can limit each source."""
    setup_timeout: float = Field(default=15.0, ge=1, le=120)
    """Longest setup of ICE and DTLS together before the call fails (s)."""
    consent_timeout: float = Field(default=30.0, ge=5, le=300)
    """Time without a valid STUN check after which a browser counts as gone (s, RFC 7675)."""
    srtp_profiles: tuple[SrtpProfile, ...] = Field(
        default=("SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_256_GCM", "SRTP_AES128_CM_HMAC_SHA1_80"), min_length=1
    )
    """DTLS-SRTP protection profiles, best first (RFC 5764, RFC 7714)."""

    @field_validator("stun_server", "turn_server")
    @classmethod
    def _known_scheme(cls, url: str | None) -> str | None:
        return None if url is None else _ice_url(url)

    @property
    def ice_servers(self) -> tuple[IceServer, ...]:
        """Return the two servers in the form of `web.ice_servers`."""
        stun = [IceServer(urls=(self.stun_server,))] if self.stun_server else []
        turn = []
        if self.turn_server:
            turn = [IceServer(urls=(self.turn_server,), username=self.turn_username, credential=self.turn_credential)]
        return (*stun, *turn)


class DataConfig(Section):
    """Data channels of browsers: echoed by the echo service, mirrored between two browsers."""

    max_channels: int = Field(default=16, ge=0, le=256)
    """Channels of one browser at a time; 0: none. Channels need aiortc (the extra `data`)."""
    max_message: int = Field(default=65_536, ge=1024, le=1_048_576)
    """Longest message accepted (bytes), announced in descriptions."""
    max_waiting: int = Field(default=1_048_576, ge=65_536)
    """Data queued for one browser, of all its channels (bytes); a channel beyond the limit is closed."""


class TextConfig(Section):
    """Real-time text: T.140 over RTP toward phones (RFC 4103), a data channel toward browsers (RFC 8865)."""

    enabled: bool = True
    """Negotiate text offered by one side if the other supports it; toward browsers text needs aiortc (the extra
    `data`)."""
    cps: int = Field(default=30, ge=1, le=1000)
    """Characters per second toward a phone that requests no other rate, averaged over 10 s (RFC 4103 section 6)."""
    max_waiting: int = Field(default=4096, ge=64, le=65_536)
    """Characters queued for one side; excess text is dropped and marked (U+FFFD)."""
    max_packets_per_second: int = Field(default=50, ge=5, le=1000)
    """Text packets per second accepted from one phone; excess packets are dropped and counted."""
