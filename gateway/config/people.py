"""Configuration of users, identity rules, routes and trunks."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.config.srtp import SrtpPolicy
from gateway.config.values import REDIS, NetworkValue, Secret, Section, SipUriValue, Text, loose_route, sip_uri
from gateway.identity.model import User, is_user_id

Codec = Literal["opus", "g722", "pcmu", "pcma"]

Dtmf = Literal["auto", "rfc4733", "info", "inband"]

FEATURES = (
    *("park", "pick-up", "forward-always", "forward-busy", "forward-no-answer", "forward-off"),
    *("do-not-disturb-on", "do-not-disturb-off", "voicemail"),
)
"""Functions of feature numbers."""
SERVICES = ("echo", "tone")
"""Built-in services for routes."""

_MAX_FLOWS = 4
_PLACE = re.compile(r"sips?:(?:[^@]*@)?(?P<host>\[[^\]]*\]|[^:;?]+)(?::(?P<port>[0-9]+))?", re.IGNORECASE)


class AccountConfig(Section):
    """SIP account of a user at a PBX: the gateway registers the account, and the user calls and is called through
    it."""

    registrar: Text
    """Registrar of the account: the name of a trunk or a SIP URI, one of accounts.registrars."""
    username: Text = Field(min_length=1)
    """User part of the account's address, the extension: "1001"."""
    password: Secret
    """Digest password; better set by environment than here."""
    auth_username: Text | None = None
    """Digest user name, if different (3CX calls it Auth ID); default: username."""
    display_name: Text = ""
    """Name shown to callees; default: the user's."""


class FlowsConfig(Section):
    """Parallel registrations over several flows (RFC 5626), for trunks with `outbound_proxies`."""

    base_time_all_failed: float = Field(default=30.0, gt=0)
    """Base of the wait before a failed flow is retried while the account has no working flow: one to two times this
    value, doubled with each failure up to `max_time` (s, section 4.5)."""
    base_time: float = Field(default=90.0, gt=0)
    """Base of the wait while another flow of the account works (s)."""
    max_time: float = Field(default=1800.0, gt=0)
    """Upper limit of the wait, which is between its half and the whole (s)."""
    keep_alive: float = Field(default=120.0, ge=1)
    """Longest interval of keep-alives on TCP, TLS and WebSocket flows without Flow-Timer from the registrar; over
    UDP at most 29 s. A flow without response within 10 s is replaced (s, section 4.4). Connections to registrars
    without flow support get no keep-alives."""


class AccountsConfig(Section):
    """SIP accounts of users at a PBX: a browser becomes an extension."""

    registrars: tuple[Text, ...] = ()
    """Allowed registrars of accounts: names of trunks and SIP URIs. No other address is resolved or contacted for an
    account; default: every trunk."""
    by_users: bool = True
    """Let users set up their own account, stored encrypted in the state directory."""
    changes_per_hour: int = Field(default=20, ge=1)
    """Changes of an account per user and hour, so that nobody tries passwords at the PBX through the gateway."""
    register_expires: int = Field(default=300, ge=30)
    """Expiry requested for registrations of accounts (s)."""
    flows: FlowsConfig = FlowsConfig()

    @field_validator("registrars")
    @classmethod
    def _are_places(cls, registrars: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sip_uri(one) if ":" in one else one for one in registrars)


class Ha1Config(Section):
    """H(id:realm:password) in hex instead of the password (RFC 7616 3.4.2, RFC 8760); at least one."""

    md5: Secret | None = None
    """MD5, 32 digits: from `printf '1001:gateway.local:PASSWORD' | md5sum`."""
    sha_256: Secret | None = None
    """SHA-256, 64 digits."""
    sha_512_256: Secret | None = None
    """SHA-512/256, 64 digits."""

    @model_validator(mode="after")
    def _are_digests(self) -> Ha1Config:
        lengths = {"MD5": 32, "SHA-256": 64, "SHA-512-256": 64}
        if not self.by_algorithm:
            raise ValueError("names no digest")
        for name, value in self.by_algorithm.items():
            if not re.fullmatch(rf"[0-9a-f]{{{lengths[name]}}}", value):
                raise ValueError(f"{name} must be {lengths[name]} digits 0-9 a-f")
        return self

    @property
    def by_algorithm(self) -> dict[str, str]:
        """Return algorithm -> HA1."""
        every = {"MD5": self.md5, "SHA-256": self.sha_256, "SHA-512-256": self.sha_512_256}
        return {name: value.get_secret_value() for name, value in every.items() if value is not None}


