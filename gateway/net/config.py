"""Settings of the SIP user agent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.net.connections import StreamLimits
from gateway.net.resolver import ResolverConfig
from gateway.net.tls import TlsFiles
from gateway.net.udp import UdpLimits
from gateway.sip.config import TRICKLE, CoreConfig
from gateway.sip.invite.session_timer import TimerPolicy
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.sip.transactions.config import StackConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAgentConfig:
    """Everything a UserAgent is told; each limit has a safe default."""

    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 5060),)
    """UDP addresses; port 0 takes any free one."""
    listen_tcp: tuple[tuple[str, int], ...] = ()
    """TCP addresses; without one only a URI that names TCP is called by it."""
    listen_tls: tuple[tuple[str, int], ...] = ()
    """TLS addresses; without one only a URI that names TLS (or is sips) is called by it."""
    tls: TlsFiles = field(default_factory=TlsFiles)
    """Our certificate, needed where `listen_tls` is not empty, and how those of peers are verified."""
    streams: StreamLimits = field(default_factory=StreamLimits)
    """Limits of TCP, TLS and WebSocket connections."""
    advertised: tuple[str, int | None] | None = None
    """Host and port that peers outside this machine are told; port None is the listener's."""
    domains: tuple[str, ...] = ()
    """Our own domains; the first one stands in From where a caller is given as a bare user."""
    user_agent: str = "sip-webrtc-gateway"
    stack: StackConfig = field(default_factory=StackConfig)
    """Transaction timers, parser limits, rate limits."""
    session_timer: TimerPolicy = field(default_factory=TimerPolicy)
    subscriptions: SubscriptionPolicy = field(default_factory=SubscriptionPolicy)
    """What is granted to those who subscribe outside calls."""
    sessions: int = 5_000
    """INVITE sessions at once."""
    longest_ringing: float = 300.0
    """Seconds."""
    answer_patience: float = 30.0
    """Seconds that our own side may take to answer what a peer asks in a call."""
    flow_grace: float = 5.0
    """Seconds that what ends or changes a call waits for a peer whose WebSocket is gone to connect again."""
    referral_time: float = 180.0
    """Seconds that the outcome of a REFER is waited for and told."""
    crossing_wait: float = 2.0
    """Seconds that an offer of the peer which crosses ours waits for our response; half of them at the called side of
    the dialog, so that of two gateways one answers first."""
    other_answers: float = 6.0
    """Seconds that another branch may take to answer behind a 2xx that cannot be used; at most 64*T1."""
    symmetric: bool = True
    """Requests to a caller behind NAT go where its INVITE came from."""
    trickle_ice: bool = True
    """Take ICE candidates by INFO, and say so (RFC 8840)."""
    hook_timeout: float = 10.0
    """Seconds that `Hooks.authenticate` and `Hooks.answer_register` may take; then 503."""
    close_timeout: float = 2.0
    """Seconds that `close` waits for BYE and CANCEL to be answered."""
    resolver: ResolverConfig = field(default_factory=ResolverConfig)
    udp: UdpLimits = field(default_factory=UdpLimits)

    @property
    def transports(self) -> tuple[str, ...]:
        """What we call by where a URI leaves that to us, preferred first."""
        there = (("udp", self.listen), ("tcp", self.listen_tcp), ("tls", self.listen_tls))
        return tuple(name for name, listening in there if listening)

    def names(self) -> ResolverConfig:
        """The resolver's settings, with the transports that we have."""
        return replace(self.resolver, transports=self.transports)

    def core(self) -> CoreConfig:
        """The part that the sans-IO core is told."""
        core = CoreConfig(
            stack=self.stack,
            user_agent=self.user_agent,
            session_timer=self.session_timer,
            subscriptions=self.subscriptions,
            sessions=self.sessions,
            longest_ringing=self.longest_ringing,
            answer_patience=self.answer_patience,
            flow_grace=self.flow_grace,
            referral_time=self.referral_time,
            crossing_wait=self.crossing_wait,
            other_answers=self.other_answers,
            large_by_tcp=bool(self.listen_tcp),
            symmetric=self.symmetric,
        )
        return core if self.trickle_ice else core.without(TRICKLE)
