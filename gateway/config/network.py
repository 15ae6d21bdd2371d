"""Configuration of network interfaces: SIP, web, RTP.

Durations are in seconds, sizes in bytes, rates per second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.config.oidc import OidcConfig
from gateway.config.srtp import SrtpKeying, SrtpPolicy, SrtpSuite
from gateway.config.values import (
    AdvertisedValue,
    HostPort,
    HostPortValue,
    HostValue,
    LocalAddress,
    NetworkValue,
    PortRange,
    PortRangeValue,
    Secret,
    Section,
    SipListen,
    SipListenValue,
    SipUriValue,
    SwitchValue,
    Text,
    ip_version,
    is_loopback,
    loose_route,
)
from gateway.config.webrtc import IceServer

DigestAlgorithm = Literal["SHA-512-256", "SHA-256", "MD5"]


class SipTimers(Section):
    """Timers of RFC 3261 section 17.1.1.1, table 4, and waits for other parties."""

    t1: float = Field(default=0.5, ge=0.01, le=10)
    """T1, the estimated round-trip time: delay of the first retransmission (s)."""
    t2: float = Field(default=4.0, ge=0.01, le=60)
    """T2, the longest interval between retransmissions of a request other than INVITE (s)."""
    t4: float = Field(default=5.0, ge=0.01, le=60)
    """T4, the longest lifetime of a message in the network (s)."""
    lookup: float = Field(default=3.0, ge=0.5, le=30)
    """Longest total wait of a call for name servers. Names without answer keep their last result, or count as
    unknown, and the next target is tried (s)."""
    answer: float = Field(default=30.0, ge=1, le=180)
    """Longest wait for our side's reaction to a peer's request in a call (an offer, an INFO, a REFER); afterwards
    the request is rejected (s)."""
    transfer: float = Field(default=180.0, ge=1, le=3_600)
    """Longest wait for the outcome of a transfer by REFER, which is reported to the transferor (s)."""
    crossing: float = Field(default=2.0, ge=0, le=30)
    """Longest wait of a peer's offer that crosses ours for the answer to ours, halved at the called side; then the
    peer's offer gets 491 (s)."""
    other_answers: float = Field(default=6.0, ge=0, le=32)
    """Time after a 2xx with an unusable answer for another ringing branch of the INVITE to answer, before the caller
    gets 488 (s). A proxy cancels other branches at the first 2xx."""

    @model_validator(mode="after")
    def _in_order(self) -> SipTimers:
        if self.t2 < self.t1:
            raise ValueError("t2 must not be shorter than t1")
        return self


class SipLimits(Section):
    """Limits of the SIP side, per source or in total."""

    max_transactions: int = Field(default=10_000, ge=1)
    """Concurrent transactions; beyond the limit new requests are answered 503."""
    max_dialogs: int = Field(default=5_000, ge=1)
    """Concurrent dialogs."""
    requests_per_second: float = Field(default=50.0, gt=0)
    """Requests per second from one source (an IPv4 address, a /64 of IPv6), with responses and ACKs counted as a
    tenth; excess requests are dropped."""
    burst: int = Field(default=100, ge=1)
    """Requests that one source may send at once before the rate counts."""
    trunk_invites_per_second: float = Field(default=50.0, ge=0)
    """INVITEs per second from one address of a trunk (`trunks[].sources`), instead of `requests_per_second`; excess
    INVITEs are dropped, and retransmitted by the trunk; 0: no limit."""
    trunk_invite_burst: int = Field(default=20, ge=1)
    """INVITEs that one address of a trunk may send at once before the rate counts."""
    options_per_second: float = Field(default=50.0, ge=0)
    """OPTIONS per second to all responsive trunks, and as many to all unresponsive ones. With more servers than this
    value times `trunks[].options_interval` each gets OPTIONS less often; 0: no limit."""
    max_message_size: int = Field(default=65_535, ge=1_300, le=1_048_576)
    """Largest SIP message (bytes)."""
    max_connections: int = Field(default=2_048, ge=2)
    """Concurrent TCP, TLS and WebSocket connections. At the limit unauthenticated connections are closed first, the
    longest idle before others; some are reserved for outgoing connections. A quarter as many TLS handshakes may be
    in progress in addition; beyond that limit the oldest handshake is aborted."""
    max_connections_per_source: int = Field(default=64, ge=1)
    """Concurrent connections from one source (an IPv4 address, a /64 of IPv6)."""
    idle_timeout: float = Field(default=1_800.0, ge=10)
    """Time without any data, even a keep-alive, after which a connection is closed (s)."""
    failed_logins: int = Field(default=10, ge=1)
    """Wrong passwords from one source (an IPv4 address, a /64 of IPv6) before a wait."""
    login_penalty: float = Field(default=60.0, ge=0)
    """Wait after `failed_logins` (s)."""
    failed_logins_per_user: int = Field(default=10, ge=0)
    """Wrong passwords for one user from all sources, before a wait for sources without an earlier sign-in of the
    user: 1 s, doubled with each further wrong password; 0: no limit."""
    longest_login_delay: float = Field(default=300.0, ge=1, le=86_400)
    """Longest wait for such a user (s)."""


