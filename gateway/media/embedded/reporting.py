"""What has figures in the plane and sends reports of its own."""

from __future__ import annotations

from typing import Protocol

from gateway.media.embedded.plane.values import FlowSnapshot
from sdp import MediaAgreement


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
