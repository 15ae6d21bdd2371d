"""Configuration of the sides that face the network: SIP, web, RTP.

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
    """RFC 3261 section 17.1.1.1, table 4, and how long others are waited for."""

    t1: float = Field(default=0.5, ge=0.01, le=10)
    """T1, the estimate of a round trip: the first retransmission comes after it (s)."""
    t2: float = Field(default=4.0, ge=0.01, le=60)
    """T2, the longest pause between retransmissions of a request other than INVITE (s)."""
    t4: float = Field(default=5.0, ge=0.01, le=60)
    """T4, how long a message may linger in the network (s)."""
    lookup: float = Field(default=3.0, ge=0.5, le=30)
    """How long a call waits for name servers in all: what they have not said by then counts as they said it last, or
    as not there, and the next place is asked (s)."""
    answer: float = Field(default=30.0, ge=1, le=180)
    """How long our side may take to answer what a peer asks in a call (an offer, an INFO, a REFER) before that is
    refused for it (s)."""
    transfer: float = Field(default=180.0, ge=1, le=3_600)
    """How long the outcome of a transfer by REFER is waited for and told (s)."""
    crossing: float = Field(default=2.0, ge=0, le=30)
    """Wait of a peer's offer that crosses ours for the answer to ours, at the called side half of it; then it gets 491
    (s)."""
    other_answers: float = Field(default=6.0, ge=0, le=32)
    """After a 2xx that cannot be used, how long another branch of the same INVITE that rings may answer before the
    caller hears 488 (s); a proxy cancels the others at the first 2xx."""

    @model_validator(mode="after")
    def _in_order(self) -> SipTimers:
        if self.t2 < self.t1:
            raise ValueError("t2 must not be shorter than t1")
        return self


class SipLimits(Section):
    """What one source, or all of them, may make the SIP side hold."""

    max_transactions: int = Field(default=10_000, ge=1)
    """Transactions at once; above it new requests are answered 503."""
    max_dialogs: int = Field(default=5_000, ge=1)
    """Dialogs at once."""
    requests_per_second: float = Field(default=50.0, gt=0)
    """Requests a second from one source (an IPv4 address, a /64 of IPv6), responses and ACKs as a tenth of one; above
    it they are dropped."""
    burst: int = Field(default=100, ge=1)
    """Requests one source may send at once before the rate counts."""
    trunk_invites_per_second: float = Field(default=50.0, ge=0)
    """INVITEs a second from one address of a trunk (`trunks[].sources`), for which the limit above does not count;
    above it they are dropped, and the trunk repeats them; 0: no limit."""
    trunk_invite_burst: int = Field(default=20, ge=1)
    """INVITEs that one address of a trunk may send at once before that rate counts."""
    options_per_second: float = Field(default=50.0, ge=0)
    """Questions (OPTIONS) a second to all trunks that answer, and as many to all that do not; with more places than
    these times `trunks[].options_interval` each is asked less often; 0: no limit."""
    max_message_size: int = Field(default=65_535, ge=1_300, le=1_048_576)
    """Largest SIP message (bytes)."""
    max_connections: int = Field(default=2_048, ge=2)
    """TCP, TLS and WebSocket connections at once; when they are all taken, those go first whose peer has never shown
    who it is, the longest silent first, and some are kept for connections of the gateway's own. A quarter as many TLS
    handshakes may be under way beside them; then the one that began first gives way."""
    max_connections_per_source: int = Field(default=64, ge=1)
    """Connections at once from one source (an IPv4 address, a /64 of IPv6)."""
    idle_timeout: float = Field(default=1_800.0, ge=10)
    """A connection that brings nothing for so long, not even a keep-alive, is closed (s)."""
    failed_logins: int = Field(default=10, ge=1)
    """Wrong passwords from one source (an IPv4 address, a /64 of IPv6) before it has to wait."""
    login_penalty: float = Field(default=60.0, ge=0)
    """How long that wait is (s)."""
    failed_logins_per_user: int = Field(default=10, ge=0)
    """Wrong passwords for one user, from all sources, before sources that never signed in as that user have to wait:
    1 s, doubled with each further one; 0: no number of them."""
    longest_login_delay: float = Field(default=300.0, ge=1, le=86_400)
    """The longest such wait (s)."""


class SipBans(Section):
    """Sources of strangers' requests that are not answered for a while; never a trunk, nor who has signed in.

    Over UDP anybody can write anybody's address on a packet: one challenge a second goes to a banned address all the
    same, and who answers it is let through.
    """

    time: float = Field(default=600.0, ge=0)
    """How long after the last thing that such a source tried (s); 0: nobody is banned."""
    after: int = Field(default=100, ge=0)
    """Refusals, challenges included, within `window` without a password that was right; 0: no number of them."""
    window: float = Field(default=60.0, ge=1)
    """See `after` (s)."""
    max_sources: int = Field(default=10_000, ge=1)
    """Addresses remembered; the one that was quiet longest is forgotten first."""
    scanners: tuple[Text, ...] = (
        "*friendly-scanner*",
        "*sipvicious*",
        "sipcli*",
        "sip-scan*",
        "*sundayddr*",
        "iwar*",
        "pplsip*",
    )
    """Patterns of User-Agents that are banned at their first request, in any case (* stands for anything)."""
    never: tuple[NetworkValue, ...] = ("127.0.0.0/8", "::1/128")
    """Addresses and networks that are never banned: proxies in front of the gateway stand for many."""


class SipRegistration(Section):
    """How long and how often a phone may register (RFC 3261 section 10)."""

    min_expires: int = Field(default=60, ge=1)
    """Shorter registrations are answered 423 (s)."""
    default_expires: int = Field(default=3_600, ge=1)
    """When the phone asks for no time of its own (s)."""
    max_expires: int = Field(default=7_200, ge=1)
    """Longer registrations are shortened to it (s)."""
    max_contacts: int = Field(default=10, ge=1)
    """Contacts registered at once for one address of record."""
    websocket_grace: float = Field(default=5.0, ge=0, le=600)
    """How long a contact stays whose WebSocket is gone, or another connection that is its only way, unless it registers
    again by another; and how long a BYE, or a change of a call, waits for the next WebSocket of its far end (s)."""
    flow_timer: int = Field(default=120, ge=0, le=3_600)
    """How often phones that know RFC 5626 are asked to send keep-alives (Flow-Timer); the connection of one that has
    sent some and stops is closed (s); 0 asks for none."""
    flow_timeout: float = Field(default=4.0, gt=0, le=32)
    """A phone that registered by several ways (RFC 5626) is called by the latest; one by which nothing at all comes
    back for so long is given up for the next (s). So is one IP version of a name that has both, where `rtp.listen` has
    both, too: each is offered its own address for media. Another gateway of the cluster that says nothing for so long
    is taken for gone, and its caller hears 480."""
    nonce_lifetime: int = Field(default=300, ge=1)
    """How long a digest nonce is good (s)."""
    digest_algorithms: tuple[DigestAlgorithm, ...] = Field(default=("SHA-512-256", "SHA-256", "MD5"), min_length=1)
    """Digest algorithms that are taken, best first (RFC 8760). A phone is asked for one: the best that it has shown to
    cope with, and MD5 until then, for phones exist that give up at another; without MD5 in the list, the last."""
    strong_digest_agents: tuple[Text, ...] = ("sip-webrtc-gateway*",)
    """Patterns of User-Agents that cope with all of them: they are asked for the best at once."""

    @model_validator(mode="after")
    def _in_order(self) -> SipRegistration:
        if not self.min_expires <= self.default_expires <= self.max_expires:
            raise ValueError("min_expires, default_expires and max_expires must rise in this order")
        return self


class SipSessionTimer(Section):
    """Session timer (RFC 4028): notices calls whose other end has vanished."""

    enabled: bool = True
    """Offer and accept session timers."""
    expires: int = Field(default=1_800, ge=90)
    """Session-Expires that is asked for (s)."""
    min_se: int = Field(default=90, ge=90)
    """Min-SE: shorter intervals are answered 422 (s)."""

    @model_validator(mode="after")
    def _in_order(self) -> SipSessionTimer:
        if self.expires < self.min_se:
            raise ValueError("expires must not be shorter than min_se")
        return self


class TlsFiles(Section):
    """Our certificate and its key, both or neither."""

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
    """SIP over TLS and secure WebSocket: our own certificate, needed to listen, and whom we trust."""

    ca: Path | None = None
    """PEM file of the authorities that may sign certificates of peers; default: those of the system."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Ask who connects by TLS for a certificate: "optional" takes those without one as well."""
    certificates: tuple[TlsFiles, ...] = ()
    """Further certificates, each shown to those who ask for one of its names (SNI); the first is for everybody else."""
    wildcards: bool = False
    """Take "*.example.com" in a peer's certificate for the hosts of that domain. SIP has no such names (RFC 5922
    section 7.2): whoever runs one host there could answer for all. For providers that have no other certificate."""

    @model_validator(mode="after")
    def _further(self) -> SipTls:
        if self.certificates and self.cert is None:
            raise ValueError("certificates are further ones: give cert and key, for those who ask for no name, as well")
        if any(one.cert is None for one in self.certificates):
            raise ValueError("each of certificates needs its cert and key")
        return self


