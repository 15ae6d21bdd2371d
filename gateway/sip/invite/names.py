"""Who the peer of a session says it is, and when that is news (RFC 4916, RFC 3325)."""

from __future__ import annotations

from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Message, Response


class PeerNames:
    """From, and what was asserted last, as the peer has said them."""

    def __init__(self) -> None:
        self._own: NameAddr | None = None
        self._asserted: NameAddr | None = None

    def take(self, message: Message) -> bool:
        """Keep what a message of the peer says; whether that is not what was known, of the first: whether it asserts.

        A message that asserts nothing takes nothing back.
        """
        known = (self._own, self._asserted)
        self._own = message.to if isinstance(message, Response) else message.from_
        if message.asserted_identity:
            self._asserted = message.asserted_identity[0]
        return (known[0] or self._own, known[1]) != (self._own, self._asserted)
