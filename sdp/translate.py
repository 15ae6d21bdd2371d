"""From what one side of a call said to what the other side is told: pure functions of descriptions and a plan.

The plan holds everything that is ours (addresses, ports, keys, codec policy); nothing of one peer but
its media, directions and codecs reaches the other.
"""

from __future__ import annotations

from sdp.answering import Answerer
from sdp.description import SessionDescription
from sdp.offering import Offerer
from sdp.plan import Plan


def translate(
    description: SessionDescription, plan: Plan, *, offer: SessionDescription | None = None
) -> SessionDescription:
    """What our side of the call is told when the other side has said `description`.

    Without `offer` the result is an offer to our peer; with it (what our peer offered) the result answers
    it, built from the other side's answer. Raises SdpNegotiationError (488) where nothing can be offered
    or accepted, SdpSyntaxError (400) for malformed lines.
    """
    if offer is not None:
        return Answerer(offer, plan, description).build()
    return Offerer(description, plan).build()


def answer(offer: SessionDescription, plan: Plan) -> SessionDescription:
    """An answer made from the offer alone: before the other side has answered, or where we are the far end.

    Raises like `translate`.
    """
    return Answerer(offer, plan, None).build()