class SipConfig(Section):
    """The side of phones, PBX and trunks."""

    listen: tuple[SipListenValue, ...] = Field(default=(SipListen("udp", "127.0.0.1", 5060),), min_length=1)
    """Transports (udp, tcp, tls, ws, wss) and addresses SIP listens on; "udp:0.0.0.0:5060" opens it to the network.
    SIP over WebSocket is served on the web port as well, at /sip, /ws and /."""
    tls: SipTls = SipTls()
    advertised: AdvertisedValue | None = None
    """Host or host:port put into Via and Contact; default: the listen address, or for 0.0.0.0 the
    address of the interface that has the default route."""
    outbound_proxy: SipUriValue | None = None
    """A proxy that calls, messages and subscriptions to SIP URIs elsewhere go through ("sip:edge.example.com:5060;lr");
    trunks have their own, and phones are reached by the way they registered."""
    proxies: tuple[NetworkValue, ...] = ()
    """Addresses and networks of proxies in front of the gateway, which stand for many: `sip.limits.requests_per_second`
    and `sip.bans` do not go by them, and waits after wrong passwords go by whom they have a request from (Via)."""
    realm: Text | None = Field(default=None, min_length=1)
    """Digest realm; default: the domain."""
    user_agent: Text = "sip-webrtc-gateway"
    """User-Agent and Server header; empty sends none."""
    ring_timeout: float = Field(default=60.0, ge=1, le=600)
    """How long a callee may ring before the call ends as not answered (s)."""
    park_timeout: float = Field(default=120.0, ge=0, le=3_600)
    """How long a call is parked before it rings at who parked it, and again until somebody takes it; 0 never (s)."""
    max_diversions: int = Field(default=5, ge=0, le=20)
    """How often one call may go on to somebody else than who was called (3xx); 0 follows none."""
    dscp: int = Field(default=24, ge=0, le=63)
    """Marks SIP over UDP, TCP and TLS for the network (RFC 2474); 24 is CS3."""
    trickle_ice: bool = True
    """Take ICE candidates of SIP clients by INFO, and say so to those that offer ICE (RFC 8840)."""
    timers: SipTimers = SipTimers()
    limits: SipLimits = SipLimits()
    bans: SipBans = SipBans()
    registration: SipRegistration = SipRegistration()
    session_timer: SipSessionTimer = SipSessionTimer()

    @property
    def route(self) -> tuple[str, ...]:
        """The route set of requests to SIP URIs elsewhere."""
        return () if self.outbound_proxy is None else (loose_route(self.outbound_proxy),)


