"""Session descriptions: from text to values to decisions, on the standard library alone."""

from __future__ import annotations

from sdp.attributes.direction import Direction
from sdp.codecs import Codec, payload_map, read_codecs
from sdp.description import MediaDescription, SessionDescription
from sdp.errors import SdpError, SdpLimitError, SdpNegotiationError, SdpSyntaxError
from sdp.fields import Bandwidth, Connection, MediaLine, Origin, Timing
from sdp.grammar import Limits
from sdp.negotiation import Agreement, MediaAgreement, negotiate, pair_media
from sdp.plan import CodecPolicy, DataChannelPlan, IceParameters, Plan, TransportPlan
from sdp.translate import answer, translate
from sdp.transport import RemoteTransport, is_private, restarts_ice, transport_section

__all__ = [
    "Agreement",
    "Bandwidth",
    "Codec",
    "CodecPolicy",
    "Connection",
    "DataChannelPlan",
    "Direction",
    "IceParameters",
    "Limits",
    "MediaAgreement",
    "MediaDescription",
    "MediaLine",
    "Origin",
    "Plan",
    "RemoteTransport",
    "SdpError",
    "SdpLimitError",
    "SdpNegotiationError",
    "SdpSyntaxError",
    "SessionDescription",
    "Timing",
    "TransportPlan",
    "answer",
    "is_private",
    "negotiate",
    "pair_media",
    "payload_map",
    "read_codecs",
    "restarts_ice",
    "translate",
    "transport_section",
]
