"""RTCP reporting: streams with figures in the plane, bandwidth limits, and congestion control feedback."""

from __future__ import annotations

from typing import Protocol

from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.plane.values import Counting, FlowSnapshot
from sdp import Agreement, MediaAgreement
from sdp.extensions import TRANSPORT_CC

_BANDWIDTH_UNITS = {"AS": 1000, "TIAS": 1}
"""Bits a second for one unit of a b= line, by bandwidth type (RFC 4566 section 5.8, RFC 3890)."""


class Reporting(Protocol):
    """Stream that sends RTCP reports: a party, or video or text of a party."""

    snapshot: FlowSnapshot | None

    @property
    def flow(self) -> int | None: ...

    def note(self, snapshot: FlowSnapshot) -> None:
        """Store a snapshot of the plane's figures."""

    def report(self, snapshot: FlowSnapshot) -> None:
        """Send a due RTCP report."""


def reports_wanted(agreement: MediaAgreement | None) -> bool:
    """Return True if the peer allows RTCP bandwidth: b=RS if we may send, otherwise b=RR (RFC 3556)."""
    if agreement is None:
        return False
    wanted = "RS" if agreement.direction.sends else "RR"
    return all(each.value for each in agreement.bandwidths if each.type == wanted)


def said_limits(agreement: MediaAgreement | None) -> list[int]:
    """Return the peer's bandwidth limits in bits a second, from b=AS and b=TIAS."""
    said = agreement.bandwidths if agreement is not None else ()
    return [each.value * _BANDWIDTH_UNITS[each.type] for each in said if each.type in _BANDWIDTH_UNITS]


def tell_arrivals(plane: Plane, flow: int, reporter: Reporter, agreed: Agreement, *, told: bool) -> bool:
    """Switch transport-wide congestion control feedback on or off, as agreed with a browser; return True if on.

    Feedback travels with the audio's RTCP. `told` is True if feedback was on before.
    """
    said = [each.extensions[TRANSPORT_CC] for each in agreed.media if TRANSPORT_CC in each.extensions]
    wanted = bool(said) and all(reports_wanted(each) for each in agreed.media if each.accepted)
    if wanted or told:
        plane.count_arrivals(flow, Counting(extension=said[0], head=reporter.head) if wanted else None)
    return wanted