class SipBans(Section):
    """Temporary bans of sources that send unwanted requests; never trunks or signed-in users.

    UDP source addresses are easily forged. Therefore one challenge per second still goes to a banned address, and a
    correct response lifts the ban.
    """

    time: float = Field(default=600.0, ge=0)
    """Time from the last attempt of a banned source to the end of its ban (s); 0: no bans."""
    after: int = Field(default=100, ge=0)
    """Rejections, challenges included, within `window` without a correct password before a ban; 0: no limit."""
    window: float = Field(default=60.0, ge=1)
    """Period in which rejections count for `after` (s)."""
    max_sources: int = Field(default=10_000, ge=1)
    """Addresses remembered; the longest idle is dropped first."""
    scanners: tuple[Text, ...] = (
        "*friendly-scanner*",
        "*sipvicious*",
        "sipcli*",
        "sip-scan*",
        "*sundayddr*",
        "iwar*",
        "pplsip*",
    )
    """Patterns of User-Agents banned at their first request, ignoring case (* matches anything)."""
    never: tuple[NetworkValue, ...] = ("127.0.0.0/8", "::1/128")
    """Addresses and networks never banned, such as proxies in front of the gateway, which represent many clients."""


class SipRegistration(Section):
    """Registration of phones (RFC 3261 section 10)."""

    min_expires: int = Field(default=60, ge=1)
    """Shortest registration; shorter requests are answered 423 (s)."""
    default_expires: int = Field(default=3_600, ge=1)
    """Expiry of a registration that requests none (s)."""
    max_expires: int = Field(default=7_200, ge=1)
    """Longest registration; longer requests are shortened (s)."""
    max_contacts: int = Field(default=10, ge=1)
    """Contacts registered at once for one address of record."""
    websocket_grace: float = Field(default=5.0, ge=0, le=600)
    """Time to reconnect after the loss of a WebSocket, or of a contact's only connection, before the contact is
    removed. Also the wait of a BYE or session change for the next WebSocket of its peer (s)."""
    flow_timer: int = Field(default=120, ge=0, le=3_600)
    """Interval of keep-alives requested from phones with RFC 5626 (Flow-Timer); a connection with keep-alives that
    cease is closed (s); 0: no request."""
    flow_timeout: float = Field(default=4.0, gt=0, le=32)
    """Silence after which a call to a phone with several flows (RFC 5626) tries the next flow, the latest first (s).
    Also the wait per IP version of a name with both, if `rtp.listen` has both. Another gateway of the cluster silent
    for so long counts as lost, and its caller gets 480."""
    nonce_lifetime: int = Field(default=300, ge=1)
    """Lifetime of a digest nonce (s)."""
    digest_algorithms: tuple[DigestAlgorithm, ...] = Field(default=("SHA-512-256", "SHA-256", "MD5"), min_length=1)
    """Accepted digest algorithms, best first (RFC 8760). A phone is challenged with one: the best it has shown to
    support, initially MD5, as some phones fail with others; without MD5 in the list, the last."""
    strong_digest_agents: tuple[Text, ...] = ("sip-webrtc-gateway*",)
    """Patterns of User-Agents that support all algorithms, and are challenged with the best at once."""

    @model_validator(mode="after")
    def _in_order(self) -> SipRegistration:
        if not self.min_expires <= self.default_expires <= self.max_expires:
            raise ValueError("min_expires, default_expires and max_expires must rise in this order")
        return self


