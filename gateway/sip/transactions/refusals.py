"""New calls that were refused for want of room or time: what still comes of them begins nothing and costs little."""

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
"""An ACK whose first header is its Via, as nearly all write it: sent-by and branch. Of others every octet is read."""
_READ: Final = 700
"""Octets of what looks like an ACK that are looked at: at what rate its source may send is asked later."""
_MOST: Final = 10_000
_NONE: Final = (-math.inf, "")
_LIFETIME: Final = 32.0
"""Seconds for which an INVITE is sent again that nobody answers (RFC 3261 17.1.1.2, 64*T1)."""


class Refusals:
    """By what tells one INVITE from another (RFC 3261 17.2.3) and its source; no more of it is kept (8.2.7)."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: OrderedDict[int, tuple[float, str]] = OrderedDict()
        """End of life and Reason by a hash, for what a stranger writes there may be long."""

    def __len__(self) -> int:
        return len(self._until)

    def add(self, invite: Request, source: Flow, now: float, reason: str) -> None:
        """It is refused at `now` (monotonic seconds); the oldest is forgotten where there are too many."""
        key = hash((server_key(invite), source.host))
        self._until[key] = now + _LIFETIME, reason
        self._until.move_to_end(key)
        if len(self._until) > _MOST:
            self._until.popitem(last=False)

    def reason(self, invite: Request, source: Flow, now: float) -> str | None:
        """Return the Reason by which an earlier copy was refused: its sender has given up that call; None: none was."""
        until, reason = self._until.get(hash((server_key(invite), source.host)), _NONE)
        return reason if until > now else None

    def is_ack(self, data: bytes, source: Flow, now: float) -> bool:
        """Whether it acknowledges a refusal, after which there is nothing to do."""
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
