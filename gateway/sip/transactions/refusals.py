"""Calls refused for lack of room or time: later messages start nothing and cost little."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import Final

from gateway.sip.flow import Flow
from gateway.sip.message.message import Request
from gateway.sip.transactions.via import server_key

_ACK: Final = re.compile(
    rb"ACK [^\r\n]+\r\n(?:via|v)[ \t]*:[ \t]*SIP/2\.0/[A-Z]+[ \t]+([^][\s:;,]+|\[[^][\s;,]*\])(?::(\d{1,5}))?[ \t]*"
    rb";(?:[^\r\n,]*;)?[ \t]*branch=(z9hG4bK[^\r\n;, \t]+)",
    re.IGNORECASE,
)
"""ACK with Via as its first header, as nearly all write it: sent-by and branch. Other ACKs are parsed fully."""
_READ: Final = 700
"""Octets of a presumed ACK examined here, before the source's rate limit applies."""
_MOST: Final = 10_000
_NONE: Final = (-math.inf, "")
_LIFETIME: Final = 32.0
"""Seconds for which an unanswered INVITE is retransmitted (RFC 3261 17.1.1.2, 64*T1)."""


class Refusals:
    """Refused INVITEs by transaction key (RFC 3261 17.2.3) and source; nothing else is kept (8.2.7)."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: OrderedDict[int, tuple[float, str]] = OrderedDict()
        """Expiry and Reason by hash, as a stranger's values may be long."""

    def __len__(self) -> int:
        return len(self._until)

    def add(self, invite: Request, source: Flow, now: float, reason: str) -> None:
        """Record a refusal at `now` (monotonic seconds); the oldest is dropped beyond the limit."""
        key = hash((server_key(invite), source.host))
        self._until[key] = now + _LIFETIME, reason
        self._until.move_to_end(key)
        if len(self._until) > _MOST:
            self._until.popitem(last=False)

    def reason(self, invite: Request, source: Flow, now: float) -> str | None:
        """Return the Reason of an earlier copy's refusal, as the sender has given the call up; None without refusal."""
        until, reason = self._until.get(hash((server_key(invite), source.host)), _NONE)
        return reason if until > now else None

    def is_ack(self, data: bytes, source: Flow, now: float) -> bool:
        """Return True for an ACK of a refusal, which needs no processing."""
        if not (self._until and data.startswith(b"ACK ")):
            return False
        while self._until and next(iter(self._until.values()))[0] <= now:
            self._until.popitem(last=False)
        match = _ACK.match(data, 0, _READ)
        if match is None:
            return False
        host, port, branch = match.groups()
        key = (branch.decode("latin-1"), host.decode("latin-1").lower(), port and int(port), "INVITE")
        return self._until.get(hash((key, source.host)), _NONE)[0] > now
