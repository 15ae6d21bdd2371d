"""Settings of the user agent core."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.sip.invite.session_timer import TimerPolicy
from gateway.sip.subscription.policy import SubscriptionPolicy
from gateway.sip.transactions.config import StackConfig

TRICKLE = "trickle-ice"
"""Option tag and INFO package of RFC 8840."""
FROM_CHANGE = "from-change"
"""Option tag of RFC 4916: From may change within a dialog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreConfig:
    """Capabilities that the core advertises, and its limits."""

    stack: StackConfig = field(default_factory=StackConfig)
    user_agent: str = "sip-webrtc-gateway"
    """Value of User-Agent and Server; "" omits both."""
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
    """Option tags accepted in Require, lower case."""
    advertised_options: tuple[str, ...] = ("100rel", "timer", FROM_CHANGE)
    """Option tags in Supported of our INVITEs."""
    session_timer: TimerPolicy = field(default_factory=TimerPolicy)
    subscriptions: SubscriptionPolicy = field(default_factory=SubscriptionPolicy)
    """Expiry and number of subscriptions granted outside calls."""
    sessions: int = 5_000
    """Concurrent INVITE sessions; further INVITEs are answered 503."""
    longest_ringing: float = 300.0
    """Seconds until an unanswered incoming call is answered 480; 0 for never."""
    answer_patience: float = 30.0
    """Seconds that the application may take to answer a peer's offer, before the offer is rejected."""
    flow_grace: float = 5.0
    """Seconds that a BYE or a session change waits for a peer with a closed WebSocket to reconnect."""
    referral_time: float = 180.0
    """Seconds to wait for the outcome of a REFER and report it (RFC 3515 section 2.4.4)."""
    crossing_wait: float = 2.0
    """Seconds that a peer's offer crossing ours waits for our response. The called side of the dialog waits half, so
    that one of two gateways answers first."""
    other_answers: float = 6.0
    """Seconds that another branch may take to answer after a 2xx with an unusable answer; at most 64*T1."""
    info_packages: tuple[str, ...] = (TRICKLE, "infodtmf")
    """INFO packages delivered (RFC 6086, RFC 8840), lower case; others are answered 469."""
    large_by_tcp: bool = False
    """Send requests too large for UDP over TCP if their URI leaves the transport open (RFC 3261 18.1.1). Only for
    gateways that listen on TCP, so that the peer can answer in kind."""
    symmetric: bool = True
    """Send requests to a caller behind NAT to the source of its INVITE rather than to its Contact."""

    def without(self, extension: str) -> CoreConfig:
        """Return a copy of the settings without one extension."""

        def rest(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name != extension)

        return replace(self, supported=rest(self.supported), info_packages=rest(self.info_packages))
