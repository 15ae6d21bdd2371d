"""Branch of an outgoing INVITE: the state of the call at one callee (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.invite.acknowledgement import Acknowledgement
from gateway.sip.invite.modify import Modification
from gateway.sip.invite.provisional import ReceivedProvisionals
from gateway.sip.message.message import Response


@dataclass(slots=True, eq=False)
class Branch:
    """Dialog created by the INVITE, with its offer/answer state and its ACK."""

    dialog: Dialog
    modification: Modification
    provisionals: ReceivedProvisionals = field(default_factory=ReceivedProvisionals)
    ack: Acknowledgement | None = None
    prack: Response | None = None
    """Reliable 1xx with an offer, while the PRACK waits for the application's answer."""
    pracks: int = 0
    """Unanswered PRACKs."""
    offer: bytes = b""
    """Peer's offer in a response to an INVITE without offer."""
    answer: bytes = b""
    """Peer's answer in the last 1xx with a description."""
