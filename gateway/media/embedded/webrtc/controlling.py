"""ICE toward a lite peer, which sends no checks: ours prove a pair, nominate it and keep its consent. Sans-IO.

RFC 8445 sections 7.2 and 8.1.1, RFC 7675.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.media.embedded.plane.values import Address
from gateway.media.embedded.webrtc.stun import Message

AGAIN = 0.5
"""Seconds between two checks that nominate."""
CONSENT_EVERY = 5.0
"""Seconds between two checks of the nominated pair, give or take a fifth (RFC 7675 section 5.1)."""
MOST_OPEN = 128
"""Checks whose responses are waited for: more than a leg sends in a second."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A check that waits for its response."""

    path: int
    address: Address
    nominates: bool


class Control:
    """Checks of one leg that are under way, and the time of the next one of the selected pair."""

    def __init__(self) -> None:
        self.is_nominated = False
        """True once the peer has answered a check that nominates."""
        self.heard = float("-inf")
        """Time of the last authentic response."""
        self._due = float("inf")
        self._open: dict[bytes, Sent] = {}

    def deadline(self) -> float:
        """Return the time of the next check of the selected pair."""
        return self._due

    def begin(self, now: float) -> None:
        """Check the selected pair from now on."""
        self._due = min(self._due, now)

    def sent(self, checks: Sequence[tuple[bytes, int]], address: Address, *, nominates: bool) -> list[bytes]:
        """Note (transaction id, path) of checks to that address; transactions that nobody waits for any more."""
        for transaction_id, path in checks:
            self._open[transaction_id] = Sent(path, address, nominates)
        dropped = list(self._open)[: max(0, len(self._open) - MOST_OPEN)]
        for each in dropped:
            del self._open[each]
        return dropped

    def again(self, now: float, random: int) -> None:
        """The selected pair was checked; `random`: 0 to 255, spreads the next check."""
        self._due = now + (CONSENT_EVERY * (0.8 + 0.4 * random / 255) if self.is_nominated else AGAIN)

    def response(self, response: Message, key: bytes, path: int, source: Address, now: float) -> Sent | None:
        """Return the check that is answered; None for a forged response, or one from elsewhere (section 7.2.5.2.1)."""
        transaction_id = response.transaction_id
        sent = self._open.pop(transaction_id, None)
        if sent is None or (sent.path, sent.address) != (path, source) or not response.authentic(key):
            return None
        self.heard = now
        if sent.nominates:
            self.is_nominated = True
            self.again(now, transaction_id[0])
        return sent

    def restart(self) -> list[bytes]:
        """Nominate again (ICE restart); transactions that nobody waits for any more."""
        dropped = list(self._open)
        self._open.clear()
        self.is_nominated = False
        return dropped
