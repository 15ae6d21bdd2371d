"""asyncio shell of the SIP core: sockets, resolver, user agent."""

from __future__ import annotations

from gateway.net.config import UserAgentConfig
from gateway.net.registration import Registration, RegistrationPolicy
from gateway.net.user_agent import Hooks, UserAgent
from gateway.sip.flow import Flow
from gateway.sip.user_agent.authenticator import Credentials
from gateway.sip.user_agent.events import (
    Accepted,
    Answered,
    Confirmed,
    Ended,
    Failed,
    InfoReceived,
    Provisional,
    Refused,
    Reoffer,
    ReofferAnswered,
    Reply,
    SessionEvent,
    SessionHandler,
    Verdict,
)
from gateway.sip.user_agent.session import InviteSession
from gateway.sip.user_agent.session_uac import OutgoingSession
from gateway.sip.user_agent.session_uas import IncomingSession

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
