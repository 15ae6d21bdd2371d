"""What has figures in the plane and sends reports of its own."""

from __future__ import annotations

from typing import Protocol

from gateway.media.embedded.plane.protocol import Plane
from gateway.media.embedded.plane.reports import Reporter
from gateway.media.embedded.plane.values import Counting, FlowSnapshot
from sdp import Agreement, MediaAgreement
from sdp.extensions import TRANSPORT_CC

_BANDWIDTH_UNITS = {"AS": 1000, "TIAS": 1}
"""Bits a second of what b= says (RFC 4566 section 5.8, RFC 3890)."""


class Reporting(Protocol):
    """A party, or its video."""

    snapshot: FlowSnapshot | None

    @property
    def flow(self) -> int | None: ...

    def note(self, snapshot: FlowSnapshot) -> None:
        """Take the plane's figures."""

    def report(self, snapshot: FlowSnapshot) -> None:
        """Send the report that is due."""


def reports_wanted(agreement: MediaAgreement | None) -> bool:
    """Whether the peer leaves RTCP any bandwidth: of senders' where we may send, else of receivers' (RFC 3556)."""
    if agreement is None:
        return False
    wanted = "RS" if agreement.direction.sends else "RR"
    return all(each.value for each in agreement.bandwidths if each.type == wanted)


def said_limits(agreement: MediaAgreement | None) -> list[int]:
    """Bits a second that the peer has said it takes at most."""
    said = agreement.bandwidths if agreement is not None else ()
    return [each.value * _BANDWIDTH_UNITS[each.type] for each in said if each.type in _BANDWIDTH_UNITS]


def tell_arrivals(plane: Plane, flow: int, reporter: Reporter, agreed: Agreement, *, told: bool) -> bool:
    """Have a browser that numbers its packets told when they come, by its voice's reports; one that does not, not.

    Whether it is; `told`: whether it was before.
    """
    said = [each.extensions[TRANSPORT_CC] for each in agreed.media if TRANSPORT_CC in each.extensions]
    wanted = bool(said) and all(reports_wanted(each) for each in agreed.media if each.accepted)
    if wanted or told:
        plane.count_arrivals(flow, Counting(extension=said[0], head=reporter.head) if wanted else None)
    return wanted
