"""Complete configuration, with values that depend on several sections."""

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
"""Version of the configuration format, raised when a key is removed or changes its meaning."""
_MEMORY_OF_A_CALL = 4 * 1024**2
"""Bytes of memory per call for the default of limits.max_calls; most of it serves other purposes."""


class OpusConfig(Section):
    """Opus encoder settings for transcoded calls."""

    complexity: int = Field(default=5, ge=0, le=10)
    """Effort of the encoder: 0 is cheapest, 10 sounds best."""
    bitrate: int = Field(default=32_000, ge=6_000, le=510_000)
    """Bits per second."""


class CodecsConfig(Section):
    """Codecs offered to each side, best first; a common codec is passed through unchanged."""

    webrtc: tuple[Codec, ...] = Field(default=("opus", "g722", "pcmu", "pcma"), min_length=1)
    """Codecs toward browsers."""
    rtp: tuple[Codec, ...] = Field(default=("opus", "g722", "pcmu", "pcma"), min_length=1)
    """Codecs toward phones and trunks."""
    passed: tuple[Text, ...] = ("g729", "g723", "ilbc", "gsm", "amr", "amr-wb")
    """Codecs passed unchanged between phones that both support them; never transcoded."""
    telephone_event: bool = True
    """Offer DTMF as RFC 4733 events."""
    transcode: bool = True
    """Transcode between sides without a common codec; false rejects such calls with 488."""
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
    """Video: forwarded unchanged between sides with a common codec."""

    codecs: tuple[VideoCodec, ...] = ("vp8", "h264", "vp9", "av1")
    """Codecs passed; `[]`: video is rejected, and the call continues without."""
    max_bitrate: int = Field(default=2_500_000, ge=100_000, le=50_000_000)
    """Highest bitrate requested from a browser (bits per second); a lower limit of the other side takes precedence."""
    max_packets_per_second: int = Field(default=1000, ge=50, le=10_000)
    """Video packets per second accepted from one phone, and from one browser in addition to its audio."""
    dscp: int = Field(default=34, ge=0, le=63)
    """DSCP of video toward phones (RFC 2474); 34 is AF41."""
    kept_packets: int = Field(default=256, ge=0, le=1024)
    """Packets toward each browser kept for retransmission (1,424 bytes each); 0: none."""
    key_frame_interval: float = Field(default=0.5, ge=0.1, le=10)
    """Shortest interval between key frame requests to one peer (s)."""


