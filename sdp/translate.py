"""Translation of one side's description for the other side: pure functions of descriptions and a plan.

The plan holds everything of ours (addresses, ports, keys, codec policy). Of a peer only media, directions and codecs
reach the other peer.
"""

from __future__ import annotations

from sdp.answering import Answerer
from sdp.description import SessionDescription
from sdp.offering import Offerer
from sdp.plan import Plan


def translate(
    description: SessionDescription, plan: Plan, *, offer: SessionDescription | None = None
) -> SessionDescription:
    """Return the description for our peer after the other side has sent `description`.

    Without `offer` the result is an offer to our peer; with our peer's `offer`, the answer built from the other side's
    answer. Raise SdpNegotiationError (488) if nothing can be offered or accepted, SdpSyntaxError (400) for malformed
    lines.
    """
    if offer is not None:
        return Answerer(offer, plan, description).build()
    return Offerer(description, plan).build()


def answer(offer: SessionDescription, plan: Plan) -> SessionDescription:
    """Return an answer from the offer alone: before the other side has answered, or if we are the far end.

    Raise the errors of `translate`.
    """
    return Answerer(offer, plan, None).build()