class WebLimits(Section):
    """What one browser, or all of them, may make the web side hold."""

    max_message_size: int = Field(default=65_536, ge=1_024, le=1_048_576)
    """Largest HTTP body and WebSocket message (bytes)."""
    max_sessions: int = Field(default=1_000, ge=1)
    """WebRTC sessions at once."""
    max_connections: int = Field(default=2_000, ge=1)
    """HTTP and WebSocket connections at once; when they are all taken, those go first that have proved nothing (no
    request, an unfinished one, a WebSocket of nobody who signed in and without a call), the longest silent first. A
    quarter as many TLS handshakes may be under way beside them; then the one that began first gives way."""
    max_connections_per_source: int = Field(default=200, ge=1)
    """HTTP and WebSocket connections at once from one source address (a /64 of IPv6)."""
    requests_per_second: float = Field(default=20.0, gt=0)
    """HTTP requests a second from one source address, and messages of one WebSocket; later messages wait unread."""
    burst: int = Field(default=100, ge=1)
    """Requests one source, or messages one WebSocket, may send at once before the rate counts."""
    messages_per_peer: int = Field(default=40, ge=0)
    """Messages that a browser in a room of the room server may send at once beyond `burst`, and that may wait for it
    beyond `send_queue`, for each other browser there: a description and its candidates."""
    offers_per_second: float = Field(default=10.0, gt=0)
    """HTTP offers (POST /webrtc/offer) a second from one source (an IPv4 address, a /64 of IPv6)."""
    offer_burst: int = Field(default=50, ge=1)
    """HTTP offers one source may make at once before the rate counts."""
    setup_timeout: float = Field(default=25.0, ge=1)
    """How long an HTTP offer waits for its answer (s)."""
    session_lifetime: float = Field(default=14_400.0, ge=60)
    """A session of the HTTP API ends after so long (s)."""
    max_batch: int = Field(default=20, ge=1)
    """Requests in one JSON-RPC batch."""
    send_queue: int = Field(default=256, ge=1)
    """Messages waiting for one slow reader before its connection is closed."""
    ping_interval: float = Field(default=20.0, ge=1)
    """Time between WebSocket pings (s)."""
    ping_timeout: float = Field(default=20.0, ge=1)
    """How long a WebSocket ping may stay unanswered (s), messages that wait unread before its pong not counted."""
    longest_backlog: float = Field(default=60.0, ge=1)
    """How long a pong may wait behind messages beyond the rate before the connection is closed with 1008 (s)."""
    failed_logins: int = Field(default=10, ge=1)
    """Wrong passwords from one source (an IPv4 address, a /64 of IPv6) before it has to wait."""
    login_penalty: float = Field(default=60.0, ge=0)
    """How long that wait is (s)."""
    failed_logins_per_user: int = Field(default=10, ge=0)
    """Wrong passwords for one user, from all sources, before sources that never signed in as that user have to wait:
    1 s, doubled with each further one; 0: no number of them."""
    longest_login_delay: float = Field(default=300.0, ge=1, le=86_400)
    """The longest such wait (s)."""


