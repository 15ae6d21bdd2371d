"""The whole configuration, and the rules that reach across its sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.config.cluster import ClusterConfig
from gateway.config.conference import (
    AgentConfig,
    AnnouncementsConfig,
    ConferenceConfig,
    RecordingConfig,
    RoomConfig,
    VoicemailConfig,
)
from gateway.config.machine import cpus, memory_bytes
from gateway.config.media import MediaConfig
from gateway.config.messaging import MessagesConfig, PresenceConfig
from gateway.config.network import RtpConfig, SipConfig, WebConfig
from gateway.config.observing import CdrConfig, HepConfig, OtelConfig
from gateway.config.people import (
    AccountsConfig,
    Codec,
    EmergencyConfig,
    GroupConfig,
    IdentityConfig,
    Route,
    Trunk,
    UserConfig,
)
from gateway.config.values import NetworkValue, Section, Text, host, is_loopback, without_empty
from gateway.config.webrtc import DataConfig, TextConfig, WebRtcConfig
from gateway.identity.mapping import IdentityMap, Rule
from gateway.identity.model import User

VERSION = 1
"""Of the configuration's form; it rises when a key is taken away or means something else."""
_MEMORY_OF_A_CALL = 4 * 1024**2
"""Bytes of the machine's memory that the default of limits.max_calls counts for one call; most of it is for others."""


class OpusConfig(Section):
    """How Opus is encoded where a call is transcoded."""

    complexity: int = Field(default=5, ge=0, le=10)
    """Effort of the encoder: 0 costs least, 10 sounds best."""
    bitrate: int = Field(default=32_000, ge=6_000, le=510_000)
    """Bits a second."""


