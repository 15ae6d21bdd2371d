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
    """Settings of a UserAgent; each limit has a safe default."""

    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 5060),)
    """UDP addresses; port 0 takes any free port."""
    listen_tcp: tuple[tuple[str, int], ...] = ()
    """TCP addresses; without any, only a URI with transport=tcp is called over TCP."""
    listen_tls: tuple[tuple[str, int], ...] = ()
    """TLS addresses; without any, only a sips URI or a URI with transport=tls is called over TLS."""
    tls: TlsFiles = field(default_factory=TlsFiles)
    """Certificate of the gateway, required with `listen_tls`, and the rules for verifying peers."""
    streams: StreamLimits = field(default_factory=StreamLimits)
    """Limits of TCP, TLS and WebSocket connections."""
    advertised: tuple[str, int | None] | None = None
    """Host and port announced to peers outside this machine; port None means the port of the listener."""
    domains: tuple[str, ...] = ()
    """Domains of the gateway; the first goes into From where a caller is given as a bare user."""
    user_agent: str = "sip-webrtc-gateway"
    stack: StackConfig = field(default_factory=StackConfig)
    """Transaction timers, parser limits, rate limits."""
    session_timer: TimerPolicy = field(default_factory=TimerPolicy)
    subscriptions: SubscriptionPolicy = field(default_factory=SubscriptionPolicy)
    """Expiry and number of subscriptions granted outside calls."""
    sessions: int = 5_000
    """Largest number of concurrent INVITE sessions."""
    longest_ringing: float = 300.0
    """Seconds before an unanswered INVITE is ended."""
    answer_patience: float = 30.0
    """Seconds for the application to answer a peer's request within a call."""
    flow_grace: float = 5.0
    """Seconds to hold a BYE, re-INVITE or other request in a call for a peer whose WebSocket has closed to connect
    again.
    """
    referral_time: float = 180.0
    """Seconds to wait for the outcome of a REFER and to report it to the referrer."""
    crossing_wait: float = 2.0
    """Seconds that a peer's offer waits for the answer to a crossing offer of ours. The called side of the dialog waits
    half as long, so that one of two gateways answers first.
    """
    other_answers: float = 6.0
    """Seconds for further branches to answer after an unusable 2xx; at most 64*T1."""
    symmetric: bool = True
    """Send requests to a caller behind NAT to the source address of its INVITE."""
    trickle_ice: bool = True
    """Accept ICE candidates by INFO and announce support (RFC 8840)."""
    hook_timeout: float = 10.0
    """Seconds for `Hooks.authenticate` and `Hooks.answer_register`; then the answer is 503."""
    close_timeout: float = 2.0
    """Seconds that `close` waits for answers to BYE and CANCEL."""
    resolver: ResolverConfig = field(default_factory=ResolverConfig)
    udp: UdpLimits = field(default_factory=UdpLimits)

    @property
    def transports(self) -> tuple[str, ...]:
        """Transports in order of preference, for a URI without a transport parameter."""
        there = (("udp", self.listen), ("tcp", self.listen_tcp), ("tls", self.listen_tls))
        return tuple(name for name, listening in there if listening)

    def names(self) -> ResolverConfig:
        """Return the resolver's settings with the transports of this user agent."""
        return replace(self.resolver, transports=self.transports)

    def core(self) -> CoreConfig:
        """Return the settings of the sans-IO core."""
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
