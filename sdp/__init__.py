"""Session descriptions: text to values to decisions, with nothing but the standard library."""

from __future__ import annotations

from sdp.attributes.direction import Direction
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpError, SdpNegotiationError, SdpSyntaxError
from sdp.fields import Bandwidth, Connection, MediaLine, Origin, Timing
from sdp.grammar import Limits

__all__ = [
    "Bandwidth",
    "Connection",
    "Direction",
    "Limits",
    "MediaDescription",
    "MediaLine",
    "Origin",
    "SdpError",
    "SdpNegotiationError",
    "SdpSyntaxError",
    "SessionDescription",
    "Timing",
]