class CodecsConfig(Section):
    """Codecs offered to each side, best first; one both sides know is passed through untouched."""

    webrtc: tuple[Codec, ...] = Field(default=("opus", "g722", "pcmu", "pcma"), min_length=1)
    """Toward browsers."""
    rtp: tuple[Codec, ...] = Field(default=("opus", "g722", "pcmu", "pcma"), min_length=1)
    """Toward phones and trunks."""
    passed: tuple[Text, ...] = ("g729", "g723", "ilbc", "gsm", "amr", "amr-wb")
    """Codecs that pass from phone to phone untouched where both say them: nothing here can turn them into others."""
    telephone_event: bool = True
    """Offer DTMF digits as RFC 4733 events."""
    transcode: bool = True
    """Turn one codec into the other where no codec is common; false refuses such calls with 488."""
    opus: OpusConfig = OpusConfig()

    @field_validator("passed")
    @classmethod
    def _any_case(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower() for name in names)

    @field_validator("webrtc", "rtp")
    @classmethod
    def _once_each(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        if len(codecs) != len(set(codecs)):
            raise ValueError("names a codec twice")
        return codecs


VideoCodec = Literal["vp8", "h264", "vp9", "av1"]


class VideoConfig(Section):
    """Video: forwarded as it is where both sides have a codec in common."""

    codecs: tuple[VideoCodec, ...] = ("vp8", "h264", "vp9", "av1")
    """Those that pass; `[]`: video is refused, and the call goes on without."""
    max_bitrate: int = Field(default=2_500_000, ge=100_000, le=50_000_000)
    """What a browser is told to send at most (bits a second); the other side's own limit counts where it is lower."""
    max_packets_per_second: int = Field(default=1000, ge=50, le=10_000)
    """Packets of video taken from one phone, and from one browser beside those of its voice."""
    dscp: int = Field(default=34, ge=0, le=63)
    """Marks video toward phones for the network (RFC 2474); 34 is AF41."""
    kept_packets: int = Field(default=256, ge=0, le=1024)
    """Packets toward each browser that are kept to be sent again where it lost them (1,424 bytes each); 0: none."""
    key_frame_interval: float = Field(default=0.5, ge=0.1, le=10)
    """Shortest time between two requests for a key frame to one peer (s)."""


class LimitsConfig(Section):
    """What the gateway carries at most; above it calls are refused with 503."""

    max_calls: int | None = Field(default=None, ge=1)
    """Calls at once; default: 500 for each CPU of the machine, as far as its memory goes (4 MB a call)."""
    calls_per_second: float | None = Field(default=None, gt=0)
    """New calls a second; default: 100, or 200 where there are two CPUs or more."""
    max_callees: int = Field(default=16, ge=1, le=1_000)
    """Callees that one call may ring at once; further ones are not asked."""
    load: float = Field(default=0.95, ge=0, le=1)
    """Share of its time that the event loop may be at work once it was late (`delay`), before new calls are answered
    503; 0: never for either."""
    delay: float = Field(default=0.25, gt=0, le=60)
    """How long messages and timers may wait for the event loop, for a second on end, before new calls are answered 503
    (s)."""
    plane_load: float = Field(default=0.9, ge=0, lt=1)
    """Share of its time that the least busy thread of the native packet plane may work before fewer new calls are
    taken, and none where it works all of it; 0: never for that."""
    store_delay: float = Field(default=0.5, ge=0, le=60)
    """How long half of what calls ask the store may take before new calls are answered 503 (s); 0: never for that."""
    guest_calls: int | None = Field(default=None, ge=0)
    """Calls of guests at once; default: half of max_calls, so that the rest is kept for those with an account."""
    guest_calls_per_source: int = Field(default=10, ge=1)
    """Calls of guests at once from one source (an IPv4 address, a /64 of IPv6)."""
    prefix_length: int = Field(default=6, ge=1, le=32)
    """Characters of a number that goes out through a trunk by which it counts as near another (toll fraud)."""
    prefix_calls_per_hour: int = Field(default=200, ge=0)
    """Calls of one user an hour through trunks to numbers near each other; then 503. 0: no bound."""
    ladder_memory: int = Field(default=8_388_608, ge=0, le=1_073_741_824)
    """What the latest calls' messages may take that /admin shows (bytes); 0: none are kept."""
    reattach_time: float = Field(default=30.0, ge=0, le=600)
    """How long a call waits for a client that vanished (a reload, a lost connection) to come back (s)."""
    drain_timeout: float = Field(default=60.0, ge=0)
    """How long SIGTERM lets calls that are up go on before they are ended (s)."""
    keep_calls: Literal["never", "crash", "restart"] = "crash"
    """Which calls the next process goes on with: those of a process that was killed, or of one that SIGTERM has ended
    as well (which then neither waits nor hangs up); needs the native packet plane."""
    max_call_duration: float = Field(default=14_400.0, ge=0)
    """A call ends after so long; 0 never (s)."""
    history_size: int = Field(default=1_000, ge=0)
    """Ended calls that are remembered."""

    @property
    def calls(self) -> int:
        """`max_calls`, or what the machine is good for."""
        if self.max_calls is not None:
            return self.max_calls
        return max(100, min(500 * cpus(), memory_bytes() // _MEMORY_OF_A_CALL))

    @property
    def rate(self) -> float:
        """`calls_per_second`, or what the machine is good for: signalling uses one CPU, media the others."""
        if self.calls_per_second is not None:
            return self.calls_per_second
        return 100.0 if cpus() < 2 else 200.0

    @property
    def guests(self) -> int:
        """`guest_calls`, or half of all."""
        return self.calls // 2 if self.guest_calls is None else self.guest_calls


class LogConfig(Section):
    """What is logged; passwords, keys and tokens never are."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are written."""
    format: Literal["console", "json"] = "console"
    """"console" for people, "json" for machines, one object a line."""
    file: Path | None = None
    """File to append to; default: standard error."""
    max_line_length: int = Field(default=8_192, ge=256)
    """Longer lines are cut (characters)."""

    @field_validator("level", mode="before")
    @classmethod
    def _any_case(cls, level: Any) -> Any:
        return level.lower() if isinstance(level, str) else level


class MetricsConfig(Section):
    """Figures for Prometheus."""

    enabled: bool = False
    """Serve /metrics on the web address, to `sources`."""
    sources: tuple[NetworkValue, ...] = ("127.0.0.1/32", "::1/128")
    """Addresses and networks of Prometheus servers, as web.proxies pass them on; others get 403."""


class Config(BaseSettings):
    """Everything that can be set. `Config()` is the built-in default; `load` reads a file and the environment."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    version: int = Field(default=VERSION, ge=1)
    """Of the form of this file: one for a newer gateway is refused, an older form is still read."""
    domain: Text = "gateway.local"
    """SIP domain of the gateway: its users are sip:USER@DOMAIN."""
    also_domains: tuple[Text, ...] = ()
    """Further hosts, names and addresses, that mean this gateway in a SIP URI, beside `domain` and the addresses that
    SIP listens at or advertises: a DNS name of it, the public address of a NAT, an older domain."""
    state_dir: Path = Path(".gateway")
    """Folder of what the gateway keeps: the store and generated passwords; relative to the working directory."""
    sip: SipConfig = SipConfig()
    web: WebConfig = WebConfig()
    webrtc: WebRtcConfig = WebRtcConfig()
    rtp: RtpConfig = RtpConfig()
    codecs: CodecsConfig = CodecsConfig()
    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    video: VideoConfig = VideoConfig()
    users: tuple[UserConfig, ...] = ()
    """People and devices."""
    identity: IdentityConfig = IdentityConfig()
    cluster: ClusterConfig = ClusterConfig()
    routes: tuple[Route, ...] = (
        Route(match="600", to="service:echo"),
        Route(match="601", to="service:tone"),
    )
    """Where dialled numbers lead, the first that matches counts; what none matches is looked up among the users."""
    groups: tuple[GroupConfig, ...] = ()
    """Users who are called by one number."""
    rooms: tuple[RoomConfig, ...] = ()
    """Conference rooms with rules of their own; a route to room:NAME leads to any room."""
    conference: ConferenceConfig = ConferenceConfig()
    agents: tuple[AgentConfig, ...] = ()
    """Programs elsewhere that take calls over a WebSocket."""
    recording: RecordingConfig = RecordingConfig()
    voicemail: VoicemailConfig = VoicemailConfig()
    announcements: AnnouncementsConfig = AnnouncementsConfig()
    trunks: tuple[Trunk, ...] = ()
    """PBXs and providers."""
    accounts: AccountsConfig = AccountsConfig()
    emergency: EmergencyConfig = EmergencyConfig()
    messages: MessagesConfig = MessagesConfig()
    presence: PresenceConfig = PresenceConfig()
    limits: LimitsConfig = LimitsConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    cdr: CdrConfig = CdrConfig()
    hep: HepConfig = HepConfig()
    otel: OtelConfig = OtelConfig()
    media: MediaConfig = MediaConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back: `load` brings the environment in."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, data: Any) -> Any:
        return without_empty(data)

    @field_validator("domain")
    @classmethod
    def _host_name(cls, domain: str) -> str:
        return host(domain)

    @field_validator("also_domains")
    @classmethod
    def _host_names(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host(domain) for domain in domains)

    def registrar(self, named: str) -> Trunk | None:
        """The registrar that an account names, by name or by URI; None for one that is not listed."""
        return next((one for one in self.registrars if named in (one.name, one.uri)), None)

    @property
    def registrars(self) -> tuple[Trunk, ...]:
        """Where users' own accounts may be."""
        listed = self.accounts.registrars
        if not listed:
            return self.trunks
        return tuple(one for one in self.every_trunk if one.name in listed or one.uri in listed)

    @property
    def every_trunk(self) -> tuple[Trunk, ...]:
        """The trunks, and the registrars of accounts that are given by their URI alone."""
        known = {trunk.uri for trunk in self.trunks}
        others = dict.fromkeys(uri for uri in self.accounts.registrars if ":" in uri and uri not in known)
        return (*self.trunks, *(Trunk.at(uri) for uri in others))

    @property
    def realm(self) -> str:
        """Digest realm."""
        return self.sip.realm or self.domain

    @property
    def sqlite_path(self) -> Path | None:
        """File of the SQLite store, None when the store is another."""
        scheme, _, name = self.identity.store.partition(":")
        return self.state_dir / name if scheme == "sqlite" else None

    @property
    def emergency_trunk(self) -> str | None:
        """Name of the trunk that emergency numbers go through: the one that is named, or the only one."""
        if self.emergency.trunk is None and len(self.trunks) == 1:
            return self.trunks[0].name
        return self.emergency.trunk

    @property
    def sip_reachable(self) -> bool:
        """Return whether other machines reach SIP, as far as the configuration tells."""
        return bool(self.sip.proxies) or not all(is_loopback(one.host) for one in self.sip.listen)

    def identity_users(self) -> tuple[User, ...]:
        """The users as the identity room's values."""
        return tuple(user.user() for user in self.users)

    def identity_map(self) -> IdentityMap:
        """Users and rules as one map; raises ConfigError where they contradict each other."""
        rules = [Rule(rule.sip, rule.web) for rule in self.identity.rules]
        return IdentityMap(self.identity_users(), rules, self.domain)

    def digests(self) -> dict[str, dict[str, str]]:
        """User id -> HA1 by algorithm, of users whose password is not known."""
        return {user.id: user.ha1.by_algorithm for user in self.users if user.ha1 is not None}

    def passwords_wanted(self) -> dict[str, str | None]:
        """User id -> what the configuration says of the password: itself, "auto", or None for none."""
        secrets = {user.id: None if user.ha1 else user.password for user in self.users}
        return {name: None if secret is None else secret.get_secret_value() for name, secret in secrets.items()}
