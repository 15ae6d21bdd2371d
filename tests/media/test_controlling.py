"""Checks of the controlling agent that wait for a response: a bounded number of them."""

from __future__ import annotations

from gateway.media.embedded.webrtc.controlling import MOST_OPEN, Control
from tests.media.hosts import at

PEER = at("203.0.113.7", 5000)


def test_checks_that_nobody_answers_are_forgotten_oldest_first() -> None:
    """As of a peer that names a candidate where nobody is."""
    control = Control()
    names = [number.to_bytes(12) for number in range(MOST_OPEN + 3)]
    dropped = [gone for name in names for gone in control.sent([(name, 1)], PEER, nominates=False)]
    assert dropped == names[:3]
    assert control.restart() == names[3:]