class SipSessionTimer(Section):
    """Session timer (RFC 4028): ends calls with a vanished peer."""

    enabled: bool = True
    """Offer and accept session timers."""
    expires: int = Field(default=1_800, ge=90)
    """Session-Expires requested (s)."""
    min_se: int = Field(default=90, ge=90)
    """Min-SE: shorter intervals are answered 422 (s)."""

    @model_validator(mode="after")
    def _in_order(self) -> SipSessionTimer:
        if self.expires < self.min_se:
            raise ValueError("expires must not be shorter than min_se")
        return self


class TlsFiles(Section):
    """Certificate and private key, both or neither."""

    cert: Path | None = None
    """Certificate chain, PEM file."""
    key: Path | None = None
    """Private key, PEM file."""

    @model_validator(mode="after")
    def _both(self) -> TlsFiles:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together: give both or neither")
        return self


class SipTls(TlsFiles):
    """SIP over TLS and secure WebSocket: our certificate, required to listen, and trusted peers."""

    ca: Path | None = None
    """PEM file of the authorities for peers' certificates; default: those of the system."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Request a certificate from connecting TLS clients: "optional" accepts clients without one."""
    certificates: tuple[TlsFiles, ...] = ()
    """Further certificates, chosen by server name (SNI); clients without a matching name get the first."""
    wildcards: bool = False
    """Accept "*.example.com" in a peer's certificate for hosts of the domain. SIP forbids such names (RFC 5922
    section 7.2), as the operator of one host could impersonate all others. For providers without another
    certificate."""

    @model_validator(mode="after")
    def _further(self) -> SipTls:
        if self.certificates and self.cert is None:
            raise ValueError("certificates are further ones: give cert and key, for those who ask for no name, as well")
        if any(one.cert is None for one in self.certificates):
            raise ValueError("each of certificates needs its cert and key")
        return self


class SipConfig(Section):
    """SIP side: phones, PBXs and trunks."""

    listen: tuple[SipListenValue, ...] = Field(default=(SipListen("udp", "127.0.0.1", 5060),), min_length=1)
    """Transports (udp, tcp, tls, ws, wss) and addresses for SIP; "udp:0.0.0.0:5060" opens SIP to the network. The
    web port also serves SIP over WebSocket, at /sip, /ws and /."""
    tls: SipTls = SipTls()
    advertised: AdvertisedValue | None = None
    """Host or host:port for Via and Contact; default: the listen address, or for 0.0.0.0 the address of the
    interface with the default route."""
    outbound_proxy: SipUriValue | None = None
    """Proxy for calls, messages and subscriptions to external SIP URIs ("sip:edge.example.com:5060;lr"); trunks have
    proxies of their own, and phones are reached as registered."""
    proxies: tuple[NetworkValue, ...] = ()
    """Addresses and networks of proxies in front of the gateway, which represent many clients: exempt from
    `sip.limits.requests_per_second` and `sip.bans`; waits after wrong passwords count per client in Via."""
    realm: Text | None = Field(default=None, min_length=1)
    """Digest realm; default: the domain."""
    user_agent: Text = "sip-webrtc-gateway"
    """User-Agent and Server header; "" sends none."""
    ring_timeout: float = Field(default=60.0, ge=1, le=600)
    """Longest ringing of a callee before the call ends unanswered (s)."""
    park_timeout: float = Field(default=120.0, ge=0, le=3_600)
    """Time for which a call stays parked before it rings at the parker, repeatedly until somebody answers; 0: never
    (s)."""
    max_diversions: int = Field(default=5, ge=0, le=20)
    """Redirections (3xx) followed per call; 0: none."""
    dscp: int = Field(default=24, ge=0, le=63)
    """DSCP of SIP over UDP, TCP and TLS (RFC 2474); 24 is CS3."""
    trickle_ice: bool = True
    """Accept trickled ICE candidates of SIP clients by INFO, and advertise the support to clients that offer ICE
    (RFC 8840)."""
    timers: SipTimers = SipTimers()
    limits: SipLimits = SipLimits()
    bans: SipBans = SipBans()
    registration: SipRegistration = SipRegistration()
    session_timer: SipSessionTimer = SipSessionTimer()

    @property
    def route(self) -> tuple[str, ...]:
        """Return the route set for requests to external SIP URIs."""
        return () if self.outbound_proxy is None else (loose_route(self.outbound_proxy),)


