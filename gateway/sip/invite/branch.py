"""What an INVITE of ours has come to at one of those who were asked (RFC 3261 13.2.2.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.sip.dialogs.dialog import Dialog
from gateway.sip.invite.acknowledgement import Acknowledgement
from gateway.sip.invite.modify import Modification
from gateway.sip.invite.provisional import ReceivedProvisionals
from gateway.sip.message.message import Response


@dataclass(slots=True, eq=False)
class Branch:
    """One dialog that the INVITE made, with its exchanges and its ACK."""

    dialog: Dialog
    modification: Modification
    provisionals: ReceivedProvisionals = field(default_factory=ReceivedProvisionals)
    ack: Acknowledgement | None = None
    prack: Response | None = None
    """A reliable 1xx with an offer, whose PRACK waits for our user's answer."""
    pracks: int = 0
    """Those of ours that are not answered."""
    offer: bytes = b""
    """What the peer offered where the INVITE had no offer."""
    answer: bytes = b""
    """What the last 1xx with a description said to ours."""
