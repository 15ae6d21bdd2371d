"""Rooms of browsers that signal to each other: `RTCSignaling` for any FastAPI app, and the gateway's own."""

from gateway.web.rooms.messages import FilePart, ICECandidate, SDPAnswer, SDPOffer
from gateway.web.rooms.signaling import RTCSignaling, add_signaling

__all__ = ["FilePart", "ICECandidate", "RTCSignaling", "SDPAnswer", "SDPOffer", "add_signaling"]
