"""asyncio shell of the SIP core: sockets, resolver, user agent."""

from __future__ import annotations

from gateway.net.config import UserAgentConfig
from gateway.net.invite_session import (
    Accepted,
    Answered,
    Confirmed,
    Credentials,
    Ended,
    Failed,
    IncomingSession,
    InfoReceived,
    InviteSession,
    OutgoingSession,
    Provisional,
    Refused,
    Reoffer,
    ReofferAnswered,
    Reply,
    SessionEvent,
    SessionHandler,
    Verdict,
)
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.net.user_agent import Hooks, UserAgent
from gateway.sip.flow import Flow

__all__ = [
    "Accepted",
    "Answered",
    "Confirmed",
    "Credentials",
    "Ended",
    "Failed",
    "Flow",
    "Hooks",
    "IncomingSession",
    "InfoReceived",
    "InviteSession",
    "OutgoingSession",
    "Provisional",
    "Refused",
    "Registration",
    "RegistrationPolicy",
    "Reoffer",
    "ReofferAnswered",
    "Reply",
    "SessionEvent",
    "SessionHandler",
    "UserAgent",
    "UserAgentConfig",
    "Verdict",
]