class UserConfig(Section):
    """Person or device."""

    id: Text
    """Web user id and SIP user part: "alice", "1001". Letters, digits and . _ + -"""
    display_name: Text = ""
    """Name shown to callees."""
    aliases: tuple[Text, ...] = ()
    """Further user parts or SIP URIs of the user: "2001", "sip:alice@example.com"."""
    web: bool = False
    """Allow sign-in on the page."""
    sip: bool = False
    """Allow registration of SIP phones."""
    password: Secret | None = SecretStr("auto")
    """"auto" generates a password at the first start, kept in the state directory; a chosen password is better set
    by environment than here."""
    ha1: Ha1Config | None = None
    """Digest values instead of the password, which then is stored nowhere; with the password left at "auto"."""
    may_call: tuple[Text, ...] = ("*",)
    """Patterns of allowed dial strings. "*" covers all users, services and rooms; a call through a trunk or to an
    external SIP URI needs an explicit pattern: "0*", "+49*", "sip:*@example.com", "trunk:pbx", "trunk:*"."""
    max_calls: int = Field(default=10, ge=1)
    """Concurrent calls."""
    dtmf: Dtmf = "auto"
    """DTMF method of the user's phones: "rfc4733", "info" (SIP INFO), "inband" (tones, which are also detected in
    their audio), "auto" (the first that works)."""
    hold_music: Text | None = None
    """Audio for the other side while the user holds the call, in the form of media.hold_music, which is the default."""
    ringback: Text | None = None
    """Audio for phones and trunks that call the user, during ringing: a sound file as for media.hold_music, or
    "generated"; pages ring by themselves. Default: the caller's own ringback tone."""
    call_waiting: bool = True
    """Let a call ring during another call of the user, as a second line on phones and pages; otherwise the user is
    busy (486), with forwarding as such."""
    ring: Literal["all", "in_order"] = "all"
    """Ring all phones of the user at once, or in order of q-values, highest first."""
    ring_next_after: float = Field(default=15.0, gt=0)
    """Ringing time per q-value before the phones of the next q-value ring (s)."""
    account: AccountConfig | None = None
    """SIP account of the user at a PBX."""
    pickup_groups: tuple[Text, ...] = ()
    """Names of pickup groups: members see callers of the user, and may pick up the user's calls, even answered ones."""
    role: Literal["user", "operator", "admin"] = "user"
    """Rights of the user over /api: "operator" sees and ends calls, "admin" also sees the audit log."""

    @field_validator("id")
    @classmethod
    def _plain_id(cls, text: str) -> str:
        if not is_user_id(text):
            raise ValueError(f"{text!r} must be 1 to 64 letters, digits or . _ + - and begin with a letter or digit")
        return text

    @field_validator("password")
    @classmethod
    def _long_enough(cls, password: SecretStr | None) -> SecretStr | None:
        if password is not None and not password.get_secret_value():
            raise ValueError('must not be empty; "auto" makes a good one')
        return password

    @model_validator(mode="after")
    def _some_way_in(self) -> UserConfig:
        if not self.web and not self.sip:
            raise ValueError("neither web nor sip is true, so nobody could ever be this user")
        if self.ha1 is not None and (self.password is None or self.password.get_secret_value() != "auto"):
            raise ValueError("has both ha1 and a password")
        return self

    @property
    def chosen_password(self) -> str | None:
        """Return the password if chosen in the configuration."""
        chosen = None if self.password is None or self.ha1 is not None else self.password.get_secret_value()
        return None if chosen == "auto" else chosen

    def user(self) -> User:
        """Return the user as a value of the identity room."""
        return User(
            id=self.id,
            display_name=self.display_name,
            aliases=self.aliases,
            sip=self.sip,
            web=self.web,
            may_call=self.may_call,
            max_calls=self.max_calls,
            dtmf=self.dtmf,
            pickup_groups=self.pickup_groups,
            call_waiting=self.call_waiting,
            ring=self.ring,
            ring_next_after=self.ring_next_after,
            role=self.role,
        )


