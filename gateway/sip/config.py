"""Settings of the user agent core."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.sip.invite.session_timer import TimerPolicy
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.sip.transactions.config import StackConfig

TRICKLE = "trickle-ice"
"""Option tag and INFO package of RFC 8840."""
FROM_CHANGE = "from-change"
"""Option tag of RFC 4916: From may change in a dialog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreConfig:
    """What the core says of itself, and its limits."""

    stack: StackConfig = field(default_factory=StackConfig)
    user_agent: str = "sip-webrtc-gateway"
    """User-Agent and Server; "" leaves both out."""
    allow: tuple[str, ...] = (
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "OPTIONS",
        "INFO",
        "UPDATE",
        "PRACK",
        "REFER",
        "REGISTER",
        "SUBSCRIBE",
        "NOTIFY",
    )
    supported: tuple[str, ...] = (
        "100rel",
        "timer",
        "path",
        "outbound",
        "gruu",
        "norefersub",
        "replaces",
        "histinfo",
        FROM_CHANGE,
        TRICKLE,
    )
    """Option tags taken in Require, lower case."""
    advertised_options: tuple[str, ...] = ("100rel", "timer", FROM_CHANGE)
    """Option tags written into Supported of our INVITEs."""
    session_timer: TimerPolicy = field(default_factory=TimerPolicy)
    subscriptions: SubscriptionPolicy = field(default_factory=SubscriptionPolicy)
    """What is granted to those who subscribe outside calls."""
    sessions: int = 5_000
    """INVITE sessions at once; more are answered 503."""
    longest_ringing: float = 300.0
    """Seconds after which a call that nobody answers or rejects is answered 480; 0 for never."""
    answer_patience: float = 30.0
    """Seconds that our own side may take to answer an offer of the peer's, before it is refused for it."""
    flow_grace: float = 5.0
    """Seconds that a BYE, or a change of the session, waits for a peer whose WebSocket is gone to connect again."""
    referral_time: float = 180.0
    """Seconds that the outcome of a REFER is waited for and told (RFC 3515 section 2.4.4)."""
    crossing_wait: float = 2.0
    """Seconds that an offer of the peer which crosses ours waits for our response; half of them at the called side of
    the dialog, so that of two gateways one answers first."""
    other_answers: float = 6.0
    """Seconds that another branch may take to answer behind a 2xx that cannot be used; at most 64*T1."""
    info_packages: tuple[str, ...] = (TRICKLE, "infodtmf")
    """INFO packages that are delivered (RFC 6086, RFC 8840), in lower case; others are answered 469."""
    large_by_tcp: bool = False
    """Whether requests that are too large for UDP go by TCP where their URI leaves that to us (RFC 3261 18.1.1); for
    who listens on TCP himself, so that the peer can answer in kind."""
    symmetric: bool = True
    """Whether requests to a caller behind NAT go to where its INVITE came from rather than to its Contact."""

    def without(self, extension: str) -> CoreConfig:
        """The same, with an extension neither taken nor named."""

        def rest(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name != extension)

        return replace(self, supported=rest(self.supported), info_packages=rest(self.info_packages))
