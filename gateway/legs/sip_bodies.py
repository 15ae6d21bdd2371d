"""SIP bodies and header fields as legs read and write them: descriptions, digits, reasons."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from gateway.call.leg import Rejected
from gateway.call.status import Cause, cause_of_status, cause_of_word
from gateway.media.engine import Kind
from gateway.plain import plain_name
from gateway.sip.errors import SipSyntaxError
from gateway.sip.invite.events import Failed
from gateway.sip.message.values import TokenParams, retry_after

V = TypeVar("V")

_AUDIO = re.compile(r"^m=audio [0-9/]+ ([A-Za-z/]+)", re.MULTILINE)
_SIGNAL = re.compile(r"^\s*Signal\s*=\s*([0-9A-D*#])\s*$", re.MULTILINE | re.IGNORECASE)
_DURATION = re.compile(r"^\s*Duration\s*=\s*([0-9]{1,5})\s*$", re.MULTILINE | re.IGNORECASE)
_UFRAG = re.compile(r"^a=ice-ufrag:(\S+)", re.MULTILINE)
_PASSWORD = re.compile(r"^a=ice-pwd:(\S+)", re.MULTILINE)
_PRINT = "\na=fingerprint:"
_DIGITS = "0123456789ABCD*#"
_LONGEST_WORDS = 256
"""Largest length in characters of a far end's reason text."""
_DEFAULT_MS, _SHORTEST_MS, _LONGEST_MS = 160, 40, 5000


def text_of(body: bytes | None) -> str:
    """Return a body as text; octets outside UTF-8 become U+FFFD, which the SDP parser refuses."""
    return (body or b"").decode("utf-8", "replace")


def kind_of(sdp: str) -> Kind:
    """Return the transport kind of a description's first audio line; nonsense counts as RTP and is refused later."""
    found = _AUDIO.search(sdp)
    protocol = found[1].upper() if found else ""
    has_keys = "\na=crypto:" in sdp
    if protocol.startswith("UDP/TLS/") or (protocol.startswith("RTP/SAVP") and not has_keys and _PRINT in sdp):
        return Kind.WEBRTC if _UFRAG.search(sdp) else Kind.DTLS
    if protocol.startswith("RTP/SAVP"):
        return Kind.SDES
    return Kind.BEST_EFFORT if has_keys else Kind.RTP


def ice_session_of(sdp: str) -> tuple[str, str] | None:
    """Return ice-ufrag and ice-pwd, the first of each, of a description; None if absent."""
    ufrag, password = _UFRAG.search(sdp), _PASSWORD.search(sdp)
    return (ufrag[1], password[1]) if ufrag and password else None


MEDIA_CONTROL = "application/media_control+xml"
"""Content type of INFO requests for a key frame (RFC 5168)."""
KEY_FRAME_BODY = (
    b'<?xml version="1.0" encoding="utf-8"?>'
    b"<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>"
)
_FAST_UPDATE = re.compile(rb"<\s*(?:\w+:)?picture_fast_update\s*/?\s*>")


def asks_for_key_frame(body: bytes) -> bool:
    """Return True if a media_control document holds picture_fast_update, the only command (RFC 5168 section 4)."""
    return _FAST_UPDATE.search(body[:2048]) is not None


DIGIT_TYPES = ("application/dtmf-relay", "application/dtmf")
"""Content types of INFO bodies with a digit, the more common first."""


def digit_of(content_type: str, body: bytes) -> tuple[str, int] | None:
    """Return (digit, milliseconds) of an INFO body: application/dtmf-relay ("Signal=5") or application/dtmf ("5")."""
    text = body[:256].decode("ascii", "replace")
    if content_type == "application/dtmf-relay":
        signal, duration = _SIGNAL.search(text), _DURATION.search(text)
        wanted = int(duration[1]) if duration else _DEFAULT_MS
        return (signal[1].upper(), min(max(wanted, _SHORTEST_MS), _LONGEST_MS)) if signal else None
    digit = text.strip().upper()
    return (digit, _DEFAULT_MS) if len(digit) == 1 and digit in _DIGITS else None


def digit_body(content_type: str, digit: str, duration_ms: int) -> bytes:
    """Return the INFO body of a content type for a digit."""
    if content_type == "application/dtmf":
        return digit.encode()
    return f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode()


def reason_of(cause: Cause, detail: str = "") -> str:
    """Return a Reason value (RFC 3326); ELSEWHERE is the SIP status 200 of its section 3.1."""
    if cause is Cause.ELSEWHERE:
        return 'SIP;cause=200;text="Call completed elsewhere"'
    text = f"{cause.word}: {detail}" if detail else cause.word
    return f'Q.850;cause={cause.q850};text="{_unquotable(text)}"'


def _unquotable(text: str) -> str:
    """Return `text` without quotes, backslashes and unprintable characters (RFC 3261 section 25.1)."""
    return "".join(letter for letter in text if letter.isprintable() and letter not in '"\\')


_BY_Q850 = {
    1: Cause.NOT_FOUND,
    16: Cause.NORMAL,
    17: Cause.BUSY,
    18: Cause.NO_ANSWER,
    19: Cause.NO_ANSWER,
    20: Cause.UNAVAILABLE,
    21: Cause.DECLINED,
    26: Cause.ELSEWHERE,
    27: Cause.UNREACHABLE,
    34: Cause.LINE_FULL,
    38: Cause.PEER_ERROR,
    42: Cause.OVERLOADED,
    44: Cause.LIMIT,
    88: Cause.NOT_ACCEPTABLE,
}


def words_of(event: Failed) -> str:
    """Return status, reason phrase and Warning of a rejection, as received."""
    words = " ".join([str(event.status), event.reason, *event.headers.all("Warning")])
    return plain_name(words, _LONGEST_WORDS)


def refusal(event: Failed, *, of_gateway: bool) -> Rejected:
    """Return the rejection for a final response. Gateways of the cluster also give their cause and Retry-After."""
    status, headers, words = event.status, event.headers, words_of(event)
    cause = cause_of_status(status)
    if not of_gateway:
        return Rejected(cause, said=words)
    wait = _read(retry_after, headers.get("Retry-After"))
    if wait is not None and status == Cause.OUT_OF_SERVICE.status:
        cause = Cause.OUT_OF_SERVICE
    for reason in _read(TokenParams.parse_list, headers.get("Reason")) or ():
        named = cause_of_word((reason.param("text") or "").partition(":")[0])
        if named.status == status:
            cause = named
    return Rejected(cause, wait, words)


def _read(parse: Callable[[str], V], text: str | None) -> V | None:
    """Return the parsed value, or None if malformed: optional values never decide a call."""
    try:
        return parse(text) if text is not None else None
    except SipSyntaxError:
        return None


def cause_of_q850(cause: int) -> Cause:
    """Return the cause for a Q.850 number; numbers without a cause of their own count as a normal end."""
    return _BY_Q850.get(cause, Cause.NORMAL)