class LimitsConfig(Section):
    """Capacity limits; beyond these, calls are rejected with 503."""

    max_calls: int | None = Field(default=None, ge=1)
    """Concurrent calls; default: 500 per CPU of the machine, limited by memory (4 MB per call)."""
    calls_per_second: float | None = Field(default=None, gt=0)
    """New calls per second; default: 100, or 200 with two or more CPUs."""
    max_callees: int = Field(default=16, ge=1, le=1_000)
    """Callees ringing at once for one call; further callees are skipped."""
    load: float = Field(default=0.95, ge=0, le=1)
    """Share of time that the event loop may be busy after a delay (`delay`), before new calls are answered 503; 0:
    no check of load and delay."""
    delay: float = Field(default=0.25, gt=0, le=60)
    """Longest delay of messages and timers by the event loop, sustained for a second, before new calls are answered
    503 (s)."""
    plane_load: float = Field(default=0.9, ge=0, lt=1)
    """Share of time that the least busy thread of the native packet plane may work before fewer new calls are
    accepted, and none at full load; 0: no check."""
    store_delay: float = Field(default=0.5, ge=0, le=60)
    """Median response time of the store on behalf of calls, above which new calls are answered 503 (s); 0: no check."""
    guest_calls: int | None = Field(default=None, ge=0)
    """Concurrent calls of guests; default: half of max_calls, to reserve the rest for users with an account."""
    guest_calls_per_source: int = Field(default=10, ge=1)
    """Concurrent calls of guests from one source (an IPv4 address, a /64 of IPv6)."""
    prefix_length: int = Field(default=6, ge=1, le=32)
    """Leading characters by which outgoing trunk numbers count as similar (toll fraud)."""
    prefix_calls_per_hour: int = Field(default=200, ge=0)
    """Calls of one user per hour through trunks to similar numbers; further calls get 503. 0: no limit."""
    ladder_memory: int = Field(default=8_388_608, ge=0, le=1_073_741_824)
    """Memory for messages of the latest calls, shown on /admin (bytes); 0: none."""
    reattach_time: float = Field(default=30.0, ge=0, le=600)
    """Time for which a call waits for a vanished client (reload, lost connection) to return (s)."""
    drain_timeout: float = Field(default=60.0, ge=0)
    """Time for which active calls may continue after SIGTERM (s)."""
    keep_calls: Literal["never", "crash", "restart"] = "crash"
    """Calls resumed by the next process: after a crash only, or also after SIGTERM (which then neither waits nor
    hangs up); needs the native packet plane."""
    max_call_duration: float = Field(default=14_400.0, ge=0)
    """Longest call; 0: unlimited (s)."""
    history_size: int = Field(default=1_000, ge=0)
    """Ended calls remembered."""

    @property
    def calls(self) -> int:
        """Return `max_calls`, or a value for the machine."""
        if self.max_calls is not None:
            return self.max_calls
        return max(100, min(500 * cpus(), memory_bytes() // _MEMORY_OF_A_CALL))

    @property
    def rate(self) -> float:
        """Return `calls_per_second`, or a value for the machine: signalling uses one CPU, media the others."""
        if self.calls_per_second is not None:
            return self.calls_per_second
        return 100.0 if cpus() < 2 else 200.0

    @property
    def guests(self) -> int:
        """Return `guest_calls`, or half of all calls."""
        return self.calls // 2 if self.guest_calls is None else self.guest_calls


class LogConfig(Section):
    """Logging; passwords, keys and tokens are never logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest severity of logged messages."""
    format: Literal["console", "json"] = "console"
    """"console" for people, "json" for machines, one object per line."""
    file: Path | None = None
    """File to append to; default: standard error."""
    max_line_length: int = Field(default=8_192, ge=256)
    """Longest line in characters; longer lines are cut."""

    @field_validator("level", mode="before")
    @classmethod
    def _any_case(cls, level: Any) -> Any:
        return level.lower() if isinstance(level, str) else level


class MetricsConfig(Section):
    """Metrics for Prometheus."""

    enabled: bool = False
    """Serve /metrics on the web address, to `sources`."""
    sources: tuple[NetworkValue, ...] = ("127.0.0.1/32", "::1/128")
    """Addresses and networks of Prometheus servers, as forwarded by web.proxies; others get 403."""


class Config(BaseSettings):
    """Complete configuration. `Config()` holds the built-in defaults; `load` reads a file and the environment."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    version: int = Field(default=VERSION, ge=1)
    """Version of the file's format: a newer version is rejected, older versions are still read."""
    domain: Text = "gateway.local"
    """SIP domain of the gateway: its users are sip:USER@DOMAIN."""
    also_domains: tuple[Text, ...] = ()
    """Further host names and addresses of the gateway in SIP URIs, in addition to `domain` and its SIP addresses: a
    DNS name, the public address of a NAT, an older domain."""
    state_dir: Path = Path(".gateway")
    """Folder of the gateway's data: the store and generated passwords; relative to the working directory."""
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
    """Destinations of dialled numbers, the first match counts; other numbers are looked up among the users."""
    groups: tuple[GroupConfig, ...] = ()
    """Users called by one number."""
    rooms: tuple[RoomConfig, ...] = ()
    """Conference rooms with their own settings; a route to room:NAME leads to any room."""
    conference: ConferenceConfig = ConferenceConfig()
    agents: tuple[AgentConfig, ...] = ()
    """External programs that take calls over a WebSocket."""
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
        """Return only the given values: `load` applies the environment explicitly."""
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
        """Return the registrar named by an account, by name or URI; None if not listed."""
        return next((one for one in self.registrars if named in (one.name, one.uri)), None)

    @property
    def registrars(self) -> tuple[Trunk, ...]:
        """Return the registrars allowed for accounts."""
        listed = self.accounts.registrars
        if not listed:
            return self.trunks
        return tuple(one for one in self.every_trunk if one.name in listed or one.uri in listed)

    @property
    def every_trunk(self) -> tuple[Trunk, ...]:
        """Return the trunks, and the registrars of accounts given only by URI."""
        known = {trunk.uri for trunk in self.trunks}
        others = dict.fromkeys(uri for uri in self.accounts.registrars if ":" in uri and uri not in known)
        return (*self.trunks, *(Trunk.at(uri) for uri in others))

    @property
    def realm(self) -> str:
        """Return the digest realm."""
        return self.sip.realm or self.domain

    @property
    def sqlite_path(self) -> Path | None:
        """Return the file of the SQLite store, None for another store."""
        scheme, _, name = self.identity.store.partition(":")
        return self.state_dir / name if scheme == "sqlite" else None

    @property
    def emergency_trunk(self) -> str | None:
        """Return the name of the trunk for emergency numbers: the configured one, or the only one."""
        if self.emergency.trunk is None and len(self.trunks) == 1:
            return self.trunks[0].name
        return self.emergency.trunk

    @property
    def sip_reachable(self) -> bool:
        """Return True if other machines reach SIP, as far as configured."""
        return bool(self.sip.proxies) or not all(is_loopback(one.host) for one in self.sip.listen)

    def identity_users(self) -> tuple[User, ...]:
        """Return the users as values of the identity room."""
        return tuple(user.user() for user in self.users)

    def identity_map(self) -> IdentityMap:
        """Return users and rules as one map; raise ConfigError for contradictions."""
        rules = [Rule(rule.sip, rule.web) for rule in self.identity.rules]
        return IdentityMap(self.identity_users(), rules, self.domain)

    def digests(self) -> dict[str, dict[str, str]]:
        """Return user id -> HA1 by algorithm, for users with unknown password."""
        return {user.id: user.ha1.by_algorithm for user in self.users if user.ha1 is not None}

    def passwords_wanted(self) -> dict[str, str | None]:
        """Return user id -> configured password: the password itself, "auto", or None for none."""
        secrets = {user.id: None if user.ha1 else user.password for user in self.users}
        return {name: None if secret is None else secret.get_secret_value() for name, secret in secrets.items()}
