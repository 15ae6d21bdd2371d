"""New calls that were refused for want of room or time: what still comes of them begins nothing and costs little."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Final

from gateway.sip.flow import Flow
from gateway.sip.message.message import Request
from gateway.sip.transactions.via import COOKIE

_ACK: Final = re.compile(
    rb"ACK [^\r\n]+\r\n(?:via|v)[ \t]*:[^\r\n,]*;[ \t]*branch=(z9hG4bK[^\r\n;, \t]+)", re.IGNORECASE
)
"""An ACK whose first header is its Via, as nearly all write it; of the others every octet is read."""
_MOST: Final = 10_000
_LIFETIME: Final = 32.0
"""Seconds for which an INVITE is sent again that nobody answers (RFC 3261 17.1.1.2, 64*T1)."""


class Refusals:
    """By where an INVITE came from and its branch; nothing else of it is kept (RFC 3261 8.2.7)."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, invite: Request, source: Flow, now: float) -> None:
        """It is refused at `now` (monotonic seconds); the oldest is forgotten where there are too many."""
        branch = invite.branch or ""
        if not branch.startswith(COOKIE) or branch == COOKIE:
            return  # only the cookie says that no other request has this branch (RFC 3261 8.1.1.7)
        key = (source.host, branch)
        self._until[key] = now + _LIFETIME
        self._until.move_to_end(key)
        if len(self._until) > _MOST:
            self._until.popitem(last=False)

    def has(self, invite: Request, source: Flow, now: float) -> bool:
        """Whether it was refused: another copy of it was on its way, and whoever sent it has given up that call."""
        return self._until.get((source.host, invite.branch or ""), now) > now

    def is_ack(self, data: bytes, source: Flow, now: float) -> bool:
        """Whether it acknowledges a refusal, after which there is nothing to do."""
        if not (self._until and data.startswith(b"ACK ")):
            return False
        match = _ACK.match(data)
        return match is not None and self._until.get((source.host, match[1].decode("latin-1")), now) > now
