"""Configuration of who is who and who reaches whom: users, identity rules, routes, trunks."""

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
"""What a number may do beside calling somebody."""
SERVICES = ("echo", "tone")
"""Built-in services a route can lead to."""

_MAX_FLOWS = 4
_PLACE = re.compile(r"sips?:(?:[^@]*@)?(?P<host>\[[^\]]*\]|[^:;?]+)(?::(?P<port>[0-9]+))?", re.IGNORECASE)


class AccountConfig(Section):
    """A user's own SIP account at a PBX: the gateway registers with it, and the user calls and is called by it."""

    registrar: Text
    """Where it is: the name of a trunk or the SIP URI of a registrar, one of accounts.registrars."""
    username: Text = Field(min_length=1)
    """User part of its address, the extension: "1001"."""
    password: Secret
    """Digest password; better set it by environment than here."""
    auth_username: Text | None = None
    """Digest user name where that is another one (3CX calls it Auth ID); default: username."""
    display_name: Text = ""
    """Name shown to who is called by it; default: the user's."""


class FlowsConfig(Section):
    """Registrations by several flows at once (RFC 5626), where trunks have `outbound_proxies`."""

    base_time_all_failed: float = Field(default=30.0, gt=0)
    """While no flow of an account stands: a flow that fails is tried again after one to two times this, and after twice
    as long each further time, up to `max_time` (s, section 4.5)."""
    base_time: float = Field(default=90.0, gt=0)
    """The same while another flow of the account stands (s)."""
    max_time: float = Field(default=1800.0, gt=0)
    """The longest wait; half of it to the whole (s)."""
    keep_alive: float = Field(default=120.0, ge=1)
    """Longest pause between keep-alives by TCP, TLS and WebSocket flows whose registrar asks for none by Flow-Timer; by
    UDP at most 29 s. A flow by which one is not answered within 10 s is formed anew (s, section 4.4). No
    connection to a registrar that takes no flows is asked."""


class AccountsConfig(Section):
    """Users' own SIP accounts at a PBX: a browser is an extension of it."""

    registrars: tuple[Text, ...] = ()
    """Where accounts may be: names of trunks and SIP URIs. No other address is resolved or contacted for one;
    default: every trunk."""
    by_users: bool = True
    """Whether users may bring an account of their own, which is kept encrypted in the state directory."""
    changes_per_hour: int = Field(default=20, ge=1)
    """How often one user may change it, so that nobody tries passwords at the PBX through the gateway."""
    register_expires: int = Field(default=300, ge=30)
    """Expires asked for when registering an account (s)."""
    flows: FlowsConfig = FlowsConfig()

    @field_validator("registrars")
    @classmethod
    def _are_places(cls, registrars: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sip_uri(one) if ":" in one else one for one in registrars)


class Ha1Config(Section):
    """H(id:realm:password) in hex in place of the password (RFC 7616 3.4.2, RFC 8760); at least one of them."""

    md5: Secret | None = None
    """MD5, 32 digits: of `printf '1001:gateway.local:PASSWORD' | md5sum`."""
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
        """Algorithm -> HA1."""
        every = {"MD5": self.md5, "SHA-256": self.sha_256, "SHA-512-256": self.sha_512_256}
        return {name: value.get_secret_value() for name, value in every.items() if value is not None}


class UserConfig(Section):
    """A person or a device."""

    id: Text
    """Web user id and SIP user part: "alice", "1001". Letters, digits and . _ + -"""
    display_name: Text = ""
    """Name shown to the called party."""
    aliases: tuple[Text, ...] = ()
    """Further user parts or SIP URIs that mean this user: "2001", "sip:alice@example.com"."""
    web: bool = False
    """May sign in on the page."""
    sip: bool = False
    """May register a SIP phone."""
    password: Secret | None = SecretStr("auto")
    """"auto" makes one at the first start and keeps it in the state directory; a chosen one is better set by
    environment than here."""
    ha1: Ha1Config | None = None
    """Digest values instead of the password, which then stands nowhere; with the password left at "auto"."""
    may_call: tuple[Text, ...] = ("*",)
    """Patterns of what the user may dial. "*" is every user, service and room; a call through a trunk or to a SIP URI
    elsewhere needs a pattern that says so: "0*", "+49*", "sip:*@example.com", "trunk:pbx", "trunk:*"."""
    max_calls: int = Field(default=10, ge=1)
    """Calls at once."""
    dtmf: Dtmf = "auto"
    """How the user's phones take digits: "rfc4733", "info" (SIP INFO), "inband" (tones, which are found in what they
    say as well), "auto": as works first."""
    hold_music: Text | None = None
    """What the other side hears while the user holds it, as media.hold_music, which is the default."""
    ringback: Text | None = None
    """What phones and trunks hear that call the user, while it rings: a sound file as for media.hold_music, or
    "generated"; pages ring by themselves. Default: their own ringing tone."""
    call_waiting: bool = True
    """Whether a call rings while another one of the user's rings or is under way, which phones and pages show as a
    second line; else it is busy (486), and forwarded as such."""
    ring: Literal["all", "in_order"] = "all"
    """Whether the user's phones ring all at once, or in the order of their q-values, the highest first."""
    ring_next_after: float = Field(default=15.0, gt=0)
    """In that order: how long phones of one q-value ring before the next ones do (s)."""
    account: AccountConfig | None = None
    """The user's own SIP account at a PBX."""
    pickup_groups: tuple[Text, ...] = ()
    """Names of groups: who shares one with the user may see who calls it, and take its calls, answered ones too."""
    role: Literal["user", "operator", "admin"] = "user"
    """What the user may do over /api: "operator" sees and ends calls, "admin" sees the audit log too."""

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
        """The password, where somebody has chosen it."""
        chosen = None if self.password is None or self.ha1 is not None else self.password.get_secret_value()
        return None if chosen == "auto" else chosen

    def user(self) -> User:
        """The same as the identity room's value."""
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
    """A pattern that ties SIP URIs to web users, read in both directions."""

    sip: Text
    """SIP side: "sip:1{user}@*". {name} stands for characters other than @ and ., * for any."""
    web: Text
    """Web side: "{user}"."""