class WebConfig(Section):
    """The side of browsers: the page, HTTP and WebSocket."""

    listen: HostPortValue = HostPort("127.0.0.1", 8080)
    """Address and port of HTTP; browsers give the microphone only to localhost or HTTPS pages."""
    also_listen: tuple[HostPortValue, ...] = ()
    """Further addresses that serve the same, by `tls` or not as `listen` is: 127.0.0.1:8000 for clients of the room
    server."""
    public_url: Text | None = None
    """The page's URL as people type it ("https://phone.example.com"), where it is not an address of `listen`: pages
    of other names may not use the gateway."""
    allowed_origins: tuple[Text, ...] = ()
    """Origins of other sites whose pages may use the gateway; its own page always may."""
    strict_transport: int = Field(default=31_536_000, ge=0, le=63_072_000)
    """Time for which browsers come to the page's host by HTTPS alone (s, RFC 6797), said where `tls` is set; 0: not
    said. It counts for every port of that host."""
    proxies: tuple[LocalAddress, ...] = ()
    """Addresses of reverse proxies in front, whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    guests: SwitchValue = "auto"
    """Let people without an account call from the page; "auto" while only this machine can reach it
    (no proxy passes others on)."""
    guests_may_call: tuple[Text, ...] = ("600", "601")
    """Patterns of what a guest may dial, other guests included (* stands for anything)."""
    staff_names: tuple[Text, ...] = (
        *("admin", "administrator", "emergency", "gateway", "helpdesk", "moderator", "operator", "police"),
        *("reception", "root", "security", "staff", "support", "system"),
    )
    """Words that no guest's name may have or look like; nor may it look like the name of a user."""
    link_lifetime: int = Field(default=2_592_000, ge=0, le=31_536_000)
    """The longest that a link for guests may be good for (s), which users make by POST /api/links for the call button
    of a site or for one call; 0: there are none."""
    open_rooms: SwitchValue = "auto"
    """Let people without an account use the signalling rooms; "auto" while only this machine can reach them
    (no proxy passes others on)."""
    ice_servers: tuple[IceServer, ...] = ()
    """STUN and TURN servers that browsers are told of; with ICE-lite none is needed."""
    ice_service: Text = "https://restsend.com/api/iceservers"
    """Service that is asked for ICE servers when `ice_service_token` is set; `ice_servers` are for when it fails."""
    ice_service_token: Secret | None = None
    """Token of that service; also by the environment variable RESTSEND_TOKEN."""
    push_services: tuple[Text, ...] = (
        "https://fcm.googleapis.com",
        "https://*.push.services.mozilla.com",
        "https://*.push.apple.com",
        "https://*.notify.windows.com",
    )
    """Push services by which browsers whose page is closed are woken for a call (* for labels of the host): nothing is
    sent elsewhere."""
    push_wait: float = Field(default=10.0, ge=0, le=60)
    """How long a call waits for such a page to open (s); 0: nobody is woken."""
    push_contact: Text | None = None
    """Where a push service reaches the operator, a mailto: or https: URL; default: postmaster of the domain."""
    oidc: OidcConfig = OidcConfig()
    tls: TlsFiles = TlsFiles()
    limits: WebLimits = WebLimits()

    @property
    def listeners(self) -> tuple[tuple[str, HostPort], ...]:
        """Every address of the web side, each with its key."""
        also = ((f"web.also_listen.{index}", address) for index, address in enumerate(self.also_listen))
        return (("web.listen", self.listen), *also)

    @property
    def only_here(self) -> bool:
        """Whether only this machine can reach the web side, as far as the configuration tells.

        A proxy passes others on.
        """
        hosts = [
            *(address.host for _, address in self.listeners),
            *([urlsplit(self.public_url).hostname] if self.public_url else []),
        ]
        return not self.proxies and all(is_loopback(host or "") for host in hosts)

    @property
    def guests_welcome(self) -> bool:
        """`guests`, with "auto" decided."""
        return self.guests == "on" or (self.guests == "auto" and self.only_here)

    @property
    def rooms_open(self) -> bool:
        """`open_rooms`, with "auto" decided."""
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
    """Media of phones: plain RTP or SDES-SRTP, two UDP ports a call side."""

    listen: tuple[LocalAddress, ...] = Field(default=("127.0.0.1",), min_length=1, max_length=2)
    """IP address RTP listens on; "0.0.0.0" opens it to the network. Or two, one of each IP version: each phone is
    spoken with by its own."""
    advertised: tuple[HostValue, ...] = Field(default=(), max_length=2)
    """Address put into the SDP toward phones; default: the listen address, or for 0.0.0.0 the
    address of the interface that has the default route. Of two, each stands for the listen address of its IP version,
    a name for the first."""
    ports: PortRangeValue = PortRange(10_000, 19_999)
    """UDP ports, an even one for RTP and the next for RTCP."""
    media_timeout: float = Field(default=60.0, ge=0)
    """A call whose phone sends nothing for so long ends; 0 never (s)."""
    unreachable_timeout: float = Field(default=10.0, ge=0)
    """The same of the phone's side of a trunk that answered OPTIONS and answers no more; 0: no other time (s)."""
    early_silence: float = Field(default=5.0, ge=1, le=60)
    """Early media silent for so long gives way to that of another callee (s); ringing tones pause for four."""
    held_timeout: float = Field(default=3_600.0, ge=0)
    """The same while the call is on hold; 0 never (s)."""
    latching: Literal["off", "auto", "on"] = "auto"
    """Answer to where RTP really comes from: "auto" when the phone's SDP names a private address, "on" always."""
    srtp: SrtpPolicy = "optional"
    """SRTP toward phones: "optional" takes it where it is offered and offers it to who refuses plain RTP, "best_effort"
    offers plain RTP with keys (RFC 8643), "required" refuses plain RTP, "off" takes none."""
    srtp_keying: tuple[SrtpKeying, ...] = Field(default=("sdes", "dtls"), min_length=1, max_length=2)
    """How the keys of SRTP are offered to phones: the next where the one before is refused (RFC 4568, RFC 5763)."""
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
    """Suites of SDES, best first (RFC 4568, RFC 6188, RFC 7714)."""
    silence_after: float = Field(default=1.0, ge=0)
    """Silence is sent to a phone that has been sent nothing for so long; 0 never (s)."""
    silence_interval: float = Field(default=5.0, ge=0.02, le=60)
    """Between two packets of it (s, RFC 6263); 0.02 is full rate, for phones that hang up without it."""
    max_packets_per_second: int = Field(default=500, ge=50)
    """Packets a second that are taken from one source; the rest is dropped and counted."""
    dscp: int = Field(default=46, ge=0, le=63)
    """Marks audio toward phones for the network (RFC 2474); 46 is EF."""

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
        """Each address to listen on, and what is advertised in its place; None: nothing else."""
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
