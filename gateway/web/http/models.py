"""Bodies of the HTTP front end, checked to the last member, with examples for the documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from gateway.web import checks
from gateway.web.http.errors import refusal


def _session_id(value: str) -> str:
    if not checks.is_identifier(value):
        raise ValueError("must be 1 to 128 printable characters")
    return value


def _target(value: str) -> str:
    if not checks.is_target(value):
        raise ValueError("must be a number, a name or a SIP URI")
    return value


def _sdp(value: str) -> str:
    if not value.strip():
        raise ValueError("SDP content cannot be empty")
    if not checks.is_description(value):
        raise ValueError("SDP must be Unicode text")
    return value


def _candidate(value: str) -> str:
    if not checks.is_ice_candidate(value):
        raise ValueError('must be one candidate line, as in "candidate:1 1 udp 1 192.0.2.1 9 typ host", or ""')
    return value


def _label(value: str) -> str:
    if not checks.is_label(value):
        raise ValueError("must be a short word")
    return value


SessionId = Annotated[StrictStr, AfterValidator(_session_id)]
Target = Annotated[StrictStr, AfterValidator(_target)]


_OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 8 0",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        "a=ice-ufrag:EsAw",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        "a=fingerprint:sha-256 " + ":".join(f"{octet:02X}" for octet in range(32)),
        "a=setup:actpass",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "",
    ]
)
"""What a browser offers for a call, without what none of it needs."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Offer(_Body):
    """A browser's offer, as RTCSessionDescription has it."""

    type: Literal["offer"]
    sdp: Annotated[StrictStr, AfterValidator(_sdp)]


class OfferRequest(_Body):
    """Body of POST /webrtc/offer."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "sdp": {"type": "offer", "sdp": _OFFER},
                    "to": "600",
                    "metadata": {"user_id": "user123"},
                }
            ]
        },
    )

    sdp: Offer
    session_id: SessionId | None = Field(None, description="1 to 128 printable characters; default: a random UUID.")
    metadata: Any = Field(None, description="Anything: given back as it came.")
    to: Target | None = Field(
        None, description="Who is called: extension, web user or SIP URI. Without it, the built-in echo."
    )


class Answer(BaseModel):
    """The gateway's answer."""

    type: Literal["answer"] = "answer"
    sdp: str


class OfferResponse(BaseModel):
    """Body of the answer to POST /webrtc/offer."""

    sdp: Answer
    session_id: str
    ice_candidates: list[Any] = Field(default_factory=list, description="Always empty: they are in the answer.")
    metadata: Any = None


class Candidate(_Body):
    """RTCIceCandidateInit; an empty candidate ends the list."""

    candidate: Annotated[StrictStr, AfterValidator(_candidate)]
    sdpMLineIndex: Annotated[int, Field(ge=0, le=0xFFFF, strict=True)] | None = None
    sdpMid: Annotated[StrictStr, AfterValidator(_label)] | None = None


class CandidateRequest(_Body):
    """Body of POST /webrtc/ice-candidate."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "session_id": "2f1c8a1e-6f0c-4f43-9a38-0d3a6d0b6b51",
                    "candidate": {
                        "candidate": "candidate:1 1 UDP 2013266431 192.0.2.1 54400 typ host",
                        "sdpMLineIndex": 0,
                        "sdpMid": "0",
                    },
                }
            ]
        },
    )

    session_id: SessionId
    candidate: Candidate


class CloseRequest(_Body):
    """Body of POST /webrtc/close."""

    session_id: SessionId
    reason: StrictStr | None = None


class StatusResponse(BaseModel):
    """What was done with the session."""

    session_id: str
    status: Literal["received", "closed"]


class IceServer(BaseModel):
    """RTCIceServer."""

    urls: list[str] = Field(description="stun:, turn: or turns: URLs.")
    username: str | None = None
    credential: str | None = None


class SessionInfo(BaseModel):
    """One session of GET /webrtc/sessions."""

    session_id: str
    to: str = Field(description="Who was called.")
    user: str | None = Field(None, description="Whose session it is; null for a guest's.")
    state: Literal["calling", "ringing", "answered"]
    created_at: float = Field(description="Unix seconds.")
    metadata: Any = None


class SessionState(BaseModel):
    """Body of the answer to GET /webrtc/sessions/{session_id}."""

    session_id: str
    state: Literal["calling", "ringing", "answered", "ended"]
    cause: str | None = Field(None, description="Why it has ended: normal, busy, declined, no-answer, …")
    reason: str | None = Field(None, description="The same as a sentence.")


class HealthInfo(BaseModel):
    """How the gateway is."""

    status: Literal["ok", "degraded", "failed", "draining", "overloaded", "full"] = Field(
        description="ok and degraded take new calls; failed: a part that every call needs is gone."
    )
    conditions: list[str] = Field(description="A sentence for each thing that an operator should look at.")
    uptime_seconds: int = Field(description="Since the start.")
    version: str
    active_calls: int
    web_users: int = Field(description="Users with a page open.")


class RelayRooms(BaseModel):
    """The answer to GET /webrtc/rooms."""

    rooms: list[str] = Field(description="Ids of those with somebody in them.")
    total_rooms: int


class RelayPeers(BaseModel):
    """The answer to GET /webrtc/rooms/{room_id}/peers."""

    peers: list[str] = Field(description="Their ids.")
    total_peers: int


class SessionList(BaseModel):
    """Body of the answer to GET /webrtc/sessions."""

    sessions: list[SessionInfo]
    count: int


ERRORS: dict[int | str, dict[str, Any]] = {
    400: refusal("Malformed JSON or SDP, a missing or unusable field"),
    401: refusal("Wrong credentials, or none where guests may not call"),
    403: refusal("Not allowed: this origin, this callee, or the call was declined"),
    404: refusal("Unknown session, or nobody of that name or number"),
    408: refusal("No answer in time, or the session never got its media through"),
    409: refusal("A live session has this id"),
    413: refusal("The body is larger than 64 KiB"),
    480: refusal("Not reachable at the moment"),
    486: refusal("Busy"),
    488: refusal("No codec or transport in common; an offer of data channels alone"),
    500: refusal("Failed to process SDP offer"),
    503: refusal("Too many calls or requests"),
}
