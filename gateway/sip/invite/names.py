"""Identity of a session's peer and its changes (RFC 4916, RFC 3325)."""

from __future__ import annotations

from gateway.sip.message.addresses import NameAddr
from gateway.sip.message.message import Message, Response


class PeerNames:
    """Peer's latest From (To in responses) and asserted identity."""

    def __init__(self) -> None:
        self._own: NameAddr | None = None
        self._asserted: NameAddr | None = None

    def take(self, message: Message) -> bool:
        """Record the identity in a peer's message. Return True on a change; for the first message, if it asserts an
        identity.

        A message without assertion revokes nothing.
        """
        known = (self._own, self._asserted)
        self._own = message.to if isinstance(message, Response) else message.from_
        if message.asserted_identity:
            self._asserted = message.asserted_identity[0]
        return (known[0] or self._own, known[1]) != (self._own, self._asserted)