class WebLimits(Section):
    """Limits of the web side, per browser or in total."""

    max_message_size: int = Field(default=65_536, ge=1_024, le=1_048_576)
    """Largest HTTP body and WebSocket message (bytes)."""
    max_sessions: int = Field(default=1_000, ge=1)
    """Concurrent WebRTC sessions."""
    max_connections: int = Field(default=2_000, ge=1)
    """Concurrent HTTP and WebSocket connections. At the limit unproven connections are closed first (without a
    complete request, or WebSockets without sign-in and call), the longest idle before others. A quarter as many TLS
    handshakes may be in progress in addition; beyond that limit the oldest handshake is aborted."""
    max_connections_per_source: int = Field(default=200, ge=1)
    """Concurrent HTTP and WebSocket connections from one source address (a /64 of IPv6)."""
    requests_per_second: float = Field(default=20.0, gt=0)
    """HTTP requests per second from one source address, and messages per second on one WebSocket; excess messages
    wait unread."""
    burst: int = Field(default=100, ge=1)
    """Requests of one source, or messages on one WebSocket, allowed at once before the rate counts."""
    messages_per_peer: int = Field(default=40, ge=0)
    """Messages that a browser in a signalling room may send at once beyond `burst`, and queue beyond `send_queue`,
    per other browser in the room: a description and its candidates."""
    offers_per_second: float = Field(default=10.0, gt=0)
    """HTTP offers (POST /webrtc/offer) per second from one source (an IPv4 address, a /64 of IPv6)."""
    offer_burst: int = Field(default=50, ge=1)
    """HTTP offers that one source may make at once before the rate counts."""
    setup_timeout: float = Field(default=25.0, ge=1)
    """Longest wait of an HTTP offer for its answer (s)."""
    session_lifetime: float = Field(default=14_400.0, ge=60)
    """Longest session of the HTTP API (s)."""
    max_batch: int = Field(default=20, ge=1)
    """Requests in one JSON-RPC batch."""
    send_queue: int = Field(default=256, ge=1)
    """Messages queued for a slow reader before its connection is closed."""
    ping_interval: float = Field(default=20.0, ge=1)
    """Interval between WebSocket pings (s)."""
    ping_timeout: float = Field(default=20.0, ge=1)
    """Longest wait for the pong of a WebSocket ping (s), not counting unread messages before the pong."""
    longest_backlog: float = Field(default=60.0, ge=1)
    """Longest delay of a pong behind messages beyond the rate, before the connection is closed with 1008 (s)."""
    failed_logins: int = Field(default=10, ge=1)
    """Wrong passwords from one source (an IPv4 address, a /64 of IPv6) before a wait."""
    login_penalty: float = Field(default=60.0, ge=0)
    """Wait after `failed_logins` (s)."""
    failed_logins_per_user: int = Field(default=10, ge=0)
    """Wrong passwords for one user from all sources, before a wait for sources without an earlier sign-in of the
    user: 1 s, doubled with each further wrong password; 0: no limit."""
    longest_login_delay: float = Field(default=300.0, ge=1, le=86_400)
    """Longest wait for such a user (s)."""