class IdentityConfig(Section):
    """SIP URI to web user and back; an exact id comes before an alias, an alias before the rules."""

    rules: tuple[IdentityRule, ...] = ()
    """Pattern rules, the first that fits counts."""
    store: Text = Field(default="sqlite:gateway.sqlite", repr=False)
    """Where registrations are kept: "memory", "sqlite:FILE" (in the state directory) or "redis://host:6379/0",
    which several gateways share; "redis+sentinel://host:26379,host:26379/SERVICE/0" is the server that Sentinels name,
    "redis+cluster://host:6379,host:6379" a Redis Cluster (rediss: TLS)."""

    @field_validator("store")
    @classmethod
    def _known(cls, store: str) -> str:
        scheme, _, rest = store.partition(":")
        if store == "memory" or (scheme == "sqlite" and rest):
            return store
        if scheme in REDIS and rest.startswith("//") and len(rest) > 2:
            return store
        # The URL may hold a password, so it is not repeated.
        raise ValueError('must be "memory", "sqlite:FILE" or "redis://HOST:PORT/DATABASE"')


class Route(Section):
    """Where a dialled number leads; the first route that matches counts."""

    match: Text = Field(min_length=1)
    """Pattern of what was dialled, the number or the whole URI: "600", "0*", "+49*", "sip:*@example.com"."""
    to: Text
    """"user:ID", "trunk:NAME", "group:NAME", "room:NAME" (a conference room), "agent:NAME" (a program
    elsewhere), "service:echo", "service:tone", "feature:park" and its like, or a SIP URI; {user} is the number to dial
    there."""
    strip: int = Field(default=0, ge=0, le=64)
    """Leading characters of the number that are not sent on: 1 drops the 0 of an outside line."""
    prefix: Text = ""
    """Put before the number after stripping: "+49"."""

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
                # Else whoever dials would choose the host that is called.
                raise ValueError(f"{to!r} may have {{user}} before the @ only, as in sip:{{user}}@pbx.example.com")
        return to


