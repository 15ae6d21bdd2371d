"""asyncio shell of the SIP core: sockets, resolver, user agent."""

from __future__ import annotations

from gateway.net.config import UserAgentConfig
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.net.shell import Hooks
from gateway.net.tap import Direction, MessageTap
from gateway.net.user_agent import UserAgent
from gateway.sip.auth.account import Credentials
from gateway.sip.flow import Flow
from gateway.sip.invite.events import (
    Accepted,
    Answered,
    Confirmed,
    Ended,
    Failed,
    FlowLost,
    InfoReceived,
    OfferAnswered,
    OfferCancelled,
    Offered,
    Provisional,
    Refused,
    Reply,
    SessionEvent,
    SessionHandler,
    Verdict,
)
from gateway.sip.invite.incoming import IncomingSession
from gateway.sip.invite.outgoing import OutgoingSession
from gateway.sip.invite.session import InviteSession

__all__ = [
    "Accepted",
    "Answered",
    "Confirmed",
    "Credentials",
    "Direction",
    "Ended",
    "Failed",
    "Flow",
    "FlowLost",
    "Hooks",
    "IncomingSession",
    "InfoReceived",
    "InviteSession",
    "MessageTap",
    "OfferAnswered",
    "OfferCancelled",
    "Offered",
    "OutgoingSession",
    "Provisional",
    "Refused",
    "Registration",
    "RegistrationPolicy",
    "Reply",
    "SessionEvent",
    "SessionHandler",
    "UserAgent",
    "UserAgentConfig",
    "Verdict",
]