class WebConfig(Section):
    """Browser side: the page, HTTP and WebSocket."""

    listen: HostPortValue = HostPort("127.0.0.1", 8080)
    """Address and port of HTTP; browsers allow the microphone only on localhost or HTTPS pages."""
    also_listen: tuple[HostPortValue, ...] = ()
    """Further addresses with the same service, with TLS as on `listen`: 127.0.0.1:8000 for clients of the room
    server."""
    public_url: Text | None = None
    """URL of the page as typed by users ("https://phone.example.com"), if other than an address of `listen`: pages
    under other names may not use the gateway."""
    allowed_origins: tuple[Text, ...] = ()
    """Origins of other sites allowed to use the gateway; its own page always may."""
    strict_transport: int = Field(default=31_536_000, ge=0, le=63_072_000)
    """Time for which browsers use only HTTPS for the page's host (s, RFC 6797), sent with `tls`; 0: not sent.
    Applies to every port of the host."""
    proxies: tuple[LocalAddress, ...] = ()
    """Addresses of trusted reverse proxies: their X-Forwarded-For and X-Forwarded-Proto are accepted."""
    guests: SwitchValue = "auto"
    """Allow calls from the page without an account; "auto": only while the page is reachable from this machine alone
    (and through no proxy)."""
    guests_may_call: tuple[Text, ...] = ("600", "601")
    """Patterns of allowed dial strings for guests, including calls to other guests (* matches anything)."""
    staff_names: tuple[Text, ...] = (
        *("admin", "administrator", "emergency", "gateway", "helpdesk", "moderator", "operator", "police"),
        *("reception", "root", "security", "staff", "support", "system"),
    )
    """Words forbidden in guests' names, including lookalikes; names that look like a user's are forbidden too."""
    link_lifetime: int = Field(default=2_592_000, ge=0, le=31_536_000)
    """Longest lifetime of guest links (s), created by users through POST /api/links for a site's call button or for
    one call; 0: no links."""
    open_rooms: SwitchValue = "auto"
    """Allow signalling rooms without an account; "auto": only while reachable from this machine alone (and through
    no proxy)."""
    ice_servers: tuple[IceServer, ...] = ()
    """STUN and TURN servers for browsers; ICE-lite needs none."""
    ice_service: Text = "https://restsend.com/api/iceservers"
    """Service queried for ICE servers if `ice_service_token` is set; `ice_servers` are the fallback."""
    ice_service_token: Secret | None = None
    """Token for the ICE service; also set by the environment variable RESTSEND_TOKEN."""
    push_services: tuple[Text, ...] = (
        "https://fcm.googleapis.com",
        "https://*.push.services.mozilla.com",
        "https://*.push.apple.com",
        "https://*.notify.windows.com",
    )
    """Push services allowed to wake browsers with a closed page for a call (* matches labels of the host); nothing
    is sent to others."""
    push_wait: float = Field(default=10.0, ge=0, le=60)
    """Longest wait of a call for a woken page to open (s); 0: no wake-up."""
    push_contact: Text | None = None
    """Contact of the operator for push services, a mailto: or https: URL; default: postmaster of the domain."""
    oidc: OidcConfig = OidcConfig()
    tls: TlsFiles = TlsFiles()
    limits: WebLimits = WebLimits()

    @property
    def listeners(self) -> tuple[tuple[str, HostPort], ...]:
        """Return every address of the web side, with its key."""
        also = ((f"web.also_listen.{index}", address) for index, address in enumerate(self.also_listen))
        return (("web.listen", self.listen), *also)

    @property
    def only_here(self) -> bool:
        """Return True if only this machine reaches the web side, as far as configured: no proxy forwards others."""
        hosts = [
            *(address.host for _, address in self.listeners),
            *([urlsplit(self.public_url).hostname] if self.public_url else []),
        ]
        return not self.proxies and all(is_loopback(host or "") for host in hosts)

    @property
    def guests_welcome(self) -> bool:
        """Return `guests` with "auto" resolved."""
        return self.guests == "on" or (self.guests == "auto" and self.only_here)

    @property
    def rooms_open(self) -> bool:
        """Return `open_rooms` with "auto" resolved."""
        return self.open_rooms == "on" or (self.open_rooms == "auto" and self.only_here)

    @field_validator("public_url")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError(f"{url!r} must be a URL that begins with http:// or https://")
        return url.rstrip("/") if url else None

    @field_validator("push_contact")
    @classmethod
    def _contact(cls, contact: str | None) -> str | None:
        if contact is not None and not contact.startswith(("mailto:", "https:")):
            raise ValueError(f"{contact!r} must begin with mailto: or https:")
        return contact

    @field_validator("push_services")
    @classmethod
    def _services(cls, services: tuple[str, ...]) -> tuple[str, ...]:
        for service in services:
            parts = urlsplit(service)
            host = parts.hostname or ""
            safe = parts.scheme == "https" or (parts.scheme == "http" and host in ("localhost", "127.0.0.1"))
            if not safe or not host or parts.path or parts.query or "*" in host.removeprefix("*."):
                raise ValueError(f"{service!r} must be an origin, as in https://fcm.googleapis.com, without a path")
        return services

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
                raise ValueError(f"{origin!r} must be an origin, as in https://intranet.example.com, without a path")
        return origins


