"""SIP without I/O: bytes and time in; bytes, events and one deadline out.

Names exported here are the interface for programs outside the package; docs/api.md lists them.
"""

from __future__ import annotations

from gateway.sip import locate
from gateway.sip.auth.account import Credentials
from gateway.sip.auth.client import ClientCredentials, DigestClient
from gateway.sip.auth.server import Checked, DigestResult, DigestServer, NoncePolicy, ha1_of
from gateway.sip.config import CoreConfig
from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.errors import DialogError, SipBuildError, SipError, SipSyntaxError
from gateway.sip.flow import Flow
from gateway.sip.message import build
from gateway.sip.message.addresses import NameAddr, Via
from gateway.sip.message.build import error_response
from gateway.sip.message.fields import Headers
from gateway.sip.message.message import Message, Request, Response
from gateway.sip.message.multipart import BodyLimits, Part, find_part, parts_of, write_multipart
from gateway.sip.message.parser import Limits, parse_message
from gateway.sip.message.uri import Uri
from gateway.sip.message.values import MediaType, Replaces
from gateway.sip.registration.registrar import Changes, RegistrarPolicy, decide, ok_fields
from gateway.sip.transactions import Timers
from gateway.sip.transactions.config import StackConfig
from gateway.sip.transactions.via import COOKIE, stamp

__all__ = [
    "COOKIE",
    "BodyLimits",
    "Changes",
    "Checked",
    "ClientCredentials",
    "CoreConfig",
    "Credentials",
    "Dialog",
    "DialogError",
    "DigestClient",
    "DigestResult",
    "DigestServer",
    "Flow",
    "Headers",
    "Limits",
    "MediaType",
    "Message",
    "NameAddr",
    "NoncePolicy",
    "Part",
    "RegistrarPolicy",
    "Replaces",
    "Request",
    "Response",
    "SipBuildError",
    "SipError",
    "SipSyntaxError",
    "StackConfig",
    "Timers",
    "Uri",
    "Via",
    "build",
    "decide",
    "error_response",
    "find_part",
    "ha1_of",
    "locate",
    "ok_fields",
    "parse_message",
    "parts_of",
    "stamp",
    "write_multipart",
]