class IdentityRule(Section):
    """Pattern rule between SIP URIs and web users, for both directions."""

    sip: Text
    """SIP side: "sip:1{user}@*". {name} matches characters except @ and ., * matches any."""
    web: Text
    """Web side: "{user}"."""


class IdentityConfig(Section):
    """Mapping of SIP URIs to web users and back; exact ids precede aliases, aliases precede rules."""

    rules: tuple[IdentityRule, ...] = ()
    """Pattern rules; the first match counts."""
    store: Text = Field(default="sqlite:gateway.sqlite", repr=False)
    """Store of registrations: "memory", "sqlite:FILE" (in the state directory) or "redis://host:6379/0", shared by
    several gateways. "redis+sentinel://host:26379,host:26379/SERVICE/0" is a server found by Sentinels,
    "redis+cluster://host:6379,host:6379" a Redis Cluster (rediss: TLS)."""

    @field_validator("store")
    @classmethod
    def _known(cls, store: str) -> str:
        scheme, _, rest = store.partition(":")
        if store == "memory" or (scheme == "sqlite" and rest):
            return store
        if scheme in REDIS and rest.startswith("//") and len(rest) > 2:
            return store
        # The URL may hold a password, so the error does not repeat it.
        raise ValueError('must be "memory", "sqlite:FILE" or "redis://HOST:PORT/DATABASE"')


class Route(Section):
    """Destination of dialled numbers; the first matching route counts."""

    match: Text = Field(min_length=1)
    """Pattern of the dialled number or whole URI: "600", "0*", "+49*", "sip:*@example.com"."""
    to: Text
    """"user:ID", "trunk:NAME", "group:NAME", "room:NAME" (a conference room), "agent:NAME" (an external program),
    "service:echo", "service:tone", "feature:park" and the like, or a SIP URI; {user} is replaced by the number to
    dial."""
    strip: int = Field(default=0, ge=0, le=64)
    """Leading characters removed from the number: 1 drops the 0 of an outside line."""
    prefix: Text = ""
    """Text put before the number after stripping: "+49"."""

    @field_validator("to")
    @classmethod
    def _known_target(cls, to: str) -> str:
        kind, _, target = to.partition(":")
        if kind not in ("user", "trunk", "service", "group", "room", "agent", "feature", "sip", "sips") or not target:
            raise ValueError(f"{to!r} must begin with user:, trunk:, service:, group:, room:, agent:, feature: or sip:")
        if kind == "feature" and target not in FEATURES:
            raise ValueError(f"there is no feature {target!r}; there are {', '.join(FEATURES)}")
        if kind == "service" and target not in SERVICES:
            raise ValueError(f"there is no service {target!r}; there are {', '.join(SERVICES)}")
        for name in re.findall(r"\{(.*?)\}", to):
            if name != "user":
                raise ValueError(f"{{{name}}} is not known; {{user}} stands for the number to dial")
        if kind in ("sip", "sips"):
            sip_uri(to.replace("{user}", "0"))
            if "{user}" in (to.partition("@")[2] if "@" in to else to):
                # Otherwise the dialling party could choose the host.
                raise ValueError(f"{to!r} may have {{user}} before the @ only, as in sip:{{user}}@pbx.example.com")
        return to