class RtpConfig(Section):
    """Media of phones: plain RTP or SDES-SRTP, on two UDP ports per call side."""

    listen: tuple[LocalAddress, ...] = Field(default=("127.0.0.1",), min_length=1, max_length=2)
    """IP address for RTP; "0.0.0.0" opens RTP to the network. Or two addresses, one per IP version; each phone uses
    the address of its own version."""
    advertised: tuple[HostValue, ...] = Field(default=(), max_length=2)
    """Address for the SDP toward phones; default: the listen address, or for 0.0.0.0 the address of the interface
    with the default route. Of two, each replaces the listen address of its IP version; a name replaces the first."""
    ports: PortRangeValue = PortRange(10_000, 19_999)
    """UDP ports, an even port for RTP and the next for RTCP."""
    media_timeout: float = Field(default=60.0, ge=0)
    """Time without media from a phone after which its call ends; 0: never (s)."""
    unreachable_timeout: float = Field(default=10.0, ge=0)
    """Time without media after which a call on an unresponsive trunk ends, if the trunk answered OPTIONS before; 0:
    as `media_timeout` (s)."""
    early_silence: float = Field(default=5.0, ge=1, le=60)
    """Silence after which early media gives way to another callee's (s); ringing tones pause for four seconds."""
    held_timeout: float = Field(default=3_600.0, ge=0)
    """Time without media after which a call on hold ends; 0: never (s)."""
    latching: Literal["off", "auto", "on"] = "auto"
    """Send RTP to the source of received RTP: "auto" for phones with a private address in SDP, "on" always."""
    srtp: SrtpPolicy = "optional"
    """SRTP toward phones: "optional" accepts offered SRTP, and offers SRTP to a phone that rejects plain RTP;
    "best_effort" offers plain RTP with keys (RFC 8643); "required" rejects plain RTP; "off" disables SRTP."""
    srtp_keying: tuple[SrtpKeying, ...] = Field(default=("sdes", "dtls"), min_length=1, max_length=2)
    """Keying of offered SRTP, tried in order after rejections (RFC 4568, RFC 5763)."""
    srtp_suites: tuple[SrtpSuite, ...] = Field(
        default=(
            "AEAD_AES_128_GCM",
            "AEAD_AES_256_GCM",
            "AES_CM_128_HMAC_SHA1_80",
            "AES_256_CM_HMAC_SHA1_80",
            "AES_CM_128_HMAC_SHA1_32",
        ),
        min_length=1,
    )
    """SDES suites, best first (RFC 4568, RFC 6188, RFC 7714)."""
    silence_after: float = Field(default=1.0, ge=0)
    """Time without outgoing packets after which silence is sent to a phone; 0: never (s)."""
    silence_interval: float = Field(default=5.0, ge=0.02, le=60)
    """Interval between packets of silence (s, RFC 6263); 0.02 is full rate, for phones that hang up otherwise."""
    max_packets_per_second: int = Field(default=500, ge=50)
    """Packets per second accepted from one source; excess packets are dropped and counted."""
    dscp: int = Field(default=46, ge=0, le=63)
    """DSCP of audio toward phones (RFC 2474); 46 is EF."""

    @field_validator("listen", "advertised", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("listen")
    @classmethod
    def _one_a_version(cls, listen: tuple[str, ...]) -> tuple[str, ...]:
        if len({ip_version(host) for host in listen}) < len(listen):
            raise ValueError("must be one address, or one of each IP version")
        return listen

    @model_validator(mode="after")
    def _stands_for_one(self) -> Self:
        if len([told for _, told in self.places if told is not None]) < len(self.advertised):
            raise ValueError("each of advertised stands for the listen address of its IP version, a name for the first")
        return self

    @property
    def places(self) -> tuple[tuple[str, str | None], ...]:
        """Return each listen address with its advertised address; None for no replacement."""
        told = {ip_version(host) or ip_version(self.listen[0]): host for host in self.advertised}
        return tuple((host, told.get(ip_version(host))) for host in self.listen)


__all__ = [
    "RtpConfig",
    "SipBans",
    "SipConfig",
    "SipLimits",
    "SipRegistration",
    "SipSessionTimer",
    "SipTimers",
    "WebConfig",
    "WebLimits",
]