class GroupConfig(Section):
    """Users who are called by one number, by a route to `group:NAME`."""

    name: Text
    """What routes call it."""
    members: tuple[Text, ...] = Field(min_length=1, max_length=32)
    """Ids of its users, in the order in which they are called."""
    in_turn: bool = False
    """One after the other; else all at once."""
    time: float = Field(default=20.0, ge=1, le=600)
    """How long each of them, or all at once, may ring; sip.ring_timeout bounds all of it (s)."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not is_user_id(name):
            raise ValueError(f"{name!r} must be 1 to 64 letters, digits or . _ + -")
        return name


class Trunk(Section):
    """A PBX or provider that calls go to and come from."""

    name: Text
    """What routes call it."""
    uri: SipUriValue
    """Where it is: "sip:pbx.example.com" or "sip:192.0.2.10:5060;transport=udp"."""
    fallback_uris: tuple[SipUriValue, ...] = ()
    """Further places of the same trunk, asked in this order where the ones before do not answer; calls and
    registrations go there with the trunk's password as well."""
    outbound_proxy: SipUriValue | None = None
    """A proxy that everything to the trunk goes through: "sip:sbc.example.com:5060"."""
    outbound_proxies: tuple[SipUriValue, ...] = Field(default=(), max_length=_MAX_FLOWS)
    """In place of `outbound_proxy` several of them (its edges, or several addresses of its own): trunk and accounts are
    registered through each at once (RFC 5626), and calls go and come by any that is there. For registrars that keep
    flows; by one that does not they are registered through one alone, and through the next where that fails."""
    options_interval: float = Field(default=2.0, ge=0)
    """Pause between questions (OPTIONS) to each place, 2 s at most while it does not answer, and longer where
    `sip.limits.options_per_second` is reached; 0 never (s)."""
    options_timeout: float = Field(default=2.0, ge=0.5, le=32)
    """Wait for the answer to such a question, which goes out three times in 2 s over UDP (s)."""
    crlf_interval: float = Field(default=0.0, ge=0)
    """How often a double CRLF is sent there (RFC 5626 3.5.1), to keep the way through a NAT or firewall open. A TCP,
    TLS or WebSocket connection by which it was answered before and is not now is closed, and made anew where a call or
    a registration lives on it. 0 never (s)."""
    failover_after: float = Field(default=4.0, ge=0)
    """A place that says nothing at all to a call for so long is given up for the next one; 0: for as long as SIP
    repeats an INVITE (s)."""
    username: Text | None = None
    """Digest user name at the trunk; default: none, no digest is answered. A trunk that signs its calls to us uses the
    same name and password."""
    password: Secret | None = None
    """Digest password; better set it by environment than here."""
    register_account: bool = Field(default=False, alias="register")
    """Register there, so that the trunk can call in: as long as it lasts, calls from every address that the
    registrar's name leads to are the trunk's without digest, as those from `sources` are."""
    register_expires: int = Field(default=300, ge=30)
    """Expires asked for when registering (s)."""
    from_user: Text | None = None
    """User part of From toward the trunk; default: the caller's own."""
    sources: tuple[NetworkValue, ...] = ()
    """IP addresses or networks that may call in as this trunk without digest: "192.0.2.10", "192.0.2.0/24".
    A redirect or transfer to such an address goes through this trunk, as one to the host of its `uri` does.
    Over UDP an address can be forged: such a call rings users, but never leaves through a trunk again."""
    assert_identity: bool = False
    """Tell it who calls by P-Asserted-Identity (RFC 3325), with Privacy where the caller wants to be hidden from who is
    called: for a trunk that is trusted with that. Its own assertions are believed either way."""
    prefer_identity: bool = False
    """Ask it by P-Preferred-Identity (RFC 3325) to show who calls: for one that knows the gateway as a customer with
    several numbers, and decides itself. Of no effect with assert_identity."""
    verstat: bool = False
    """Believe what it says of the signature of a caller's number (verstat, 3GPP TS 24.229), and show it on the page:
    for a trunk that checks signatures itself and takes the word of nobody before it."""
    codecs: tuple[Codec, ...] = ()
    """The only codecs used with it, in both directions, best first; default: codecs.rtp."""
    srtp: SrtpPolicy | None = None
    """Overrides rtp.srtp for this trunk."""
    webrtc: bool = False
    """Offer it ICE and DTLS-SRTP, as WhatsApp's servers want. A trunk that offers these itself is answered so either
    way."""
    dtmf: Dtmf = "auto"
    """How it takes digits: "rfc4733", "info" (SIP INFO), "inband" (tones, which are found in what it says as
    well), "auto" (the first that works)."""
    hold_music: Text | None = None
    """What the other side hears while the trunk holds it, as media.hold_music, which is the default."""
    ringback: Text | None = None
    """What callers by the trunk hear while whoever they call rings, where that user has no ringback of its own."""
    announcements: bool = False
    """Callers by the trunk hear why their call has failed, as `announcements` says."""
    transfer: Literal["gateway", "pass_on", "pass_on_attended"] = "gateway"
    """Who moves a call of it to another number behind it when the other side asks for that: the gateway, which stays in
    between, or the trunk itself ("pass_on", by REFER), where it can; one that will not leaves it to the gateway.
    "pass_on_attended": it is also asked to call here whom the transferor has consulted (Refer-To with Replaces)."""
    max_calls: int | None = Field(default=None, ge=1)
    """Calls at once through it, in and out together; default: as many as limits.max_calls."""

    @classmethod
    def at(cls, uri: str) -> Trunk:
        """A place that nothing is said of but its URI, named after its host and port."""
        bare = cls(name="_", uri=uri)
        host, port = bare.place
        name = host.replace(":", "-") + (f"-{port}" if port is not None else "")
        return bare.model_copy(update={"name": name})

    @property
    def place(self) -> tuple[str, int | None]:
        """Host and port of `uri`: where its numbers belong to."""
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
        """Every place of it, the first to be asked first."""
        return (self.uri, *self.fallback_uris)

    @property
    def route(self) -> tuple[str, ...]:
        """The route set of requests to it (RFC 3261 8.1.1.1): its first proxy, as a loose router."""
        return self.routes[0] if self.routes else ()

    @property
    def proxies(self) -> tuple[str, ...]:
        """Every proxy of it; () for none."""
        return self.outbound_proxies or (() if self.outbound_proxy is None else (self.outbound_proxy,))

    @property
    def routes(self) -> tuple[tuple[str, ...], ...]:
        """The route set by each proxy; () where it has none."""
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
    """Numbers that everybody may dial at any time, whatever may_call and limits say."""

    numbers: tuple[Text, ...] = ()
    """As they are dialled: "112", "911"; default: none, and the start says so."""
    trunk: Text | None = None
    """Name of the trunk they go through; default: the only one, and where there are several, as `routes` says."""

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