class GroupConfig(Section):
    """Users called by one number, through a route to `group:NAME`."""

    name: Text
    """Name used by routes."""
    members: tuple[Text, ...] = Field(min_length=1, max_length=32)
    """Ids of the group's users, in calling order."""
    in_turn: bool = False
    """True to call members one after the other, false to call all at once."""
    time: float = Field(default=20.0, ge=1, le=600)
    """Ringing time per member, or of all at once; sip.ring_timeout limits the total (s)."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not is_user_id(name):
            raise ValueError(f"{name!r} must be 1 to 64 letters, digits or . _ + -")
        return name


class Trunk(Section):
    """PBX or provider for outgoing and incoming calls."""

    name: Text
    """Name used by routes."""
    uri: SipUriValue
    """SIP URI of the trunk: "sip:pbx.example.com" or "sip:192.0.2.10:5060;transport=udp"."""
    fallback_uris: tuple[SipUriValue, ...] = ()
    """Further servers of the trunk, tried in order if earlier ones do not answer; calls and registrations there use
    the trunk's password too."""
    outbound_proxy: SipUriValue | None = None
    """Proxy for all traffic to the trunk: "sip:sbc.example.com:5060"."""
    outbound_proxies: tuple[SipUriValue, ...] = Field(default=(), max_length=_MAX_FLOWS)
    """Several proxies instead of `outbound_proxy` (the trunk's edges, or several addresses): trunk and accounts
    register through each in parallel (RFC 5626), and calls use any working one. With a registrar without flow
    support only one proxy is used, and the next after its failure."""
    options_interval: float = Field(default=2.0, ge=0)
    """Interval of OPTIONS to each server, at most 2 s while the server is unresponsive, and longer at the limit of
    `sip.limits.options_per_second`; 0: never (s)."""
    options_timeout: float = Field(default=2.0, ge=0.5, le=32)
    """Longest wait for the response to OPTIONS, sent three times in 2 s over UDP (s)."""
    crlf_interval: float = Field(default=0.0, ge=0)
    """Interval of double CRLFs (RFC 5626 3.5.1), to keep a NAT or firewall binding open. A TCP, TLS or WebSocket
    connection that stops answering these is closed, and reopened if in use by a call or registration. 0: never (s)."""
    failover_after: float = Field(default=4.0, ge=0)
    """Silence of a server on a call before the next server is tried; 0: the full INVITE timeout (s)."""
    username: Text | None = None
    """Digest user name at the trunk; default: none, no challenge is answered. A trunk that authenticates its calls
    to the gateway uses these credentials too."""
    password: Secret | None = None
    """Digest password; better set by environment than here."""
    register_account: bool = Field(default=False, alias="register")
    """Register at the trunk for incoming calls. During the registration, calls from every address of the registrar's
    name need no digest, as for `sources`."""
    register_expires: int = Field(default=300, ge=30)
    """Expiry requested for the registration (s)."""
    from_user: Text | None = None
    """User part of From toward the trunk; default: the caller's own."""
    sources: tuple[NetworkValue, ...] = ()
    """IP addresses or networks of the trunk for incoming calls without digest: "192.0.2.10", "192.0.2.0/24". A
    redirect or transfer to such an address, or to the host of `uri`, uses the trunk. UDP addresses are easily
    forged: such a call rings users, but never leaves through a trunk again."""
    assert_identity: bool = False
    """Send the caller's identity in P-Asserted-Identity (RFC 3325), with Privacy for a caller hidden from the
    callee: for trusted trunks. The trunk's own assertions are always accepted."""
    prefer_identity: bool = False
    """Request the caller's identity by P-Preferred-Identity (RFC 3325): for a trunk with the gateway as a customer
    with several numbers. No effect with assert_identity."""
    verstat: bool = False
    """Accept the trunk's verification of caller number signatures (verstat, 3GPP TS 24.229), and show it on the
    page: for a trunk that verifies signatures itself."""
    codecs: tuple[Codec, ...] = ()
    """Only codecs used with the trunk, in both directions, best first; default: codecs.rtp."""
    srtp: SrtpPolicy | None = None
    """SRTP policy for the trunk; default: rtp.srtp."""
    webrtc: bool = False
    """Offer ICE and DTLS-SRTP to the trunk, as required by WhatsApp's servers. An offer of these from the trunk is
    always accepted."""
    dtmf: Dtmf = "auto"
    """DTMF method of the trunk: "rfc4733", "info" (SIP INFO), "inband" (tones, which are also detected in its
    audio), "auto" (the first that works)."""
    hold_music: Text | None = None
    """Audio for the other side while the trunk holds the call, in the form of media.hold_music, which is the
    default."""
    ringback: Text | None = None
    """Audio for callers of the trunk during ringing, for callees without their own ringback."""
    announcements: bool = False
    """Play `announcements` to callers of the trunk whose call fails."""
    transfer: Literal["gateway", "pass_on", "pass_on_attended"] = "gateway"
    """Executor of transfers to another number behind the trunk: the gateway, which stays in the path, or the trunk
    ("pass_on", by REFER), with the gateway as fallback. "pass_on_attended": attended transfers (Refer-To with
    Replaces) go to the trunk too."""
    max_calls: int | None = Field(default=None, ge=1)
    """Concurrent calls through the trunk, in both directions; default: limits.max_calls."""

    @classmethod
    def at(cls, uri: str) -> Trunk:
        """Return a trunk known only by its URI, named after host and port."""
        bare = cls(name="_", uri=uri)
        host, port = bare.place
        name = host.replace(":", "-") + (f"-{port}" if port is not None else "")
        return bare.model_copy(update={"name": name})

    @property
    def place(self) -> tuple[str, int | None]:
        """Return host and port of `uri`."""
        found = _PLACE.match(self.uri)
        assert found is not None
        host, port = found["host"].strip("[]").lower(), found["port"]
        return host, None if port is None else int(port)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not is_user_id(name):
            raise ValueError(f"{name!r} must be 1 to 64 letters, digits or . _ + -")
        return name

    @property
    def uris(self) -> tuple[str, ...]:
        """Return every server of the trunk, in order of trial."""
        return (self.uri, *self.fallback_uris)

    @property
    def route(self) -> tuple[str, ...]:
        """Return the route set for requests to the trunk (RFC 3261 8.1.1.1): the first proxy, as a loose router."""
        return self.routes[0] if self.routes else ()

    @property
    def proxies(self) -> tuple[str, ...]:
        """Return every proxy of the trunk; () for none."""
        return self.outbound_proxies or (() if self.outbound_proxy is None else (self.outbound_proxy,))

    @property
    def routes(self) -> tuple[tuple[str, ...], ...]:
        """Return the route set for each proxy; () without proxies."""
        return tuple((loose_route(proxy),) for proxy in self.proxies)

    @model_validator(mode="after")
    def _can_register(self) -> Trunk:
        if self.register_account and self.username is None:
            raise ValueError("register needs a username")
        if self.password is not None and self.username is None:
            raise ValueError("password needs a username")
        if self.outbound_proxies and self.outbound_proxy is not None:
            raise ValueError("outbound_proxies stand in the place of outbound_proxy: give one of them")
        return self


class EmergencyConfig(Section):
    """Emergency numbers, allowed at any time, regardless of may_call and limits."""

    numbers: tuple[Text, ...] = ()
    """Numbers as dialled: "112", "911"; default: none, with a warning at the start."""
    trunk: Text | None = None
    """Name of the trunk for emergency numbers; default: the only trunk, or `routes` if there are several."""

    @field_validator("numbers")
    @classmethod
    def _dialled(cls, numbers: tuple[str, ...]) -> tuple[str, ...]:
        for number in numbers:
            if not re.fullmatch(r"[0-9*#+]{2,15}", number):
                raise ValueError(f"{number!r} is no number of 2 to 15 digits")
        return numbers

    @model_validator(mode="after")
    def _whole(self) -> EmergencyConfig:
        if self.trunk is not None and not self.numbers:
            raise ValueError("trunk is for numbers, and there are none")
        return self
