"""Configuration of browsers' media: ICE, DTLS-SRTP, the STUN and TURN servers they are told of."""

from __future__ import annotations

from pydantic import Field, field_validator

from gateway.config.srtp import SrtpProfile
from gateway.config.values import AdvertisedValue, HostPort, HostPortValue, Secret, Section, Text


def _ice_url(url: str) -> str:
    if url.partition(":")[0] not in ("stun", "stuns", "turn", "turns") or not url.partition(":")[2]:
        raise ValueError(f"{url!r} must begin with stun:, stuns:, turn: or turns:")
    return url


class IceServer(Section):
    """A STUN or TURN server that browsers are told of."""

    urls: tuple[Text, ...] = Field(min_length=1)
    """"stun:host:port", "turn:host:port?transport=udp", "turns:..."."""
    username: Text | None = None
    """TURN user name."""
    credential: Secret | None = None
    """TURN password; without one, `webrtc.turn_secret` makes one for each who may call."""
    guests: bool = False
    """Tell this password, which stays good, to guests as well; else to those with an account alone."""

    @property
    def relays(self) -> bool:
        """Whether it is a TURN server."""
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
    """Media of browsers: ICE, DTLS-SRTP, one UDP port for all of them."""

    listen: HostPortValue = HostPort("127.0.0.1", 40000)
    """Address and UDP port of all browsers' media."""
    advertised: tuple[AdvertisedValue, ...] = ()
    """Addresses put into the ICE candidates, best first, each a host or host:port; default: the
    listen address, or for 0.0.0.0 the address of the interface that has the default route."""
    tcp: bool = False
    """Take TCP connections on the same address and port too, for browsers whose network lets no UDP out (RFC 6544)."""
    tcp_max_connections: int = Field(default=1_000, ge=1)
    """Such connections at once; those that have not shown yet which call they belong to make room for new ones."""
    tcp_max_connections_per_source: int = Field(default=64, ge=1)
    """Such connections at once from one address; one /64 of IPv6 counts as one."""
    max_browsers: int = Field(default=10_000, ge=1)
    """Media connections of browsers at once, by UDP and TCP; above it calls are refused with 503."""
    dscp: int = Field(default=46, ge=0, le=63)
    """Marks everything toward browsers for the network (RFC 2474), 46 is EF; audio and video share the port."""
    own_addresses: bool = True
    """Where `listen` is loopback and nothing is advertised: offer this machine's own addresses as well, but take
    datagrams from this machine alone (Firefox refuses loopback candidates)."""
    stun_server: Text | None = None
    """STUN server that browsers are told of ("stun:stun.example.com:3478"); also by the variable STUN_SERVER."""
    turn_server: Text | None = None
    """TURN server that browsers are told of ("turn:turn.example.com:3478")."""
    turn_username: Text | None = None
    """Its user name."""
    turn_credential: Secret | None = None
    """Its password."""
    turn_secret: Secret | None = None
    """Secret shared with the TURN servers (coturn's `static-auth-secret`): whoever may call is given a user name and a
    password of its own that end soon, for those of this list and of `web.ice_servers` that have none."""
    turn_lifetime: int = Field(default=600, ge=120, le=86_400)
    """How long such a password opens new relays (s); the page asks for another one after a minute."""
    turn_guest_lifetime: int = Field(default=120, ge=120, le=86_400)
    """The same of a guest's, whose user name stands for the guest's source: TURN servers can bound each by it."""
    setup_timeout: float = Field(default=15.0, ge=1, le=120)
    """How long ICE and DTLS may take together before the call fails (s)."""
    consent_timeout: float = Field(default=30.0, ge=5, le=300)
    """Without a valid STUN check for so long the browser counts as gone (s, RFC 7675)."""
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
        """The two servers, in the form of `web.ice_servers`."""
        stun = [IceServer(urls=(self.stun_server,))] if self.stun_server else []
        turn = []
        if self.turn_server:
            turn = [IceServer(urls=(self.turn_server,), username=self.turn_username, credential=self.turn_credential)]
        return (*stun, *turn)


class DataConfig(Section):
    """Data channels of browsers: given back by the echo service, mirrored between two browsers."""

    max_channels: int = Field(default=16, ge=0, le=256)
    """Of one browser at a time; 0: none are agreed. They need aiortc (the extra `data`)."""
    max_message: int = Field(default=65_536, ge=1024, le=1_048_576)
    """The longest message taken (bytes), as descriptions say."""
    max_waiting: int = Field(default=1_048_576, ge=65_536)
    """What may wait on its way to one browser, of all its channels (bytes); a channel that sends more closes."""


class TextConfig(Section):
    """Real-time text: T.140 over RTP toward phones (RFC 4103), a data channel toward browsers (RFC 8865)."""

    enabled: bool = True
    """Agree on it: where one side offers it and the other can; toward browsers it needs aiortc (the extra `data`)."""
    cps: int = Field(default=30, ge=1, le=1000)
    """Characters per second sent to a phone that asks for no other number, counted over 10 s (RFC 4103 section 6)."""
    max_waiting: int = Field(default=4096, ge=64, le=65_536)
    """Characters that may wait on their way to one side; what is more is lost, and a mark (U+FFFD) shows where."""
    max_packets_per_second: int = Field(default=50, ge=5, le=1000)
    """Packets of text taken from one phone; the rest is dropped and counted."""
