"""INVITE sessions under the name their users import: handles, events, verdicts."""

from __future__ import annotations

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
    "IncomingSession",
    "InfoReceived",
    "InviteSession",
    "OutgoingSession",
    "Provisional",
    "Refused",
    "Reoffer",
    "ReofferAnswered",
    "Reply",
    "SessionEvent",
    "SessionHandler",
    "Verdict",
]
